"""Shares of losses, against gradients worked out by hand."""

from __future__ import annotations

import math
from io import StringIO
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lploss import Loss, LossFactory
from lploss.balance import Balance, balance_of
from lploss.errors import ArgumentValueError, MissingInputError
from lploss.terminal import print_tables


class Constant(Loss):
    """Large, with a small gradient."""

    loss_name, kind = "constant", "supervised"

    def compute_loss(self, keypoints_pred: Tensor) -> Tensor:
        return 1000.0 + keypoints_pred[:, :1] / 100


def frames(w: Tensor, **more: Any) -> dict[str, Tensor]:
    """Return predictions of two frames, 0 and w, that are both labelled at the origin."""
    found = torch.stack([0 * w, w])
    return {"keypoints_pred": found, "keypoints_targ": torch.zeros(2, 2), **more}


def losses(log_weight: float = 0.0) -> LossFactory:
    """Return losses whose gradients at w = (3, 4) are known, weighted by a half.

    `regression` is 0 and half of 5 ** 2, whose mean has the gradient w / 2, of length 2.5. The
    step of `temporal` is 5, and the length of its gradient 1.
    """
    return LossFactory({"temporal": {"log_weight": log_weight}, "regression": {}})


def test_by_hand():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    balance = losses().balance(**frames(w))
    regression, temporal = balance.losses
    assert (regression.loss, regression.kind) == ("regression", "supervised")
    assert (temporal.loss, temporal.kind) == ("temporal", "unsupervised")
    assert (regression.weighted, temporal.weighted) == (25 / 8, 5 / 2)
    assert regression.share == pytest.approx(25 / 45)
    assert (regression.gradient, temporal.gradient) == pytest.approx((1.25, 0.5))
    assert (regression.gradient_share, temporal.gradient_share) == pytest.approx((5 / 7, 2 / 7))
    assert (balance.supervised, balance.unsupervised) == pytest.approx((1.25, 0.5))
    assert balance.ratio == pytest.approx(0.4)
    assert balance.suggestions() == {}
    assert balance.warning() is None


def test_the_log_weight_at_which_the_labels_are_not_outweighed():
    """Ten times as much makes a gradient of 5: four times that of the supervised loss."""
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    balance = losses(-math.log(10)).balance(**frames(w))
    assert balance.ratio == pytest.approx(4.0)
    # ln(4) - ln(10) is -0.916.
    assert balance.suggestions() == {"temporal": -0.9}
    assert balance.warning() == (
        "the unsupervised losses outweigh the supervised ones: their gradient is 4 times as large, "
        "so the network learns to be smooth or consistent rather than right. Raise log_weight at "
        "least: temporal from -2.303 to -0.9."
    )
    # 0.98, and one step further 1.09.
    assert losses(-0.9).balance(**frames(w)).ratio == pytest.approx(0.4 * math.exp(0.9))
    assert losses(-1.0).balance(**frames(w)).ratio == pytest.approx(0.4 * math.exp(1.0))


def test_only_losses_that_are_too_strong_get_a_suggestion():
    class Pull(Loss):
        loss_name, kind = "pull", "unsupervised"

        def compute_loss(self, keypoints_pred):
            return keypoints_pred.sum(dim=1, keepdim=True)

    w = torch.tensor([3.0, 4.0], requires_grad=True)
    factory = LossFactory(
        {"temporal": {"log_weight": -3.0}, "regression": {}, "pull": Pull(log_weight=3.0)}
    )
    balance = factory.balance(**frames(w))
    suggested = balance.suggestions()
    # A half of 1.25 is what each of two may have: 0.5 * exp(3) is 16.07 times as much.
    assert suggested == {"temporal": math.ceil(10 * (-3 + math.log(0.5 * math.e**3 / 0.625))) / 10}
    factory.losses["temporal"].log_weight.fill_(suggested["temporal"])
    assert factory.balance(**frames(w)).ratio <= 1.0


def test_values_say_nothing_of_gradients():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    factory = LossFactory({"constant": Constant(), "temporal": {}})
    constant, _temporal = factory.balance(**frames(w)).losses
    # Half of the mean of 1000 and 1000.03, beside half of 5; half of 0.01 / 2, beside a half.
    assert constant.share == pytest.approx(500.0075 / 502.5075)
    assert constant.gradient_share == pytest.approx(0.0025 / 0.5025)
    assert factory.balance(**frames(w)).ratio == pytest.approx(0.5 / 0.0025)


def test_annealing_multiplies_the_losses_that_are_annealed():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    full, half = (losses().balance(anneal_weight=a, **frames(w)) for a in (None, 0.5))
    assert [own.gradient for own in half.losses] == pytest.approx([1.25, 0.25])
    assert [own.weighted for own in half.losses] == pytest.approx([25 / 8, 5 / 4])
    assert full.ratio == pytest.approx(2 * half.ratio)


def test_losses_of_different_batches_meet_at_the_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    supervised, unsupervised = LossFactory({"rmse": {}}), LossFactory({"temporal": {}})
    images, video = torch.rand(2, 3).double(), torch.rand(7, 3).double()
    labelled = {"keypoints_targ": torch.zeros(2, 4).double(), "keypoints_pred": network(images)}
    unlabelled = {"keypoints_pred": network(video)}
    parts = [(supervised, labelled), (unsupervised, unlabelled)]
    for at, parameters in ((None, network), (network[2].parameters(), network[2])):
        balance = balance_of(parts, at)
        for factory, batch, found in zip(
            (supervised, unsupervised), (images, video), balance.losses, strict=True
        ):
            network.zero_grad()
            targ = {"keypoints_targ": torch.zeros(len(batch), 4).double()}
            factory(keypoints_pred=network(batch), **targ).loss.backward()
            grads = torch.cat([p.grad.flatten() for p in parameters.parameters()])
            assert found.gradient == pytest.approx(grads.norm().item(), rel=1e-5)
        assert balance.ratio == pytest.approx(
            balance.losses[1].gradient / balance.losses[0].gradient
        )


def test_gradients_of_one_kind_are_added_as_vectors():
    """Two losses that pull in opposite directions outweigh nothing."""

    class Up(Loss):
        loss_name, kind = "up", "unsupervised"

        def compute_loss(self, keypoints_pred):
            return 100.0 * keypoints_pred[:, :1]

    class Down(Up):
        loss_name = "down"

        def compute_loss(self, keypoints_pred):
            return 1000.0 - 100.0 * keypoints_pred[:, :1]

    w = torch.tensor([3.0, 4.0], requires_grad=True)
    factory = LossFactory({"up": Up(), "down": Down(), "regression": {}})
    balance = factory.balance(**frames(w))
    assert [own.gradient for own in balance.losses] == pytest.approx([1.25, 25.0, 25.0])
    assert balance.unsupervised == 0.0
    assert balance.warning() is None


def test_it_changes_nothing():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    factory, images = losses(), torch.rand(2, 3)
    pred, targ = network(images), torch.zeros(2, 4)
    state = torch.get_rng_state()
    factory.balance(keypoints_pred=pred, keypoints_targ=targ)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in network.parameters())
    assert [record.status for record in factory.records()] == ["never called"] * 2
    # The graph is still there.
    factory(keypoints_pred=pred, keypoints_targ=targ).loss.backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    "give", [lambda w: w.detach(), lambda w: w.detach() * 2], ids=["a constant", "its multiple"]
)
def test_without_a_gradient_it_is_refused(give):
    w = give(torch.tensor([3.0, 4.0], requires_grad=True))
    with pytest.raises(ArgumentValueError) as caught:
        losses().balance(**frames(w))
    assert str(caught.value) == (
        "the balance of losses needs gradients: no loss depends on a tensor that requires one. "
        "Give predictions as the network returned them, outside of torch.no_grad()."
    )


def test_a_missing_input_is_named():
    with pytest.raises(MissingInputError, match="keypoints_targ"):
        losses().balance(keypoints_pred=torch.zeros(2, 2))


def test_without_labels_nothing_is_outweighed():
    """Neither in a batch without a label, nor where no loss is supervised."""
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    unlabelled = frames(w) | {"keypoints_targ": torch.full((2, 2), math.nan)}
    for factory in (losses(), LossFactory({"temporal": {}})):
        balance = factory.balance(**unlabelled)
        assert balance.ratio == math.inf
        assert balance.warning() is None


def test_what_is_not_finite_gives_no_advice():
    row = (("a", "supervised", 0.0, 1.0, 0.5, 1.0, 0.5), ("b", "unsupervised", 0.0, 1.0, 0.5))
    from lploss.balance import LossShare

    shares = (LossShare(*row[0]), LossShare(*row[1], math.nan, math.nan))
    assert Balance(shares, 1.0, math.nan).warning() is None
    assert Balance(shares, math.nan, 1.0).warning() is None


def test_the_mean_over_batches():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    first, second = (losses().balance(**frames(factor * w)) for factor in (1.0, 3.0))
    mean = Balance.mean([first, second])
    # Through 3 * w, the gradient at w is three times that at 3 * w, which is itself threefold.
    assert [own.gradient for own in mean.losses] == pytest.approx([1.25 * 10 / 2, 0.5 * 4 / 2])
    assert mean.losses[0].weighted == pytest.approx(25 / 8 * 10 / 2)
    assert (mean.supervised, mean.unsupervised) == pytest.approx((6.25, 1.0))
    assert mean.losses[1].gradient_share == pytest.approx(1 / 7.25)


def test_a_scale_keeps_half_precision_from_underflowing():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    tiny = LossFactory({"regression": {"log_weight": 20.0}})

    def half() -> dict[str, Tensor]:
        batch = frames(w)
        return batch | {"keypoints_pred": batch["keypoints_pred"].half().float()}

    # 1.25 * exp(-20) is 2.6e-9, and the smallest half is 6e-8.
    assert balance_of([(tiny, half())]).supervised == 0.0
    scaled = balance_of([(tiny, half())], scale=2.0**16)
    assert scaled.supervised == pytest.approx(1.25 * math.exp(-20), rel=1e-2)


def test_the_table():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    balance = losses().balance(**frames(w))
    text = StringIO()
    print_tables([balance.table()], text)
    lines = [line.split() for line in text.getvalue().splitlines() if "supervised" in line]
    assert lines == [
        ["regression", "supervised", "0", "3.125", "55.6", "%", "1.25", "71.4", "%"],
        ["temporal", "unsupervised", "0", "2.5", "44.4", "%", "0.5", "28.6", "%"],
    ]
    assert balance.summary() == (
        "shares of the weighted sum and of the gradient: regression 55.6 % and 71.4 %; "
        "temporal 44.4 % and 28.6 %"
    )
