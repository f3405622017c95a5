from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lploss_builtin.ops.geometry import Cameras, distort_points, project_points
from lploss_builtin.ops.geometry.projection import linearised_projection
from tests.lploss_builtin.ops.geometry.rigs import (
    NUM_COEFFICIENTS,
    batched,
    check_gradients,
    moved,
    project_with_opencv,
    random_motion,
    random_points,
    random_rig,
    same,
    same_compiled,
    scaled,
)


def camera_at_origin(distortion: tuple[float, ...] = ()) -> Cameras:
    matrix = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]
    return Cameras.from_opencv([matrix], [[0, 0, 0]], [[0, 0, 0]], [distortion])


@pytest.mark.parametrize("num_coefficients", NUM_COEFFICIENTS)
@pytest.mark.parametrize("seed", range(5))
def test_projection_is_that_of_opencv(seed: int, num_coefficients: int) -> None:
    rig = random_rig(seed, num_coefficients=num_coefficients)
    points = random_points(seed, num_keypoints=50)
    expected = project_with_opencv(points, rig)
    np.testing.assert_allclose(project_points(points, rig), expected, rtol=0, atol=1e-9)


def test_skewed_pixels_are_those_of_the_camera_matrix() -> None:
    rig = random_rig(1, num_coefficients=0, skew=30.0)
    points = random_points(1)
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
    seen = torch.einsum("vij,vjk,bnk->bvni", rig.intrinsics, rig.extrinsics, homogeneous)
    expected = seen[..., :2] / seen[..., 2:]
    torch.testing.assert_close(project_points(points, rig), expected, rtol=0, atol=1e-9)


def test_distortion_comes_after_the_pinhole() -> None:
    rig, points = random_rig(2, num_coefficients=14, skew=5.0), random_points(2)
    pinholes = project_points(points, Cameras(rig.intrinsics, rig.extrinsics))
    same(project_points(points, rig), distort_points(pinholes, rig))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_motion_of_the_world_with_its_cameras_is_not_seen(seed: int) -> None:
    rig, points = random_rig(seed), random_points(seed)
    motion = random_motion(seed)
    seen = project_points(points @ motion[:, :3].T + motion[:, 3], moved(rig, motion))
    torch.testing.assert_close(seen, project_points(points, rig), rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(-6, 6))
def test_the_unit_of_the_world_is_not_seen(seed: int, power: float) -> None:
    rig, points, unit = random_rig(seed), random_points(seed), 10**power
    seen = project_points(unit * points, scaled(rig, unit))
    torch.testing.assert_close(seen, project_points(points, rig), rtol=0, atol=1e-9)


@pytest.mark.parametrize("distortion", [(), (0.1, 0.02, 1e-3, 1e-3), (0.1,) * 8])
@pytest.mark.parametrize(
    "point",
    [
        [0.1, 0.2, -1.0],  # behind the camera
        [0.0, 0.0, 0.0],  # at its centre
        [1.0, 0.0, 0.0],  # beside it
        [1.0, 0.0, 1e-12],
        [1.0, 0.0, 1e-8],
        [math.nan, 0.0, 1.0],
        [0.0, 0.0, math.inf],
        [-math.inf, 0.0, 1.0],
        [0.0, math.inf, -math.inf],
    ],
)
def test_what_a_camera_does_not_see_is_nan_without_a_gradient(
    point: list[float], distortion: tuple[float, ...]
) -> None:
    camera = camera_at_origin(distortion)
    visible = [0.1, 0.2, 1.0]
    points = torch.tensor([[visible, point]], dtype=torch.float64, requires_grad=True)
    extrinsics = camera.extrinsics.clone().requires_grad_()
    seen = project_points(points, Cameras(camera.intrinsics, extrinsics, camera.distortions))
    assert seen.isnan().all(dim=-1).tolist() == [[[False, True]]]
    seen.nan_to_num(nan=0.0).sum().backward()
    assert points.grad is not None
    assert extrinsics.grad is not None
    assert points.grad[0, 1].tolist() == [0.0, 0.0, 0.0]
    assert points.grad[0, 0].abs().min() > 0

    alone = torch.tensor([[visible]], dtype=torch.float64)
    expected = camera.extrinsics.clone().requires_grad_()
    project_points(alone, Cameras(camera.intrinsics, expected, camera.distortions)).sum().backward()
    assert expected.grad is not None
    same(extrinsics.grad, expected.grad)


def test_a_point_behind_one_camera_is_seen_by_the_others() -> None:
    rig = random_rig(3, num_coefficients=0)
    behind = -2 * rig.extrinsics[0, :, :3].T @ rig.extrinsics[0, :, 3]
    seen = project_points(behind[None, None], rig)
    assert seen[0, 0].isnan().all()
    expected = project_with_opencv(behind[None, None], rig)
    facing = (rig.extrinsics[:, 2, :3] @ behind + rig.extrinsics[:, 2, 3]) > 0
    for view in facing.nonzero().flatten():
        np.testing.assert_allclose(seen[:, view], expected[:, view], atol=1e-9)


@pytest.mark.parametrize("distortion", [(-0.3, 0.0, 0.0, 0.0), (-0.5, 0.1, 0.0, 0.0)])
def test_beyond_the_fold_of_a_lens_nothing_is_seen(distortion: tuple[float, ...]) -> None:
    # 1 + 3 k1 r² + 5 k2 r⁴ is zero there for the first time.
    k1, k2 = distortion[:2]
    fold = min(abs(root) for root in np.roots([5 * k2, 3 * k1, 1]) if root > 0) ** 0.5
    radii = fold * torch.tensor([0.0, 0.5, 0.99, 1.01, 1.2, 2.0, 3.0, 100.0], dtype=torch.float64)
    points = torch.stack([0.6 * radii, -0.8 * radii, torch.ones_like(radii)], dim=-1)[None]
    points.requires_grad_()
    seen = project_points(points, camera_at_origin(distortion))
    assert seen.isnan().any(dim=-1)[0, 0].tolist() == [False] * 3 + [True] * 5
    seen.nan_to_num(nan=0.0).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert points.grad[0, 3:].count_nonzero() == 0


@pytest.mark.parametrize("num_coefficients", [0, 4, 14])
def test_gradients(num_coefficients: int) -> None:
    rig = random_rig(4, 2, num_coefficients, skew=5.0)
    points = random_points(4, num_keypoints=3)
    points[0, 1] = torch.nan
    points[1, 0] = -2 * rig.extrinsics[0, :, :3].T @ rig.extrinsics[0, :, 3]
    check_gradients(project_points, points, rig)


def test_gradients_by_cameras_of_a_batch() -> None:
    check_gradients(project_points, random_points(5, 2, 2), batched(random_rig(5, 2, 5), 2))


@pytest.mark.parametrize("num_coefficients", [0, 5, 14])
def test_the_derivative_is_that_of_autograd(num_coefficients: int) -> None:
    rig = random_rig(6, 2, num_coefficients, skew=5.0)
    points = random_points(6, 1, 1)
    expected = torch.autograd.functional.jacobian(lambda at: project_points(at, rig), points)
    linearised = linearised_projection(points, rig)
    torch.testing.assert_close(linearised.jacobian[0, :, 0], expected[0, :, 0, :, 0, 0])
    same(linearised.pixels, project_points(points, rig))


def test_cameras_of_a_batch_are_those_shared() -> None:
    rig, points = random_rig(7, num_coefficients=12), random_points(7)
    same(project_points(points, batched(rig, 2)), project_points(points, rig))


def test_each_element_of_a_batch_has_its_own_cameras() -> None:
    rigs, points = [random_rig(seed) for seed in (8, 9)], random_points(8)
    both = Cameras(
        torch.stack([rig.intrinsics for rig in rigs]),
        torch.stack([rig.extrinsics for rig in rigs]),
        torch.stack([rig.distortions for rig in rigs if rig.distortions is not None]),
    )
    seen = project_points(points, both)
    for element, rig in enumerate(rigs):
        np.testing.assert_allclose(
            seen[element], project_with_opencv(points[element, None], rig)[0], atol=1e-9
        )


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_half_precision_is_raised(dtype: torch.dtype, expected: torch.dtype) -> None:
    rig, points = random_rig(10), random_points(10).to(dtype)
    seen = project_points(points, rig)
    assert seen.dtype == expected
    torch.testing.assert_close(seen, project_points(points.double(), rig).to(expected))


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)])
def test_no_points_are_no_error(shape: tuple[int, ...]) -> None:
    points = torch.zeros(shape, requires_grad=True)
    seen = project_points(points, random_rig(11))
    assert seen.shape == (shape[0], 3, shape[1], 2)
    seen.sum().backward()


def test_no_cameras_are_no_error() -> None:
    for num_coefficients in NUM_COEFFICIENTS:
        rig = random_rig(12, 1, num_coefficients).select([])
        assert project_points(torch.zeros(2, 5, 3), rig).shape == (2, 0, 5, 2)


def test_autocast_changes_nothing() -> None:
    rig, points = random_rig(13).to(torch.float32), random_points(13).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = project_points(points, rig)
    assert torch.equal(seen, project_points(points, rig))


def test_no_shape_depends_on_values() -> None:
    seen = project_points(random_points(14).to("meta"), random_rig(14).to("meta"))
    assert seen.is_meta
    assert seen.shape == (2, 3, 5, 2)


@pytest.mark.compiles
def test_compiled_it_is_the_same() -> None:
    points = random_points(15)
    points[0, 0] = torch.nan
    same_compiled(project_points, points, random_rig(15))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), max_size=10))
def test_points_that_are_missing_are_nobody_else_s_matter(seed: int, missing: list[int]) -> None:
    rig, points = random_rig(seed), random_points(seed)
    complete = project_points(points, rig)
    is_missing = torch.zeros(10, dtype=torch.bool)
    is_missing[missing] = True
    is_missing = is_missing.view(2, 5)
    given = torch.where(is_missing[..., None], torch.nan, points).requires_grad_()
    seen = project_points(given, rig)
    expected = torch.where(is_missing[:, None, :, None], torch.nan, complete)
    assert torch.equal(seen.isnan(), expected.isnan())
    assert torch.equal(seen.nan_to_num(), expected.nan_to_num())
    gradient(seen, given, is_missing)


def gradient(seen: Tensor, given: Tensor, is_missing: Tensor) -> None:
    (grad,) = torch.autograd.grad(seen.nan_to_num(nan=0.0).sum(), given)
    assert grad.isfinite().all()
    assert grad[is_missing].count_nonzero() == 0
