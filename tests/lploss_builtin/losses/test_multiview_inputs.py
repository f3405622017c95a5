from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lploss import LossFactory, create_loss
from lploss.errors import LplossError, MissingInputError, ShapeError
from lploss.inputs import InputResolver
from lploss_builtin.losses import multiview_inputs
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_pairs
from tests.lploss_builtin.ops.geometry.rigs import noise, random_points, random_rig

LOSSES = {
    "supervised_pairwise_projections": {},
    "supervised_reprojection_heatmap_mse": {},
    "multiview_reprojection": {},
}
NUM_VIEWS, NUM_KEYPOINTS = 3, 5
# Of a crop of 960 x 640 px, which becomes an image of 192 x 128.
CORNER = torch.tensor([160.0, 40.0], dtype=torch.float64)
SCALE = torch.tensor([192 / 960, 128 / 640], dtype=torch.float64)


def recording(error: float = 3.0, num_views: int = NUM_VIEWS) -> dict[str, Tensor]:
    """Keypoints and cameras alone; predictions miss by some px; images are cropped and resized."""
    cameras = random_rig(1, num_views=num_views)
    points = random_points(2, batch=4, num_keypoints=NUM_KEYPOINTS)
    seen = project_points(points, cameras)
    assert cameras.distortions is not None
    boxes = torch.tensor([160.0, 40.0, 640.0, 960.0], dtype=torch.float64).repeat(4, num_views)
    in_input = (seen - CORNER) * SCALE
    maps = gaussian_heatmaps(in_input.flatten(1, 2), image_size=(128, 192), heatmap_size=(32, 48))
    return {
        "keypoints_targ": seen.flatten(1),
        "keypoints_pred": (seen + noise(3, seen, error)).flatten(1).requires_grad_(),
        "heatmaps_targ": maps,
        "intrinsics": cameras.intrinsics.expand(4, -1, -1, -1),
        "extrinsics": cameras.extrinsics.expand(4, -1, -1, -1),
        "distortions": cameras.distortions.expand(4, -1, -1),
        "bbox": boxes,
        "image_size": torch.tensor([128.0, 192.0], dtype=torch.float64),
    }


def elements(batch: dict[str, Tensor], name: str) -> Tensor:
    loss = create_loss(name)
    required = [needed for needed, is_required in loss.inputs.items() if is_required]
    return loss.elementwise(**InputResolver(dict.fromkeys(required, name)).resolve(batch))


def values(batch: dict[str, Tensor]) -> dict[str, float]:
    _, logs = LossFactory(LOSSES)(**batch)
    return {
        entry["name"].removesuffix("_loss"): entry["value"].item()
        for entry in logs
        if entry["name"].endswith("_loss") and not entry["name"].startswith("total")
    }


def test_losses_run_from_keypoints_and_cameras_alone() -> None:
    batch = recording()
    total, _ = LossFactory(LOSSES)(**batch)
    total.backward()
    gradient = batch["keypoints_pred"].grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert (gradient != 0).all()


def test_losses_are_zero_where_predictions_are_the_labels() -> None:
    assert values(recording(error=0.0)) == {
        "supervised_pairwise_projections": pytest.approx(0.0, abs=1e-12),
        "supervised_reprojection_heatmap_mse": pytest.approx(0.0, abs=1e-15),
        "multiview_reprojection": pytest.approx(0.0, abs=1e-9),
    }


def test_pairs_are_triangulated_once_for_all_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(points: Tensor, cameras: Cameras) -> Tensor:
        calls.append(len(points))
        return triangulate_pairs(points, cameras)

    monkeypatch.setattr(multiview_inputs, "triangulate_pairs", counted)
    LossFactory(LOSSES)(**recording())
    assert calls == [4]


def test_what_is_given_is_not_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiview_inputs, "triangulate_pairs", None)
    batch = recording()
    batch["keypoints_pred_3d"] = random_points(5, batch=4, num_keypoints=NUM_KEYPOINTS)[:, None]
    LossFactory({"supervised_pairwise_projections": {}})(**batch)


def test_reprojection_is_the_mean_over_the_pairs_in_px_of_the_models_input() -> None:
    batch = recording()
    cameras = random_rig(1)
    seen = batch["keypoints_pred"].detach().unflatten(1, (NUM_VIEWS, NUM_KEYPOINTS, 2))
    mean = triangulate_pairs(seen, cameras).mean(dim=1)
    expected = project_points(mean, cameras)
    expected = (expected - CORNER) * SCALE
    inputs = {name: batch[name] for name in ("intrinsics", "extrinsics", "distortions")}
    found = multiview_inputs.keypoints_pred_2d_reprojected(
        triangulate_pairs(seen, cameras),
        **inputs,
        bbox=batch["bbox"],
        image_size=batch["image_size"],
    )
    torch.testing.assert_close(found, expected.flatten(1, 2))
    uncropped = multiview_inputs.keypoints_pred_2d_reprojected(
        triangulate_pairs(seen, cameras), **inputs
    )
    torch.testing.assert_close(uncropped, project_points(mean, cameras).flatten(1, 2))


def test_mean_over_the_pairs_is_over_those_that_see_the_keypoint() -> None:
    batch = recording()
    with torch.no_grad():
        batch["keypoints_pred"][0, :2] = math.nan  # keypoint 0 in view 0
    loss = elements(batch, "supervised_pairwise_projections")
    assert loss[0, :, 0].isnan().tolist() == [True, True, False]
    assert elements(batch, "supervised_reprojection_heatmap_mse").isfinite().all()
    reprojection = elements(batch, "multiview_reprojection")
    assert reprojection[0].isnan().tolist() == [True] + [False] * (NUM_VIEWS * NUM_KEYPOINTS - 1)


@settings(deadline=None)
@given(st.sets(st.integers(0, 4 * NUM_VIEWS * NUM_KEYPOINTS - 1)))
def test_missing_predictions_never_spoil_a_gradient(missing: set[int]) -> None:
    batch = recording()
    keypoints = batch["keypoints_pred"].detach().clone()
    keypoints.view(-1, 2)[list(missing)] = math.nan
    batch["keypoints_pred"] = keypoints.requires_grad_()
    total, _ = LossFactory(LOSSES, nan_predictions="leave_out")(**batch)
    total.backward()
    assert total.isfinite()
    assert keypoints.grad is not None
    assert keypoints.grad.isfinite().all()
    assert (keypoints.grad.view(-1, 2)[list(missing)] == 0).all()


@settings(deadline=None)
@given(st.floats(1e-3, 1e3))
def test_scaling_the_world_scales_distances_in_space_and_leaves_those_in_images(
    factor: float,
) -> None:
    # Views that agree, on other points than the labelled ones.
    batch = recording()
    moved = random_points(2, batch=4, num_keypoints=NUM_KEYPOINTS)
    batch["keypoints_pred"] = project_points(moved + noise(4, moved, 0.02), random_rig(1)).flatten(
        1
    )
    before = values(batch)
    scale = torch.tensor([1.0, 1.0, 1.0, factor], dtype=torch.float64)
    after = values({**batch, "extrinsics": batch["extrinsics"] * scale})
    name = "supervised_pairwise_projections"
    assert after.pop(name) == pytest.approx(factor * before.pop(name), rel=1e-9)
    assert after == {
        name: pytest.approx(value, rel=1e-6, abs=1e-9) for name, value in before.items()
    }


def test_labels_are_triangulated_by_the_views_that_have_them_and_get_no_gradient() -> None:
    batch = recording()
    targets = batch["keypoints_targ"].clone()
    targets[0, :2] = math.nan  # one view lacks it
    for view in range(NUM_VIEWS - 1):  # one view only has it
        targets[1, 2 * NUM_KEYPOINTS * view : 2 * NUM_KEYPOINTS * view + 2] = math.nan
    found = multiview_inputs.keypoints_targ_3d(
        targets.requires_grad_(), batch["intrinsics"], batch["extrinsics"], batch["distortions"]
    )
    truth = random_points(2, batch=4, num_keypoints=NUM_KEYPOINTS)
    assert not found.requires_grad
    assert found[1, 0].isnan().all()
    assert found.isnan().sum() == 3
    kept = found.isfinite()
    np.testing.assert_allclose(found[kept], truth[kept], atol=1e-9)


def test_confidences_weigh_the_views_and_get_no_gradient() -> None:
    batch = recording(error=0.0)
    keypoints = batch["keypoints_pred"].detach().clone()
    keypoints[:, :2] += 40.0  # view 0 is wrong about keypoint 0
    confidences = torch.ones(4, NUM_VIEWS * NUM_KEYPOINTS, dtype=torch.float64)
    sure = {**batch, "keypoints_pred": keypoints, "confidences": confidences}
    confidences = confidences.clone()
    confidences[:, 0] = 1e-6
    unsure = {**sure, "confidences": confidences.requires_grad_()}
    views = NUM_KEYPOINTS * torch.arange(NUM_VIEWS)
    everybody = elements(sure, "multiview_reprojection")[:, views]
    others = elements(unsure, "multiview_reprojection")[:, views]
    assert everybody[:, 1:].min() > 0.1
    assert others[:, 1:].max() < 1e-3
    assert not others.requires_grad


def test_pinholes_need_no_coefficients() -> None:
    batch = recording()
    zero = {**batch, "distortions": torch.zeros(4, NUM_VIEWS, 5, dtype=torch.float64)}
    del batch["distortions"]
    assert values(batch) == pytest.approx(values(zero))


@pytest.mark.parametrize("lacking", ["bbox", "image_size"])
def test_to_crop_and_resize_takes_both(lacking: str) -> None:
    batch = recording()
    del batch[lacking]
    with pytest.raises(MissingInputError, match=f"{lacking} is not"):
        LossFactory({"supervised_reprojection_heatmap_mse": {}})(**batch)


def test_keypoints_of_another_number_of_views_are_refused() -> None:
    batch = recording()
    batch["keypoints_pred"] = batch["keypoints_pred"][:, :-2]
    with pytest.raises(ShapeError, match=r"keypoints_pred must have .* 3 views .* \(4, 28\)"):
        LossFactory({"multiview_reprojection": {}})(**batch)


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("keypoints_pred", lambda t: t.long(), "keypoints_pred must hold floating-point numbers"),
        ("confidences", lambda t: t[:, :-3], r"confidences must have shape \(4, 15\)"),
        ("confidences", lambda t: t[:, :-1], "confidences must have .* 3 views"),
        ("bbox", lambda t: t[:, :4], r"bbox must have axes \(batch, views_x_4\)"),
        ("image_size", lambda t: t.expand(4, 2), "image_size must"),
        ("extrinsics", lambda t: t[:2], "extrinsics must have shape"),
    ],
)
def test_what_does_not_fit_is_named(name: str, change: Callable, message: str) -> None:
    batch = recording()
    batch["confidences"] = torch.ones(4, NUM_VIEWS * NUM_KEYPOINTS)
    batch[name] = change(batch[name])
    with pytest.raises(LplossError, match=message):
        LossFactory(LOSSES)(**batch)


def test_cameras_of_another_batch_are_named() -> None:
    batch = recording()
    for name in ("intrinsics", "extrinsics", "distortions"):
        batch[name] = batch[name][:2]
    with pytest.raises(ShapeError, match=r"cameras have a batch of 2, keypoints_pred one of 4"):
        LossFactory({"multiview_reprojection": {}})(**batch)


def test_views_that_are_right_are_not_drawn_to_one_that_is_wrong() -> None:
    batch = recording(error=0.0)
    keypoints = batch["keypoints_pred"].detach().clone()
    keypoints[:, 0] += 40.0
    keypoints.requires_grad_()
    confidences = torch.ones(4, NUM_VIEWS * NUM_KEYPOINTS, dtype=torch.float64)
    confidences[:, 0] = 1e-3
    total, _ = LossFactory({"multiview_reprojection": {"epsilon": 3.0}})(
        **{**batch, "keypoints_pred": keypoints, "confidences": confidences}
    )
    total.backward()
    assert keypoints.grad is not None
    pulled = keypoints.grad.view(4, NUM_VIEWS, NUM_KEYPOINTS, 2).abs().sum(dim=-1)
    assert (pulled[:, 0, 0] > 0).all()
    assert pulled[:, 1:].max() == 0


def test_one_view_gives_exactly_zero() -> None:
    batch = recording(num_views=1)
    total, _ = LossFactory(LOSSES)(**batch)
    total.backward()
    assert total.item() == 0.0


@pytest.mark.compiles
def test_compiled_in_one_graph_a_new_factory_computes_the_same() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(LossFactory(LOSSES), fullgraph=True, backend="aot_eager")
    batch, again = recording(), recording()
    found, _ = compiled(**again)
    expected, _ = LossFactory(LOSSES)(**batch)
    expected.backward()
    found.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again["keypoints_pred"].grad, batch["keypoints_pred"].grad)


@pytest.mark.parametrize("number", [1e8, 1e20, 2e38, -2e38])
@pytest.mark.parametrize("name", LOSSES)
def test_huge_predictions_give_finite_gradients_or_a_loss_that_is_not_finite(
    name: str, number: float
) -> None:
    batch = {key: value.detach().float() for key, value in recording().items()}
    batch["keypoints_pred"][0, :2] = number
    batch["keypoints_pred"].requires_grad_()
    loss, _ = LossFactory({name: {}})(**batch)
    loss.backward()
    gradient = batch["keypoints_pred"].grad
    assert gradient is not None
    assert not loss.isfinite() or gradient.isfinite().all()
