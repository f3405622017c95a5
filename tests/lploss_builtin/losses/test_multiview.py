from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
import torch
from torch import Tensor

import lploss
from lploss.errors import ArgumentValueError, ShapeError
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from tests.lploss_builtin.batches import batch
from tests.lploss_builtin.ops.geometry.rigs import noise, random_points

PAIRWISE = "supervised_pairwise_projections"
HEATMAP = "supervised_reprojection_heatmap_mse"
REPROJECTION = "multiview_reprojection"


def reasons(loss: lploss.Loss, inputs: dict[str, Tensor]) -> dict[str, int]:
    return {str(reason): int(mask.sum()) for reason, mask in loss.evaluate(inputs).left_out.items()}


def poses_in_space(num_pairs: int = 3) -> dict[str, Tensor]:
    targets = random_points(0, batch=4, num_keypoints=6)
    predictions = targets[:, None] + noise(1, targets[:, None].expand(-1, num_pairs, -1, -1), 0.1)
    return {"keypoints_targ_3d": targets, "keypoints_pred_3d": predictions}


def test_pairwise_elements_are_distances_in_space() -> None:
    inputs = poses_in_space()
    elements = lploss.create_loss(PAIRWISE).elementwise(**inputs).numpy()
    targets, predictions = (value.numpy() for value in inputs.values())
    for frame, pair, k in np.ndindex(elements.shape):
        expected = scipy.spatial.distance.euclidean(targets[frame, k], predictions[frame, pair, k])
        assert elements[frame, pair, k] == pytest.approx(expected, rel=1e-12)


def test_pairwise_leaves_out_what_is_not_labelled_or_not_triangulated_and_says_so() -> None:
    inputs = poses_in_space()
    whole = lploss.create_loss(PAIRWISE).elementwise(**inputs)
    inputs["keypoints_targ_3d"][0, 0, 2] = math.nan
    inputs["keypoints_pred_3d"][1, 2, 3] = math.nan
    inputs["keypoints_pred_3d"][2, 0, 1, 0] = math.inf
    inputs["keypoints_pred_3d"].requires_grad_()
    loss = lploss.create_loss(PAIRWISE)
    elements = loss.elementwise(**inputs)
    assert elements[0, :, 0].isnan().all()
    assert elements[1, 2, 3].isnan()
    assert elements[2, 0, 1].isnan()
    assert elements.isnan().sum() == 5
    torch.testing.assert_close(elements[elements.isfinite()], whole[elements.isfinite()])
    assert reasons(loss, inputs) == {"not labelled": 3, "cannot be triangulated": 2}
    loss(**inputs).loss.backward()
    gradient = inputs["keypoints_pred_3d"].grad
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(dim=-1) > 0, elements.isfinite())


@pytest.mark.parametrize("factor", [1e-3, 2.0, 1e3])
def test_pairwise_scales_with_the_unit_of_the_world_unless_told_its_scale(factor: float) -> None:
    inputs = poses_in_space()
    scaled = {name: factor * value for name, value in inputs.items()}
    plain = lploss.create_loss(PAIRWISE)
    torch.testing.assert_close(plain(**scaled).loss, factor * plain(**inputs).loss)
    given = lploss.create_loss(PAIRWISE, unit_scale=0.5 * factor)
    torch.testing.assert_close(given(**scaled).loss, 2 * plain(**inputs).loss)
    auto = lploss.create_loss(PAIRWISE, unit_scale="auto")
    torch.testing.assert_close(auto(**scaled).loss, auto(**inputs).loss)


def test_pairwise_auto_is_the_median_distance_between_keypoints_of_a_target() -> None:
    inputs = poses_in_space()
    inputs["keypoints_targ_3d"][1, 4] = math.nan
    between = np.concatenate(
        [
            scipy.spatial.distance.pdist(pose[np.isfinite(pose).all(axis=1)])
            for pose in inputs["keypoints_targ_3d"].numpy()
        ]
    )
    ratio = (
        lploss.create_loss(PAIRWISE).elementwise(**inputs)
        / lploss.create_loss(PAIRWISE, unit_scale="auto").elementwise(**inputs)
    ).numpy()
    middle = np.sort(between)[(len(between) - 1) // 2]
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], middle, rtol=1e-12)


@pytest.mark.parametrize("num_keypoints", [0, 1])
def test_pairwise_auto_is_1_where_there_is_no_distance(num_keypoints: int) -> None:
    inputs = {
        "keypoints_targ_3d": torch.zeros(2, num_keypoints, 3),
        "keypoints_pred_3d": torch.ones(2, 1, num_keypoints, 3),
    }
    elements = lploss.create_loss(PAIRWISE, unit_scale="auto").elementwise(**inputs)
    torch.testing.assert_close(elements, torch.full((2, 1, num_keypoints), math.sqrt(3)))


def test_pairwise_at_the_target_costs_nothing_and_has_a_gradient_of_zero() -> None:
    inputs = poses_in_space()
    inputs["keypoints_pred_3d"] = inputs["keypoints_targ_3d"][:, None].clone().requires_grad_()
    result = lploss.create_loss(PAIRWISE)(**inputs).loss
    result.backward()
    assert result.item() == 0.0
    assert inputs["keypoints_pred_3d"].grad is not None
    assert inputs["keypoints_pred_3d"].grad.abs().max() == 0.0


@pytest.mark.mistyped
@pytest.mark.parametrize("unit_scale", [0, -1.0, "mm", math.nan, True])
def test_pairwise_refuses_a_scale_that_is_none(unit_scale: object) -> None:
    with pytest.raises(ArgumentValueError, match=r"unit_scale must be .*, got"):
        lploss.create_loss(PAIRWISE, unit_scale=unit_scale)


def maps_and_points(shift: float = 2.0, num_keypoints: int = 12) -> dict[str, Tensor]:
    """Targets and reprojections in images of 80 x 112, maps of 20 x 28."""
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(5, num_keypoints, 2, generator=generator, dtype=torch.float64)
    points = 10 + points * torch.tensor([92.0, 60.0], dtype=torch.float64)
    targets = gaussian_heatmaps(points, image_size=(80, 112), heatmap_size=(20, 28))
    return {"heatmaps_targ": targets, "keypoints_pred_2d_reprojected": points + shift}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_reprojection_is_heatmap_mse_of_gaussians_at_the_points(dtype: torch.dtype) -> None:
    inputs = {name: value.to(dtype) for name, value in maps_and_points().items()}
    points = inputs["keypoints_pred_2d_reprojected"]
    points[0, 0] = 500.0  # outside
    inputs["heatmaps_targ"][0, 1] = 0.0  # not labelled
    maps = gaussian_heatmaps(points, image_size=(80, 112), heatmap_size=(20, 28))
    expected = lploss.create_loss("heatmap_mse")
    loss = lploss.create_loss(HEATMAP)
    targets = inputs["heatmaps_targ"]
    tolerance = {"rtol": 1e-10, "atol": 1e-14} if dtype == torch.float64 else {}
    torch.testing.assert_close(
        loss.elementwise(**inputs),
        expected.elementwise(heatmaps_targ=targets, heatmaps_pred=maps),
        equal_nan=True,
        **tolerance,
    )
    torch.testing.assert_close(
        loss(**inputs).loss, expected(heatmaps_targ=targets, heatmaps_pred=maps).loss, **tolerance
    )


def test_reprojection_does_not_grow_with_the_number_of_maps() -> None:
    inputs = maps_and_points()
    twice = {name: torch.cat([value, value], dim=1) for name, value in inputs.items()}
    loss = lploss.create_loss(HEATMAP)
    torch.testing.assert_close(loss(**twice).loss, loss(**inputs).loss)


def test_reprojection_leaves_out_what_is_not_labelled_or_not_triangulated() -> None:
    inputs = maps_and_points()
    inputs["heatmaps_targ"][0, :3] = 0.0
    points = inputs["keypoints_pred_2d_reprojected"]
    points[1, 2, 0] = math.nan
    points.requires_grad_()
    loss = lploss.create_loss(HEATMAP)
    assert reasons(loss, inputs) == {"not labelled": 3, "cannot be triangulated": 1}
    loss(**inputs).loss.backward()
    assert points.grad is not None
    assert points.grad[0, :3].abs().max() == 0
    assert points.grad[1, 2].abs().max() == 0
    assert (points.grad.abs().sum(dim=-1) > 0).sum() == 5 * 12 - 4


@pytest.mark.parametrize("factor", [0, 1, 3])
def test_reprojection_takes_px_of_the_image_that_the_network_sees(factor: int) -> None:
    inputs = maps_and_points()
    inputs["keypoints_pred_2d_reprojected"] *= 2**factor / 4
    loss = lploss.create_loss(HEATMAP, downsample_factor=factor)
    torch.testing.assert_close(
        loss(**inputs).loss, lploss.create_loss(HEATMAP)(**maps_and_points()).loss
    )


def test_reprojection_takes_the_size_of_the_image_where_the_batch_holds_it() -> None:
    inputs = maps_and_points()
    inputs["keypoints_pred_2d_reprojected"] *= torch.tensor([3.0, 5.0], dtype=torch.float64)
    size = torch.tensor([400.0, 336.0])
    torch.testing.assert_close(
        lploss.create_loss(HEATMAP)(**inputs, image_size=size).loss,
        lploss.create_loss(HEATMAP)(**maps_and_points()).loss,
    )


def test_reprojection_takes_maps_of_another_precision_than_the_points() -> None:
    inputs = maps_and_points()
    expected = lploss.create_loss(HEATMAP)(**inputs).loss
    inputs["heatmaps_targ"] = inputs["heatmaps_targ"].float()
    found = lploss.create_loss(HEATMAP)(**inputs).loss
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-8)


def test_maps_and_points_of_another_number_are_refused() -> None:
    inputs = maps_and_points()
    inputs["keypoints_pred_2d_reprojected"] = inputs["keypoints_pred_2d_reprojected"][:, :-3]
    with pytest.raises(ShapeError, match="expected 12 along views_x_num_keypoints"):
        lploss.create_loss(HEATMAP)(**inputs)


@pytest.mark.mistyped
@pytest.mark.parametrize(
    "params", [{"downsample_factor": 1.5}, {"downsample_factor": -1}, {"sigma": 0.0}]
)
def test_reprojection_refuses_what_no_heatmap_can_have(params: dict[str, object]) -> None:
    with pytest.raises(ArgumentValueError, match=next(iter(params))):
        lploss.create_loss(HEATMAP, **params)


def test_reprojection_takes_the_factor_of_the_config() -> None:
    cfg = {
        "data": {"downsample_factor": 3},
        "losses": {HEATMAP: {"log_weight": 3.0}},
        "model": {"losses_to_use": []},
    }
    loss = lploss.get_loss_factories(cfg)["supervised"].losses[HEATMAP]
    assert loss.downsample_factor == 3


def test_multiview_reprojection_is_the_distance_to_where_all_views_put_the_point() -> None:
    inputs = batch(dtype=torch.float64)
    elements = lploss.create_loss(REPROJECTION).elementwise(**inputs).detach().numpy()
    seen = inputs["keypoints_pred"].detach().numpy().reshape(6, 4, 2)
    put = inputs["keypoints_pred_from_all_views"].detach().numpy().reshape(6, 4, 2)
    np.testing.assert_allclose(elements, np.hypot(*(seen - put).T).T, rtol=1e-12)


def test_multiview_reprojection_leaves_out_low_confidence_and_gaps() -> None:
    inputs = {name: value.detach() for name, value in batch().items()}
    inputs["keypoints_pred"][0, 1] = math.nan
    inputs["keypoints_pred_from_all_views"][1, 2:4] = math.nan
    inputs["confidences"] = torch.full((6, 4), 0.9)
    inputs["confidences"][2, 0] = 0.4
    inputs["confidences"][3, 0] = math.nan
    loss = lploss.create_loss(REPROJECTION, prob_threshold=0.5)
    assert reasons(loss, inputs) == {
        "NaN prediction": 1,
        "cannot be triangulated": 1,
        "low confidence": 2,
    }
    assert loss.elementwise(**inputs).isnan().sum() == 4


def test_three_dimensional_losses_are_annealed() -> None:
    assert all(lploss.load_loss(name).annealed for name in (PAIRWISE, HEATMAP, REPROJECTION))
    assert lploss.load_loss(PAIRWISE).kind == "supervised"
    assert lploss.load_loss(REPROJECTION).kind == "unsupervised"


def test_wrong_axes_are_named() -> None:
    inputs = maps_and_points()
    inputs["keypoints_pred_2d_reprojected"] = inputs["keypoints_pred_2d_reprojected"].flatten(1)
    with pytest.raises(ShapeError, match=r"keypoints_pred_2d_reprojected must have axes"):
        lploss.create_loss(HEATMAP)(**inputs)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_reprojection_leaves_out_target_maps_that_are_not_finite(value: float) -> None:
    inputs = maps_and_points()
    inputs["heatmaps_targ"] = inputs["heatmaps_targ"].clone()
    inputs["heatmaps_targ"][0, 3] = 0.0
    points = inputs["keypoints_pred_2d_reprojected"].requires_grad_()
    loss = lploss.create_loss(HEATMAP)
    expected = loss(**inputs).loss
    inputs["heatmaps_targ"][0, 3, 1, 1] = value
    result = loss(**inputs).loss
    result.backward()
    torch.testing.assert_close(result, expected)
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert points.grad[0, 3].abs().max() == 0


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_pairwise_leaves_out_points_that_are_infinite(value: float) -> None:
    inputs = poses_in_space()
    inputs["keypoints_targ_3d"][0, 0, 2] = value
    assert reasons(lploss.create_loss(PAIRWISE), inputs) == {
        "not labelled": 3,
        "cannot be triangulated": 0,
    }


def test_pairwise_auto_is_1_where_no_distance_is_finite() -> None:
    targets = torch.tensor([[[3e38, 0.0, 0.0], [-3e38, 0.0, 0.0]]])
    loss = lploss.create_loss(PAIRWISE, unit_scale="auto")
    predictions = targets[:, None] + torch.tensor([0.0, 3.0, 4.0])
    elements = loss.elementwise(keypoints_targ_3d=targets, keypoints_pred_3d=predictions)
    torch.testing.assert_close(elements, torch.full((1, 1, 2), 5.0))
