from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import torch

import lploss
from tests.lploss_builtin.batches import batch

NAMES = ["heatmap_mse", "heatmap_kl", "heatmap_js"]


def by_hand(name: str, targ: np.ndarray, pred: np.ndarray) -> float:
    """One map, by NumPy and SciPy."""
    if name == "heatmap_mse":
        return float(((targ - pred) ** 2).sum())
    if name == "heatmap_kl":
        return float(scipy.special.rel_entr(targ, pred).sum())
    return float(scipy.spatial.distance.jensenshannon(targ.ravel(), pred.ravel()) ** 2)


@pytest.mark.parametrize("name", NAMES)
def test_elements_agree_with_scipy(name: str) -> None:
    inputs = batch(dtype=torch.float64)
    elements = lploss.create_loss(name).elementwise(**inputs).detach().numpy()
    targ = inputs["heatmaps_targ"].numpy()
    pred = inputs["heatmaps_pred"].detach().numpy()
    expected = [
        [by_hand(name, t, p) for t, p in zip(*row, strict=True)]
        for row in zip(targ, pred, strict=True)
    ]
    np.testing.assert_allclose(elements, expected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_maps_without_a_label_do_not_count(name: str) -> None:
    loss = lploss.create_loss(name)
    inputs = batch()
    whole = loss.elementwise(**inputs)
    unlabelled = torch.zeros(6, 4, dtype=torch.bool)
    unlabelled[0, 1] = unlabelled[4] = True
    inputs["heatmaps_targ"][unlabelled] = 0.0
    inputs["heatmaps_targ"][5, 3] = math.nan
    unlabelled[5, 3] = True
    result = loss(**inputs)
    torch.testing.assert_close(result.loss, 0.5 * whole[~unlabelled].mean())
    result.loss.backward()
    gradient = inputs["heatmaps_pred"].grad
    assert gradient is not None
    assert gradient[unlabelled].abs().max() == 0
    assert gradient[~unlabelled].abs().amax(dim=(-2, -1)).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_nothing_labelled_gives_exactly_zero(name: str) -> None:
    inputs = batch()
    inputs["heatmaps_targ"].zero_()
    result = lploss.create_loss(name)(**inputs).loss
    result.backward()
    assert result.item() == 0.0
    gradient = inputs["heatmaps_pred"].grad
    assert gradient is not None
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_perfect_prediction_costs_nothing_and_has_a_finite_gradient(name: str) -> None:
    targ = batch()["heatmaps_targ"]
    pred = targ.clone().requires_grad_()
    result = lploss.create_loss(name)(heatmaps_targ=targ, heatmaps_pred=pred).loss
    result.backward()
    assert result.item() == pytest.approx(0.0, abs=1e-7)
    assert pred.grad is not None
    assert pred.grad.isfinite().all()


def test_scale_depends_neither_on_the_number_nor_on_the_size_of_the_maps() -> None:
    loss = lploss.create_loss("heatmap_mse")
    targ = torch.zeros(2, 3, 4, 5)
    targ[..., 1, 1] = 1.0
    pred = torch.zeros_like(targ)
    pred[..., 2, 2] = 1.0
    more = loss(heatmaps_targ=targ.repeat(1, 4, 1, 1), heatmaps_pred=pred.repeat(1, 4, 1, 1)).loss
    padded = (torch.nn.functional.pad(maps, (0, 7, 0, 3)) for maps in (targ, pred))
    larger = loss(**dict(zip(("heatmaps_targ", "heatmaps_pred"), padded, strict=True))).loss
    for result in (loss(heatmaps_targ=targ, heatmaps_pred=pred).loss, more, larger):
        assert result.item() == pytest.approx(1.0)


def test_squared_error_passes_a_gradient_to_the_target_too() -> None:
    from lploss_builtin.ops import heatmaps

    pred, targ = torch.rand(2, 2, 3, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        heatmaps.squared_error, (targ.requires_grad_(), pred.requires_grad_())
    )


def test_squared_error_refuses_a_second_derivative() -> None:
    inputs = batch()
    loss = lploss.create_loss("heatmap_mse")(**inputs).loss
    (gradient,) = torch.autograd.grad(loss, inputs["heatmaps_pred"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_jensen_shannon_is_at_most_ln_2() -> None:
    maps = torch.eye(6).view(6, 1, 2, 3)
    elements = lploss.create_loss("heatmap_js").elementwise(
        heatmaps_targ=maps, heatmaps_pred=maps.roll(1, dims=0)
    )
    torch.testing.assert_close(elements, torch.full((6, 1), math.log(2)))


def test_kl_of_a_target_outside_the_prediction_is_large_and_finite() -> None:
    maps = torch.eye(6).view(6, 1, 2, 3)
    elements = lploss.create_loss("heatmap_kl").elementwise(
        heatmaps_targ=maps, heatmaps_pred=maps.roll(1, dims=0)
    )
    torch.testing.assert_close(elements, torch.full((6, 1), -math.log(1e-10)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 3e38])
def test_a_target_map_without_a_finite_sum_is_not_labelled(name: str, value: float) -> None:
    loss = lploss.create_loss(name)
    inputs = batch()
    inputs["heatmaps_targ"][0, 1] = 0.0
    expected = loss(**inputs).loss
    inputs["heatmaps_targ"][0, 1, 2, :2] = value
    result = loss(**inputs).loss
    result.backward()
    torch.testing.assert_close(result, expected)
    gradient = inputs["heatmaps_pred"].grad
    assert gradient is not None
    assert gradient[0, 1].abs().max() == 0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_float16_maps_are_those_of_float32(name: str) -> None:
    logits = torch.zeros(2, 1, 3, 4)
    logits[0, 0, 1, 2] = 16.0  # all other pixels are 1e-7, a subnormal number of float16
    logits[1, 0, 1, 2] = 5.0  # they are 0.006
    targ = torch.zeros(2, 1, 3, 4)
    targ[:, 0, 0, 0] = 1.0
    gradients = {}
    for dtype in (torch.float16, torch.float32):
        pred = logits.flatten(2).softmax(dim=-1).view_as(logits).half().to(dtype)
        pred.requires_grad_()
        loss = lploss.create_loss(name)(heatmaps_targ=targ.to(dtype), heatmaps_pred=pred).loss
        loss.backward()
        assert pred.grad is not None
        gradients[dtype] = pred.grad.float()
        assert loss.isfinite()
    half, single = gradients.values()
    assert half.isfinite().all()
    torch.testing.assert_close(half[1], single[1], rtol=1e-3, atol=1e-4)
    if name == "heatmap_kl":
        # The slope 1 / p of the logarithm, at most that at the smallest normal number of float16.
        assert single[0, 0, 0, 0].item() == pytest.approx(-0.25 / 1.2e-7, rel=0.1)
        assert half[0, 0, 0, 0].item() == pytest.approx(-0.25 * 2**14, rel=1e-3)


def test_a_network_in_float16_learns_from_the_divergence_of_peaked_maps() -> None:
    logits = torch.zeros(2, 1, 3, 4)
    logits[..., 1, 2] = 16.0
    logits = logits.half().requires_grad_()
    pred = logits.flatten(2).softmax(dim=-1).view_as(logits)
    targ = torch.zeros(2, 1, 3, 4).half()
    targ[..., 0, 0] = 1.0
    steps = lploss.create_loss("temporal_heatmap_kl")(
        heatmaps_pred=torch.stack([pred[0], targ[0]])
    ).loss
    loss = lploss.create_loss("heatmap_kl")(heatmaps_targ=targ, heatmaps_pred=pred).loss + steps
    loss.backward()
    gradient = logits.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient[0, 0, 0, 0] < 0 < gradient[0, 0, 1, 2]
