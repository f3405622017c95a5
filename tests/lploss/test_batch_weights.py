"""Gradients that are accumulated over batches: as those of one large batch.

The oracles are gradients worked out by hand, and those of one call on the whole batch.
"""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.testing import assert_close

from lploss import Loss, LossFactory, Reason, create_loss
from lploss.errors import ArgumentValueError, LossDefinitionError
from lploss.testing.processes import run_in_processes
from tests.lploss import data_parallel

GAP = float("nan")
SUPERVISED = ("heatmap_mse", "heatmap_kl", "heatmap_js", "regression", "rmse")


def labelled_frames() -> dict[str, Tensor]:
    """Return 8 frames of two keypoints; the second half have a label for one of them."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(8, 2, 12, generator=generator, dtype=torch.float64).softmax(-1)
    maps = maps.unflatten(-1, (3, 4))
    labels = 10 * torch.rand(8, 4, generator=generator, dtype=torch.float64)
    maps[4:, 1], labels[4:, 2:] = 0.0, GAP
    return {"heatmaps_targ": maps, "keypoints_targ": labels}


def predictions() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(8, 2, 12, generator=generator, dtype=torch.float64).softmax(-1)
    points = 10 * torch.rand(8, 4, generator=generator, dtype=torch.float64)
    return {
        "heatmaps_pred": maps.unflatten(-1, (3, 4)).requires_grad_(),
        "keypoints_pred": points.requires_grad_(),
    }


def parts_of(batch: dict[str, Tensor], sizes: list[int]) -> list[dict[str, Tensor]]:
    columns = {name: values.split(sizes) for name, values in batch.items()}
    return [{name: column[i] for name, column in columns.items()} for i in range(len(sizes))]


def gradient(given: dict[str, Tensor]) -> Tensor:
    grads = (values.grad for values in given.values())
    return torch.cat([torch.zeros(0) if own is None else own.flatten() for own in grads])


def test_by_hand():
    """Two labels in the first batch, one in the second: each counts a third."""
    losses = LossFactory({"regression": {"log_weight": 0.0}})
    labels = torch.tensor([[[0.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, GAP, GAP]]])
    found = torch.tensor([[[3.0, 0.0, 0.0, 3.0]], [[3.0, 0.0, 9.0, 9.0]]], requires_grad=True)
    window = [{"keypoints_targ": own} for own in labels]
    weights = losses.batch_weights(window)
    assert [own["regression"].item() for own in weights] == [4 / 3, 2 / 3]
    for own, weight, pred in zip(window, weights, found, strict=True):
        total, logs = losses(batch_weights=weight, keypoints_pred=pred, **own)
        # The squared error is half of 3 ** 2 for each label, and the weight a half.
        assert [entry["value"].item() for entry in logs] == [4.5, 0.5, 2.25, 2.25]
        assert total.item() == pytest.approx(2.25 * weight["regression"].item(), rel=1e-6)
        (total / 2).backward()
    expected = torch.tensor([[[0.5, 0.0, 0.0, 0.5]], [[0.5, 0.0, 0.0, 0.0]]])
    assert_close(found.grad, expected)


@pytest.mark.parametrize("sizes", [[2, 2, 2, 2], [5, 3], [1, 7], [8, 0]], ids=str)
@pytest.mark.parametrize("name", SUPERVISED)
def test_accumulated_gradients_are_those_of_one_batch(name, sizes):
    losses = LossFactory({name: {"log_weight": -1.0}})
    whole, given = predictions(), predictions()
    losses(**labelled_frames(), **whole).loss.backward()
    window = parts_of(labelled_frames(), sizes)
    for own, pred, weights in zip(
        window, parts_of(given, sizes), losses.batch_weights(window), strict=True
    ):
        (losses(batch_weights=weights, **own, **pred).loss / len(sizes)).backward()
    assert gradient(whole).abs().max() > 1e-4
    assert_close(gradient(given), gradient(whole), rtol=1e-12, atol=0)


def test_without_weights_single_labels_count_twice_as_much():
    """Two batches have four labels, two have two."""
    losses = LossFactory({"regression": {}})
    whole, given = predictions(), predictions()
    losses(**labelled_frames(), **whole).loss.backward()
    for own, pred in zip(
        parts_of(labelled_frames(), [2] * 4), parts_of(given, [2] * 4), strict=True
    ):
        (losses(**own, **pred).loss / 4).backward()
    first, second = (
        (given["keypoints_pred"].grad / whole["keypoints_pred"].grad)[rows] for rows in (0, 4)
    )
    # A quarter over 4 and over 2, against a twelfth.
    assert_close(first, torch.full((4,), 0.75, dtype=torch.float64))
    assert_close(second[:2], torch.full((2,), 1.5, dtype=torch.float64))


def test_predictions_make_the_weights_exact_for_all_losses():
    """Those of `temporal` go by steps, those of `pca_multiview` without labels by frames."""
    losses = LossFactory({"temporal": {}, "rmse": {}})
    window = parts_of({**labelled_frames(), **predictions()}, [5, 3])
    first, second = losses.batch_weights(window)
    # Two keypoints in 4 steps and in 2; 9 labels and 3.
    assert [own["temporal"].item() for own in (first, second)] == [2 * 8 / 12, 2 * 4 / 12]
    assert [own["rmse"].item() for own in (first, second)] == [2 * 9 / 12, 2 * 3 / 12]
    without = losses.batch_weights(parts_of(labelled_frames(), [5, 3]))
    assert [list(own) for own in without] == [["rmse"], ["rmse"]]
    assert without[0]["rmse"] == first["rmse"]


class Confident(Loss):
    """Returns a mask without reasons, so that nothing says which elements have labels."""

    loss_name, kind = "confident", "supervised"

    def remove_nans(self, keypoints_pred, keypoints_targ):
        return {}, keypoints_targ[:, ::2].isfinite()

    def compute_loss(self, keypoints_pred, keypoints_targ):
        return (keypoints_pred - keypoints_targ)[:, ::2].abs()


def test_a_loss_whose_weights_cannot_be_told_is_left_out():
    losses = LossFactory({"confident": Confident(), "temporal": {}})
    assert losses.batch_weights(parts_of(labelled_frames(), [5, 3])) == [{}, {}]
    assert losses.batch_weights([]) == []


class Visible(Loss):
    """Says by integers what is labelled."""

    loss_name, kind = "visible", "supervised"

    def remove_nans(
        self,
        visibility: Int[Tensor, "batch num_keypoints"],
        heatmaps_pred: Float[Tensor, "batch num_keypoints height width"],
    ):
        return {}, {Reason.NOT_LABELLED: visibility == 0}

    def compute_loss(self, heatmaps_pred: Float[Tensor, "batch num_keypoints height width"]):
        return heatmaps_pred.flatten(2).sum(dim=2)


def test_labels_may_be_integers():
    window = [{"visibility": torch.tensor(own)} for own in ([[2, 0, 0]], [[2, 1, 2]])]
    weights = LossFactory({"visible": Visible()}).batch_weights(window)
    assert [own["visible"].item() for own in weights] == [2 * 1 / 4, 2 * 3 / 4]


def test_without_labels_nothing_is_counted():
    loss = create_loss("rmse")
    assert loss.count({"keypoints_targ": torch.zeros(3, 4)}).item() == 6
    assert loss.count({"keypoints_pred": torch.zeros(3, 4)}) is None


def test_losses_in_3d_are_weighted_by_their_labels():
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(6, 5, 3, generator=generator)
    labels[3:, 1:] = GAP
    window = [{"keypoints_targ_3d": own} for own in labels.split(3)]
    losses = LossFactory({"supervised_pairwise_projections": {}})
    (first,), (second,) = (own.values() for own in losses.batch_weights(window))
    assert (first.item(), second.item()) == (2 * 15 / 18, 2 * 3 / 18)


def test_where_nothing_is_labelled_the_weights_are_zero():
    losses = LossFactory({"rmse": {}})
    window = [{"keypoints_targ": torch.full((2, 4), GAP)}] * 2
    weights = losses.batch_weights(window)
    assert [own["rmse"].item() for own in weights] == [0.0, 0.0]
    total, _ = losses(batch_weights=weights[0], keypoints_pred=torch.ones(2, 4), **window[0])
    assert total.item() == 0.0


def test_weights_and_annealing_multiply():
    losses = LossFactory({"temporal": {}, "rmse": {}})
    batch = {
        "keypoints_targ": torch.zeros(2, 2),
        "keypoints_pred": torch.tensor([[0.0, 0], [3, 4]]),
    }
    total, logs = losses(anneal_weight=0.5, batch_weights={"temporal": 3.0}, **batch)
    # A step of 5 px, weighted 2.5; distances of 0 and 5 px over the root of two, weighted 0.884.
    rmse = 0.5 * 0.5 * 5 / 2**0.5
    assert total.item() == pytest.approx(0.5 * 3.0 * 2.5 + rmse)
    assert logs[-1]["value"].item() == pytest.approx(0.5 * 2.5 + rmse)


def test_a_weight_of_no_loss_is_refused():
    losses = LossFactory({"rmse": {}, "temporal": {}})
    with pytest.raises(ArgumentValueError) as caught:
        losses(batch_weights={"rsme": 1.0})
    assert str(caught.value) == (
        "batch_weights holds 'rsme', which is not a loss of this factory. Did you mean 'rmse'? "
        "Its losses: rmse, temporal."
    )


def test_no_input_can_be_called_like_the_weights():
    with pytest.raises(LossDefinitionError, match="an input cannot be named 'batch_weights'"):

        class Named(Loss):
            loss_name, kind = "named", "supervised"

            def compute_loss(self, batch_weights):
                return batch_weights


def test_the_labels_must_be_of_the_shape_that_the_loss_declares():
    with pytest.raises(ValueError, match="loss 'rmse': keypoints_targ must have axes"):
        LossFactory({"rmse": {}}).batch_weights([{"keypoints_targ": torch.zeros(2)}])


def test_in_several_processes_as_in_one():
    """Each process accumulates over two batches, one of them without a frame."""
    sizes = [[(3, 0.9), (1, 0.3)], [(2, 0.2), (0, 0.0)]]
    batches = [
        [
            data_parallel.shard(
                5 * rank + i, torch.float64, num_labelled=n, num_video=0, labelled=p
            )
            for i, (n, p) in enumerate(own)
        ]
        for rank, own in enumerate(sizes)
    ]
    found = run_in_processes("tests.lploss.data_parallel:accumulated", batches, timeout=300.0)
    everything = [own for process in batches for own in process]
    whole = {name: torch.cat([own[name] for own in everything]) for name in everything[0]}
    net = data_parallel.network(torch.float64)
    losses = data_parallel.labelled_losses(False)
    losses(**data_parallel.inputs(net, whole)[0]).loss.backward()
    expected = data_parallel.flat_gradient(net)
    assert expected.abs().max() > 1e-3
    for own in found:
        assert_close(own["gradient"], expected, rtol=1e-10, atol=1e-12)
        assert own["weights"] == found[0]["weights"]
