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
