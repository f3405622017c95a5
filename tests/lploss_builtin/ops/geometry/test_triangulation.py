from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from torch import Tensor

from lploss_builtin.ops.geometry import (
    Cameras,
    camera_pairs,
    distortion,
    project_points,
    triangulate_pairs,
    triangulate_views,
    triangulation,
    undistort_points,
)
from tests.lploss_builtin.ops.geometry.rigs import (
    IMAGE_SIZE,
    NUM_COEFFICIENTS,
    batched,
    check_gradients,
    in_own_frame,
    least_squares_dlt,
    moved,
    noise,
    project_with_opencv,
    random_motion,
    random_points,
    random_rig,
    same,
    same_compiled,
    scaled,
)

Operation = Callable[[Tensor, Cameras], Tensor]
refined = partial(triangulate_views, num_refinements=2)
OPERATIONS = [
    pytest.param(triangulate_pairs, id="pairs"),
    pytest.param(triangulate_views, id="views"),
    pytest.param(refined, id="refined"),
]


#: The cameras of each pair of four.
PAIRS = list(itertools.combinations(range(4), 2))


def seen_with_noise(seed: int, rig: Cameras, size: float = 2.0, **shape: int) -> Tensor:
    """Random points as the cameras see them, but for some px."""
    seen = torch.tensor(project_with_opencv(random_points(seed, **shape), rig))
    return seen + noise(seed, seen, size)


def random_weights(seed: int, points: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(points.shape[:-1], generator=generator, dtype=torch.float64) + 0.1


def directions_of(points: Tensor, rig: Cameras) -> np.ndarray:
    """Undistorted x and y at depth 1."""
    pinhole = undistort_points(points, rig)
    homogeneous = torch.cat([pinhole, torch.ones_like(pinhole[..., :1])], dim=-1)
    inverse = torch.linalg.inv(rig.intrinsics)
    return torch.einsum("vij,bvkj->bvki", inverse, homogeneous)[..., :2].numpy()


# What others find


@pytest.mark.parametrize("num_coefficients", NUM_COEFFICIENTS)
@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_triangulated_as_by_opencv(seed: int, num_coefficients: int) -> None:
    rig = random_rig(seed, 4, num_coefficients, skew=10.0)
    points = seen_with_noise(seed, replace(rig, intrinsics=random_rig(seed, 4).intrinsics))
    directions = directions_of(points, rig)
    found = triangulate_pairs(points, rig)
    for pair, (first, second) in enumerate(PAIRS):
        poses, centre, spread = in_own_frame(rig.extrinsics.numpy()[[first, second]])
        for element in range(len(points)):
            homogeneous = cv2.triangulatePoints(
                *poses, directions[element, first].T, directions[element, second].T
            )
            expected = centre + spread * (homogeneous[:3] / homogeneous[3]).T
            np.testing.assert_allclose(found[element, pair], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("num_views", [2, 3, 6])
def test_all_views_are_triangulated_as_by_numpy(num_views: int, weighted: bool) -> None:
    rig = random_rig(num_views, num_views)
    points = seen_with_noise(num_views, rig)
    weights = random_weights(num_views, points) if weighted else None
    directions = directions_of(points, rig)
    found = triangulate_views(points, rig, weights)
    for element, keypoint in np.ndindex(found.shape[:2]):
        expected = least_squares_dlt(
            directions[element, :, keypoint],
            rig.extrinsics.numpy(),
            None if weights is None else weights[element, :, keypoint].numpy(),
        )
        np.testing.assert_allclose(found[element, keypoint], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-6, 20.0, 100.0])
def test_the_noise_may_be_of_any_size(size: float) -> None:
    rig = random_rig(0)
    points = seen_with_noise(0, rig, size)
    directions = directions_of(points, rig)
    found = triangulate_views(points, rig)
    for element, keypoint in np.ndindex(found.shape[:2]):
        expected = least_squares_dlt(directions[element, :, keypoint], rig.extrinsics.numpy())
        np.testing.assert_allclose(found[element, keypoint], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_views", [2, 3, 6])
def test_views_that_disagree_find_what_numpy_finds_in_front_of_them(num_views: int) -> None:
    rig = random_rig(num_views, num_views, 0)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, num_views, 200, 2, generator=generator, dtype=torch.float64)
    points *= torch.tensor(IMAGE_SIZE)
    directions, poses = directions_of(points, rig)[0], rig.extrinsics.numpy()
    found = triangulate_views(points, rig)[0]
    for keypoint, actual in enumerate(found):
        expected = least_squares_dlt(directions[:, keypoint], poses)
        if (poses[:, 2, :3] @ expected + poses[:, 2, 3] > 0).all():
            # Two eigenvalues may be all but the same here.
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * abs(expected).max())
        else:
            assert actual.isnan().all()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("num_coefficients", NUM_COEFFICIENTS)
def test_what_is_projected_is_found_again(operation: Operation, num_coefficients: int) -> None:
    rig, points = random_rig(1, num_coefficients=num_coefficients, skew=5.0), random_points(1)
    found = operation(project_points(points, rig), rig)
    expected = points if found.dim() == 3 else points[:, None].expand_as(found)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_origin_of_the_world_is_a_point_like_others(operation: Operation) -> None:
    rig = random_rig(2)
    found = operation(project_points(torch.zeros(1, 20, 3, dtype=torch.float64), rig), rig)
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)


def stereo(angle: float) -> Cameras:
    """Two cameras side by side; rays to a point at distance 5 meet at about the angle."""
    matrix = [[1000.0, 0.0, 640.0], [0.0, 1000.0, 360.0], [0.0, 0.0, 1.0]]
    rig = Cameras.from_opencv([matrix] * 2, [[0, 0, 0]] * 2, [[0, 0, 5], [-5 * angle, 0, 5]])
    return moved(rig, random_motion(0))


@pytest.mark.parametrize("power", np.arange(0, -8, -0.5).tolist())
def test_rays_meet_where_they_do_at_any_angle_or_nowhere(power: float) -> None:
    rig = stereo(10**power)
    points = 0.3 * random_points(0, num_keypoints=100)
    points = points @ random_motion(0)[:, :3].T + random_motion(0)[:, 3]
    found = triangulate_pairs(project_points(points, rig), rig)[:, 0]
    missed = (found - points).norm(dim=-1)
    assert not (missed > 1e-7).any()
    if power >= -3:
        assert missed.max() < 1e-7


def squared_errors(points: Tensor, rig: Cameras, weights: Tensor, found: Tensor) -> Tensor:
    errors = (project_points(found, rig) - points).square().sum(dim=-1)
    return (weights * errors).nansum(dim=1)


def best_by_scipy(points: np.ndarray, rig: Cameras, weights: np.ndarray) -> np.ndarray:
    """The least squares of the weighted reprojection errors of one keypoint."""

    def errors(at: np.ndarray) -> np.ndarray:
        seen = project_with_opencv(torch.tensor(at)[None, None], rig)[0, :, 0]
        return np.nan_to_num(np.sqrt(weights)[:, None] * (seen - points)).ravel()

    return least_squares(errors, np.zeros(3), method="lm", xtol=1e-14, ftol=1e-14).x


@pytest.mark.parametrize("num_coefficients", [0, 5, 14])
def test_refinement_is_the_least_squares_of_scipy(num_coefficients: int) -> None:
    rig = random_rig(2, 4, num_coefficients)
    points = seen_with_noise(2, rig, 5.0)
    points[0, 1, 0] = torch.nan
    weights = random_weights(2, points)
    found = triangulate_views(points, rig, weights, num_refinements=4)
    for element, keypoint in np.ndindex(found.shape[:2]):
        at = element, slice(None), keypoint
        expected = best_by_scipy(points[at].numpy(), rig, weights[at].numpy())
        np.testing.assert_allclose(found[element, keypoint], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_refinements", [1, 10])
def test_refinement_of_views_that_disagree_stays_finite(num_refinements: int) -> None:
    rig = random_rig(4, 2)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 2, 100, 2, generator=generator, dtype=torch.float64)
    points = (points * torch.tensor(IMAGE_SIZE)).requires_grad_()
    found = triangulate_views(points, rig, num_refinements=num_refinements)
    assert torch.equal(found.isnan(), triangulate_views(points, rig).isnan())
    (grad,) = torch.autograd.grad(found.nan_to_num(nan=0.0).sum(), points)
    assert found[~found.isnan()].isfinite().all()
    assert grad.isfinite().all()


def test_one_refinement_gains_nearly_all_there_is() -> None:
    rig = random_rig(3)
    points = seen_with_noise(3, rig, 5.0, batch=20)
    weights = random_weights(3, points)
    start, once, best = (
        squared_errors(
            points, rig, weights, triangulate_views(points, rig, weights, num_refinements=n)
        )
        for n in (0, 1, 5)
    )
    assert (once <= start).all()
    assert (best <= once + 1e-9).all()
    assert (once - best).max() < 0.01 * (start - best).max()


# What changes nothing


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(-6, 6), st.sampled_from([0.0, 3.0]))
def test_what_is_found_moves_and_scales_with_the_world(
    seed: int, power: float, noise_size: float
) -> None:
    rig, motion, unit = random_rig(seed), random_motion(seed), 10**power
    points = seen_with_noise(seed, rig, noise_size)
    for operation in (triangulate_pairs, triangulate_views, refined):
        expected = operation(points, rig) @ motion[:, :3].T + motion[:, 3]
        same_point(operation(points, scaled(moved(rig, motion), unit)) / unit, expected)


@pytest.mark.parametrize(("distance", "accuracy"), [(1e2, 1e-9), (1e4, 1e-6)])
def test_the_origin_of_the_world_may_be_far_away(distance: float, accuracy: float) -> None:
    rig = random_rig(0)
    motion = torch.eye(3, 4, dtype=torch.float64)
    motion[:, 3] = distance
    points = seen_with_noise(0, rig)
    for operation in (triangulate_pairs, triangulate_views, refined):
        found = operation(points, moved(rig, motion)) - distance
        torch.testing.assert_close(found, operation(points, rig), rtol=0, atol=accuracy)


def same_point(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-8)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_views_come_in_any_order(seed: int, order: list[int]) -> None:
    rig = random_rig(seed, 4)
    points = seen_with_noise(seed, rig)
    points[0, 1, 2] = torch.nan
    shuffled, cameras = points[:, order], rig.select(order)
    same_point(triangulate_views(shuffled, cameras), triangulate_views(points, rig))
    found = triangulate_pairs(points, rig)
    expected = [PAIRS.index(tuple(sorted([order[i], order[j]]))) for i, j in PAIRS]
    torch.testing.assert_close(
        triangulate_pairs(shuffled, cameras), found[:, expected], rtol=0, atol=1e-8, equal_nan=True
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([1e-12, 1e-3, 2.0, 1e12]))
def test_only_the_ratios_of_weights_count(seed: int, factor: float) -> None:
    rig = random_rig(seed)
    points = seen_with_noise(seed, rig)
    weights = random_weights(seed, points)
    for find in (triangulate_views, refined):
        same_point(find(points, rig, factor * weights), find(points, rig, weights))


@pytest.mark.parametrize("nothing", [0.0, -1.0, math.nan, -math.inf])
@pytest.mark.parametrize("num_refinements", [0, 2])
def test_a_view_without_weight_does_not_see(nothing: float, num_refinements: int) -> None:
    rig = random_rig(4, 4)
    points = seen_with_noise(4, rig)
    weights = random_weights(4, points)
    weights[:, 1] = nothing
    others = [0, 2, 3]
    expected = triangulate_views(
        points[:, others], rig.select(others), weights[:, others], num_refinements=num_refinements
    )
    points[:, 1, 0] = 1e5
    found = triangulate_views(points, rig, weights, num_refinements=num_refinements)
    same_point(found, expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
@pytest.mark.parametrize("num_refinements", [0, 2])
def test_a_view_that_cannot_be_is_left_out(value: float, num_refinements: int) -> None:
    """1e200 px lie beyond the fold of the lens."""
    rig = random_rig(5, 4)
    assert rig.distortions is not None
    rig.distortions[1] = torch.tensor([-0.3, 0.0, 0.0, 0.0, 0.0])
    points = seen_with_noise(5, rig)
    others = [0, 2, 3]
    expected = triangulate_views(
        points[:, others], rig.select(others), num_refinements=num_refinements
    )
    points[:, 1] = value
    same_point(triangulate_views(points, rig, num_refinements=num_refinements), expected)


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("power", range(-14, 0))
def test_weights_that_leave_all_but_one_view_out_find_the_point_or_nothing(
    num_views: int, power: int
) -> None:
    rig, points = random_rig(6, num_views), random_points(6)
    weights = torch.full((2, num_views, 5), 10.0**power, dtype=torch.float64)
    weights[:, 0] = 1.0
    found = triangulate_views(project_points(points, rig), rig, weights)
    missed = (found - points).norm(dim=-1)
    assert not (missed > 1e-7).any()
    if power > -6:
        assert missed.max() < 1e-7


def test_without_weights_all_are_one() -> None:
    rig = random_rig(6)
    points = seen_with_noise(6, rig)
    expected = triangulate_views(points, rig)
    assert torch.equal(triangulate_views(points, rig, torch.ones(2, 3, 5)), expected)


def test_pairs_are_all_views_of_two_cameras() -> None:
    rig = random_rig(7, 4)
    points = seen_with_noise(7, rig)
    found = triangulate_pairs(points, rig)
    for number, pair in enumerate(PAIRS):
        same_point(found[:, number], triangulate_views(points[:, list(pair)], rig.select(pair)))


# What is missing


def given_in(points: Tensor, missing: list[int]) -> tuple[Tensor, Tensor]:
    """The points without some, and which are left, as ``batch views num_keypoints``."""
    is_given = torch.ones(points[..., 0].numel(), dtype=torch.bool)
    is_given[missing] = False
    is_given = is_given.view(points.shape[:-1])
    return torch.where(is_given[..., None], points, torch.nan), is_given


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 23)))
def test_missing_views_are_nobody_else_s_matter(seed: int, missing: set[int]) -> None:
    rig = random_rig(seed, 4)
    complete = seen_with_noise(seed, rig, num_keypoints=3)
    points, is_given = given_in(complete, sorted(missing))
    enough = {
        triangulate_pairs: is_given[:, torch.tensor(PAIRS)].all(dim=2),
        triangulate_views: is_given.sum(dim=1) >= 2,
        refined: is_given.sum(dim=1) >= 2,
    }
    for operation, expected in enough.items():
        found = operation(points.requires_grad_(), rig)
        assert torch.equal(~found.isnan().any(dim=-1), expected)
        (grad,) = torch.autograd.grad(found.nan_to_num(nan=0.0).sum(), points)
        assert grad.isfinite().all()
        assert grad[~is_given].count_nonzero() == 0
        whole = is_given.all(dim=1) if found.dim() == 3 else is_given.all(dim=1)[:, None]
        whole = whole.expand(found.shape[:-1])
        torch.testing.assert_close(
            found[whole], operation(complete, rig)[whole], rtol=0, atol=1e-12
        )


def test_missing_views_are_left_out() -> None:
    rig = random_rig(8, 4)
    points = seen_with_noise(8, rig)
    for missing in itertools.chain(itertools.combinations(range(4), 1), PAIRS):
        given_points = points.clone()
        given_points[:, list(missing)] = torch.nan
        others = [view for view in range(4) if view not in missing]
        for find in (triangulate_views, refined):
            same_point(find(given_points, rig), find(points[:, others], rig.select(others)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_missing_coordinate_is_a_missing_point(operation: Operation) -> None:
    rig = random_rig(9)
    points = seen_with_noise(9, rig)
    both = points.clone()
    points[:, 0, 0, 0] = both[:, 0, 0] = torch.nan
    torch.testing.assert_close(
        operation(points, rig), operation(both, rig), rtol=0, atol=0, equal_nan=True
    )


def zero_gradients(found: Tensor, *leaves: Tensor) -> None:
    """Assert that all is NaN, with a gradient of exactly zero."""
    assert found.isnan().all()
    grads = torch.autograd.grad(found.nan_to_num(nan=0.0).sum(), leaves, materialize_grads=True)
    assert all(grad.count_nonzero() == 0 for grad in grads)


def leaves_of(points: Tensor, cameras: Cameras) -> tuple[Tensor, Cameras, tuple[Tensor, ...]]:
    assert cameras.distortions is not None
    tensors = (points, cameras.intrinsics, cameras.extrinsics, cameras.distortions)
    leaves = tuple(tensor.clone().requires_grad_() for tensor in tensors)
    return leaves[0], Cameras(*leaves[1:]), leaves


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_seen_is_nothing_found(operation: Operation) -> None:
    points, cameras, leaves = leaves_of(torch.full((2, 3, 4, 2), torch.nan), random_rig(10))
    zero_gradients(operation(points, cameras), *leaves)


def turned(cameras: Cameras, view: int) -> Cameras:
    """The same cameras, one of them turned about its centre."""
    poses = cameras.extrinsics.clone()
    turn = torch.linalg.matrix_exp(
        0.1 * torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]).double()
    )
    poses[view] = turn @ poses[view]
    return replace(cameras, extrinsics=poses)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [0.0, 1e-3, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("change", [lambda rig: rig, lambda rig: turned(rig, 1)])
def test_cameras_that_coincide_find_nothing(
    operation: Operation, seed: int, size: float, change: Callable[[Cameras], Cameras]
) -> None:
    """Noise or not, their rays meet in the centre of the cameras at best."""
    rig = change(random_rig(seed, 1).select([0, 0]))
    points = seen_with_noise(seed, rig, size)
    points, cameras, leaves = leaves_of(points, rig)
    zero_gradients(operation(points, cameras), *leaves)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_parallel_rays_meet_nowhere(operation: Operation) -> None:
    matrix = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]
    rig = Cameras.from_opencv(
        [matrix] * 2, [[0, 0, 0]] * 2, [[0, 0, 0], [-1, 0, 0]], [[0.1, 0, 0, 0]] * 2
    )
    points = torch.tensor([[[[320.0, 240.0], [500.0, 100.0]]] * 2], dtype=torch.float64)
    points, cameras, leaves = leaves_of(points, rig)
    zero_gradients(operation(points, cameras), *leaves)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_rays_that_meet_behind_the_cameras_show_nothing(operation: Operation) -> None:
    matrix = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]
    rig = Cameras.from_opencv(
        [matrix] * 2, [[0, 0, 0]] * 2, [[0, 0, 0], [-1, 0, 0]], [[0, 0, 0, 0]] * 2
    )
    points = torch.tensor([[[[300.0, 240.0]], [[400.0, 240.0]]]], dtype=torch.float64)
    points, cameras, leaves = leaves_of(points, rig)
    zero_gradients(operation(points, cameras), *leaves)


def behind_one(rig: Cameras, view: int) -> Tensor:
    """A point in space behind a camera, on the far side of the origin seen from it."""
    return -2 * rig.extrinsics[view, :, :3].T @ rig.extrinsics[view, :, 3]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_point_behind_a_camera_is_not_found(operation: Operation) -> None:
    rig = random_rig(11, 2, 0)
    points = torch.tensor(project_with_opencv(behind_one(rig, 0)[None, None], rig))
    points, cameras, leaves = leaves_of(
        points, replace(rig, distortions=torch.zeros(2, 4).double())
    )
    zero_gradients(operation(points, cameras), *leaves)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_point_at_the_centre_of_a_camera_gives_finite_gradients(operation: Operation) -> None:
    rig = random_rig(12, 3, 4)
    centre = -rig.extrinsics[0, :, :3].T @ rig.extrinsics[0, :, 3]
    points = torch.tensor(project_with_opencv(centre[None, None], rig)).nan_to_num(500.0)
    points[:, 0] = 500.0
    points, cameras, leaves = leaves_of(points, rig)
    found = operation(points, cameras)
    grads = torch.autograd.grad(found.nan_to_num(nan=0.0).sum(), leaves)
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_degenerate_pairs_spoil_no_other_s_gradient(operation: Operation) -> None:
    rig = random_rig(13, 2).select([0, 1, 1])
    points = seen_with_noise(13, rig, 1.0)
    points[0, 0, 0] = torch.nan
    points, cameras, leaves = leaves_of(points, rig)
    found = operation(points, cameras)
    if found.dim() == 4:
        assert found[:, 2].isnan().all()
        assert not found[1, :2].isnan().any()
    else:
        assert found[0, 0].isnan().all()
        assert not found[1].isnan().any()
    grads = torch.autograd.grad(found.nan_to_num(nan=0.0).sum(), leaves)
    assert all(grad.isfinite().all() for grad in grads)


def test_one_view_makes_no_pairs_and_sees_nothing() -> None:
    points, cameras, leaves = leaves_of(torch.full((2, 1, 4, 2), 500.0).double(), random_rig(14, 1))
    pairs = triangulate_pairs(points, cameras)
    assert pairs.shape == (2, 0, 4, 3)
    pairs.sum().backward()
    for find in (triangulate_views, refined):
        found = find(points, cameras)
        assert found.shape == (2, 4, 3)
        zero_gradients(found, *leaves)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (2, 3, 0, 2)])
@pytest.mark.parametrize("own_cameras", [False, True])
def test_no_points_are_no_error(
    operation: Operation, shape: tuple[int, ...], own_cameras: bool
) -> None:
    points = torch.zeros(shape, requires_grad=True)
    rig = random_rig(15)
    found = operation(points, batched(rig, shape[0]) if own_cameras else rig)
    pairs = (3,) if operation is triangulate_pairs else ()
    assert found.shape == (shape[0], *pairs, shape[2], 3)
    found.sum().backward()


# Gradients


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("size", [0.0, 3.0])
def test_gradients(operation: Operation, size: float) -> None:
    rig = random_rig(16, 3, 5, skew=5.0)
    points = seen_with_noise(16, rig, size, batch=1, num_keypoints=2)
    points[0, 0, 1] = torch.nan
    check_gradients(operation, points, rig)


@pytest.mark.parametrize("num_refinements", [0, 1])
def test_gradients_by_weights(num_refinements: int) -> None:
    rig = random_rig(17, 3, 4)
    points = seen_with_noise(17, rig, batch=1, num_keypoints=2)
    points[0, 0, 1] = torch.nan

    def find(points: Tensor, cameras: Cameras, weights: Tensor) -> Tensor:
        return triangulate_views(points, cameras, weights, num_refinements=num_refinements)

    check_gradients(find, points, rig, random_weights(17, points))


def test_gradients_with_cameras_that_coincide() -> None:
    rig = random_rig(18, 2).select([0, 1, 1])
    points = seen_with_noise(18, rig, 1.0, batch=1, num_keypoints=1)
    one, two = points.clone(), rig.extrinsics[:2]

    def find(points: Tensor, cameras: Cameras) -> Tensor:
        return triangulate_pairs(points, cameras.select([0, 1, 1]))[:, :2]

    assert one.shape[1] == 3
    assert len(two) == 2
    check_gradients(find, points, rig.select([0, 1]))


def test_gradients_beside_a_point_behind_a_camera() -> None:
    rig = random_rig(19, 2, 0)
    behind = behind_one(rig, 0)[None, None]
    there = random_points(19, 1, 1)
    points = torch.tensor(project_with_opencv(torch.cat([there, behind], dim=1), rig))
    found = triangulate_pairs(points, rig)
    assert found.isnan().all(dim=-1).tolist() == [[[False, True]]]
    check_gradients(triangulate_pairs, points, rig)


def test_gradients_by_cameras_of_a_batch() -> None:
    rig = random_rig(20, 2, 4)
    points = seen_with_noise(20, rig, num_keypoints=1)
    check_gradients(triangulate_pairs, points, batched(rig, 2))


def test_weights_that_are_not_positive_have_no_gradient() -> None:
    rig = random_rig(21, 4)
    points = seen_with_noise(21, rig)
    weights = random_weights(21, points)
    weights[:, 0], weights[0, :, 1], weights[1, 1, 2] = 0.0, torch.nan, -1.0
    weights.requires_grad_()
    found = triangulate_views(points, rig, weights, num_refinements=1)
    assert found.isnan().any(dim=-1).tolist() == [[False, True, False, False, False], [False] * 5]
    found.nan_to_num(nan=0.0).sum().backward()
    assert weights.grad is not None
    assert weights.grad.isfinite().all()
    assert weights.grad[~(weights > 0)].count_nonzero() == 0


# Where and how it runs


@pytest.mark.parametrize("operation", OPERATIONS)
def test_cameras_of_a_batch_are_those_shared(operation: Operation) -> None:
    rig = random_rig(22, num_coefficients=14)
    points = seen_with_noise(22, rig)
    same(operation(points, batched(rig, 2)), operation(points, rig))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_element_of_a_batch_has_its_own_cameras(operation: Operation) -> None:
    rigs = [random_rig(seed) for seed in (23, 24)]
    points = torch.cat([seen_with_noise(23, rig, batch=1) for rig in rigs])
    both = Cameras(
        torch.stack([rig.intrinsics for rig in rigs]),
        torch.stack([rig.extrinsics for rig in rigs]),
        torch.stack([rig.distortions for rig in rigs if rig.distortions is not None]),
    )
    alone = [operation(points[i : i + 1], rig) for i, rig in enumerate(rigs)]
    same(operation(points, both), torch.cat(alone))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_half_precision_is_raised(
    operation: Operation, dtype: torch.dtype, expected: torch.dtype
) -> None:
    rig = random_rig(25)
    points = seen_with_noise(25, rig).to(dtype)
    found = operation(points, rig)
    assert found.dtype == expected
    torch.testing.assert_close(found, operation(points.double(), rig).to(expected))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_autocast_changes_nothing(operation: Operation) -> None:
    rig = random_rig(26, num_coefficients=14).to(torch.float32)
    points = seen_with_noise(26, random_rig(26)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = operation(points, rig)
    assert torch.equal(found, operation(points, rig))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_shape_depends_on_values(operation: Operation) -> None:
    points = torch.zeros(2, 3, 5, 2, device="meta")
    found = operation(points, random_rig(27).to("meta"))
    assert found.is_meta
    pairs = (3,) if operation is triangulate_pairs else ()
    assert found.shape == (2, *pairs, 5, 3)


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("operation", "num_coefficients"),
    [(triangulate_pairs, 0), (partial(triangulate_views, num_refinements=1), 4)],
    ids=["pairs", "refined"],
)
def test_compiled_it_is_the_same(
    operation: Operation, num_coefficients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Iterations are unrolled, and each of them takes a second to compile.
    for module in (distortion, triangulation):
        monkeypatch.setattr(module, "_NUM_STEPS", 3)
    rig = random_rig(28, 3, num_coefficients)
    points = seen_with_noise(28, rig)
    points[0, 0, 0] = torch.nan
    same_compiled(operation, points, rig)


def test_there_are_as_many_pairs_as_itertools_says() -> None:
    for num_views in range(6):
        expected = [list(pair) for pair in itertools.combinations(range(num_views), 2)]
        assert camera_pairs(num_views).tolist() == expected
