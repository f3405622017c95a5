from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from kornia.geometry.calibration import undistort_points as kornia_undistort_points
from torch import Tensor

from lploss_builtin.ops.geometry import Cameras, distort_points, undistort_points
from lploss_builtin.ops.geometry.distortion import TOLERANCE
from tests.lploss_builtin.ops.geometry.rigs import (
    IMAGE_SIZE,
    LENSES,
    NUM_COEFFICIENTS,
    batched,
    check_gradients,
    each_camera,
    lens,
    random_rig,
    same,
    same_compiled,
    strong_lens,
    undistort_with_opencv,
    whole_image,
)

Operation = Callable[[Tensor, Cameras], Tensor]
OPERATIONS = [distort_points, undistort_points]

#: Barrels that fold over inside a large image. The second one folds back farther out, and so do
#: the others, the third very soon.
FOLDING = {
    "one fold": (-0.3, 0.0, 0.0, 0.0),
    "two folds": (-0.5, 0.1, 0.0, 0.0),
    "close folds": (-0.5, 0.1, 0.0, 0.0, 0.003),
    "two folds, off the axis": (-0.5, 0.1, 0.004, -0.003),
}


RADIAL = [name for name, (_, _, p1, p2, *_) in FOLDING.items() if p1 == p2 == 0]


def folding(name: str) -> Cameras:
    matrix = [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]
    return Cameras.from_opencv([matrix], [[0, 0, 0]], [[0, 0, 0]], [FOLDING[name]])


def pinhole_points(seed: int, num_views: int, num_keypoints: int = 200) -> Tensor:
    """Points over an image and a tenth of it beyond, in each view."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, num_views, num_keypoints, 2, generator=generator, dtype=torch.float64)
    return (1.2 * points - 0.1) * torch.tensor(IMAGE_SIZE)


def distort_with_opencv(points: np.ndarray, matrix: np.ndarray, lens: np.ndarray) -> np.ndarray:
    """Distort points of a pinhole, as those at depth 1 in front of it."""
    homogeneous = np.column_stack([points, np.ones(len(points))])
    directions = np.linalg.solve(matrix, homogeneous.T).T
    still = np.zeros(3)
    return cv2.projectPoints(directions, still, still, matrix, lens)[0][:, 0]


@pytest.mark.parametrize("num_coefficients", NUM_COEFFICIENTS)
@pytest.mark.parametrize("seed", range(3))
def test_distortion_is_that_of_opencv(seed: int, num_coefficients: int) -> None:
    rig = random_rig(seed, num_coefficients=num_coefficients)
    points = pinhole_points(seed, rig.num_views)
    distorted = distort_points(points, rig).numpy()
    for view, (matrix, _, coefficients) in enumerate(each_camera(rig)):
        for came, went in zip(points[:, view].numpy(), distorted[:, view], strict=True):
            expected = distort_with_opencv(came, matrix, coefficients)
            np.testing.assert_allclose(went, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_coefficients", NUM_COEFFICIENTS)
@pytest.mark.parametrize("seed", range(3))
def test_undistortion_is_that_of_opencv(seed: int, num_coefficients: int) -> None:
    rig = random_rig(seed, num_coefficients=num_coefficients)
    points = pinhole_points(seed, rig.num_views)
    undistorted = undistort_points(points, rig).numpy()
    for view, (matrix, _, coefficients) in enumerate(each_camera(rig)):
        came, went = points[:, view].reshape(-1, 2).numpy(), undistorted[:, view].reshape(-1, 2)
        expected = undistort_with_opencv(came, matrix, coefficients)
        # Far outside the image some lenses fold over, which OpenCV does not see.
        seen = ~np.isnan(went)
        assert seen.mean() > 0.99
        np.testing.assert_allclose(went[seen], expected[seen], rtol=0, atol=1e-8)


def image_of(name: str) -> Tensor:
    """The whole image of a lens: that of the telephoto is smaller."""
    size = (832 / IMAGE_SIZE[0], 632 / IMAGE_SIZE[1]) if name == "telephoto" else (1.0, 1.0)
    return whole_image() * torch.tensor(size, dtype=torch.float64)


@pytest.mark.parametrize("name", LENSES)
def test_undistorted_and_distorted_again_the_whole_image_is_the_same(name: str) -> None:
    image = image_of(name)
    back = distort_points(undistort_points(image, lens(name)), lens(name))
    torch.testing.assert_close(back, image, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", LENSES)
def test_distorted_and_undistorted_again_the_whole_image_is_the_same(name: str) -> None:
    image = image_of(name)
    back = undistort_points(distort_points(image, lens(name)), lens(name))
    torch.testing.assert_close(back, image, rtol=0, atol=1e-8)


def test_the_lenses_are_strong() -> None:
    for name, least in (("barrel webcam", 150), ("wavy webcam", 50), ("wide angle", 500)):
        moved = undistort_points(image_of(name), lens(name)) - image_of(name)
        assert moved.norm(dim=-1).max() > least


def test_fixed_point_iteration_diverges_where_this_converges() -> None:
    matrix = torch.tensor([[[500.0, 0, 640], [0, 500, 360], [0, 0, 1]]], dtype=torch.float64)
    wavy = lens("wavy webcam")
    assert wavy.distortions is not None
    camera = Cameras(matrix, wavy.extrinsics, wavy.distortions)
    corner = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    back = distort_points(undistort_points(corner, camera), camera)
    torch.testing.assert_close(back, corner, rtol=0, atol=1e-8)
    for num_iters in (100, 101):
        iterated = kornia_undistort_points(corner[0], matrix, wavy.distortions, num_iters=num_iters)
        assert (distort_points(iterated[None], camera) - corner).norm() > 100


def fold_of(camera: Cameras, angle: float) -> tuple[Tensor, Tensor]:
    """The point of a pinhole on which the image of a ray from the axis turns round, and its image.

    That is where the derivative turns singular only if the distortion is radial.
    """
    radii = torch.linspace(0, 1.5, 100_001, dtype=torch.float64)
    direction = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    matrix = camera.intrinsics[0]
    points = radii[:, None] * direction * matrix.diagonal()[:2] + matrix[:2, 2]
    image = distort_points(points[None, None], camera)[0, 0]
    turn = int(((image - matrix[:2, 2]).norm(dim=-1).diff() <= 0).nonzero()[0])
    return points[turn], image[turn]


@pytest.mark.parametrize("name", RADIAL)
@pytest.mark.parametrize("angle", [0.0, 0.7, 4.0])
def test_beyond_the_fold_nothing_is_seen(name: str, angle: float) -> None:
    camera = folding(name)
    centre = camera.intrinsics[0, :2, 2]
    _, fold = fold_of(camera, angle)
    beyond = torch.linspace(0.02, 1000, 2000, dtype=torch.float64)[:, None]
    points = fold + beyond * (fold - centre) / (fold - centre).norm()
    assert undistort_points(points[None, None], camera).isnan().all()


@pytest.mark.parametrize("name", RADIAL)
@pytest.mark.parametrize("angle", [0.0, 0.7, 4.0])
def test_before_the_fold_everything_is_found(name: str, angle: float) -> None:
    camera = folding(name)
    last, _ = fold_of(camera, angle)
    share = torch.linspace(0, 0.999, 1000, dtype=torch.float64)[:, None]
    centre = camera.intrinsics[0, :2, 2]
    points = (centre + share * (last - centre))[None, None]
    back = undistort_points(distort_points(points, camera), camera)
    # On the fold the inverse is infinitely steep.
    torch.testing.assert_close(back[:, :, :990], points[:, :, :990], rtol=0, atol=1e-8)
    torch.testing.assert_close(back, points, rtol=0, atol=0.1)


def winding_number(curve: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How often a closed curve runs round each point."""
    towards = (curve @ [1, 1j])[None] - (points @ [1, 1j])[:, None]
    turns = np.angle(np.roll(towards, -1, axis=1) / towards).sum(axis=1) / (2 * np.pi)
    return turns.round()


def inner_fold(camera: Cameras, farthest: float = 3.0) -> np.ndarray:
    """The image of the curve about the axis on which the derivative first turns singular.

    The derivative is OpenCV's. Where it stays regular the curve runs at the farthest distance.
    """
    (matrix, _, coefficients), *_ = each_camera(camera)
    focal, still = matrix.diagonal()[:2], np.zeros(3)
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radii = np.linspace(1e-3, farthest, 600)
    directions = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1)
    grid = radii[:, None, None] * directions + (0, 0, 1)
    images, derivatives = cv2.projectPoints(grid.reshape(-1, 3), still, still, matrix, coefficients)
    # By the translation along x and y, at depth 1, it is that by the direction.
    jacobian = derivatives[:, 3:5].reshape(len(radii), len(angles), 2, 2) / focal[:, None]
    regular = np.linalg.det(jacobian) > 0
    last = np.cumprod(regular, axis=0).sum(axis=0) - 1
    return images.reshape(len(radii), len(angles), 2)[last, np.arange(len(angles))]


@pytest.mark.parametrize("num_coefficients", [5, 8, 12, 14])
@pytest.mark.parametrize("seed", range(3))
def test_of_strong_lenses_what_has_a_direction_is_found_and_nothing_else(
    seed: int, num_coefficients: int
) -> None:
    camera = strong_lens(seed, num_coefficients)
    points = whole_image(33, 19)
    found = ~undistort_points(points, camera).isnan().any(dim=-1)[0, 0].numpy()
    curve = inner_fold(camera)
    # The regular part inside of the curve is mapped one to one, so that it is run round once.
    exists = winding_number(curve, points[0, 0].numpy()) == 1
    # The curve is known at points only, and beyond the farthest distance there may be more.
    distance = np.linalg.norm(curve - points[0, 0].numpy()[:, None], axis=-1).min(axis=1)
    sure = distance > 8
    assert sure.mean() > 0.8
    assert (found | ~exists)[sure].all()
    farther = np.linalg.norm(
        (undistort_points(points, camera)[0, 0].numpy() - (640, 360)) / 700, axis=-1
    )
    assert (exists | ~found | (farther > 2.9))[sure].all()


@pytest.mark.parametrize("name", RADIAL)
@pytest.mark.parametrize("angle", [0.0, 0.7, 4.0])
def test_what_is_found_at_a_fold_misses_by_no_more_than_is_said(name: str, angle: float) -> None:
    camera = folding(name)
    centre = camera.intrinsics[0, :2, 2]
    _, fold = fold_of(camera, angle)
    beyond = torch.linspace(-0.05, 0.05, 2001, dtype=torch.float64)[:, None]
    points = (fold + beyond * (fold - centre) / (fold - centre).norm())[None, None]
    undistorted = undistort_points(points.requires_grad_(), camera)
    found = ~undistorted.isnan().any(dim=-1)
    missed = (distort_points(undistorted, camera) - points).norm(dim=-1)
    assert found[:, :, :1000].all()
    assert missed[found].max() < TOLERANCE
    torch.where(undistorted.isnan(), 0.0, undistorted).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("name", LENSES)
def test_no_point_is_no_point_and_nobody_else_s_matter(name: str, value: float) -> None:
    camera = lens(name)
    points = image_of(name)[:, :, ::100].clone()
    expected = undistort_points(points, camera)
    points[0, 0, 1] = torch.tensor([value, 300.0])
    points[0, 0, 2, 1] = value
    points.requires_grad_()
    undistorted = undistort_points(points, camera)
    others = [0, *range(3, points.shape[2])]
    same(undistorted[:, :, others], expected[:, :, others])
    if not math.isfinite(value) or name != "wide angle":
        assert undistorted[0, 0, 1:3].isnan().all()
    torch.where(undistorted.isnan(), 0.0, undistorted).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    if not math.isfinite(value):
        assert points.grad[0, 0, 1:3].count_nonzero() == 0


@pytest.mark.parametrize("name", FOLDING)
def test_what_is_beyond_the_fold_has_no_gradient(name: str) -> None:
    camera = folding(name)
    assert camera.distortions is not None
    tensors = [
        torch.full((1, 1, 3, 2), 5e4, dtype=torch.float64),
        camera.intrinsics.clone(),
        camera.distortions.clone(),
    ]
    points, intrinsics, distortions = (tensor.requires_grad_() for tensor in tensors)
    undistorted = undistort_points(points, Cameras(intrinsics, camera.extrinsics, distortions))
    assert undistorted.isnan().all()
    torch.where(undistorted.isnan(), 0.0, undistorted).sum().backward()
    for tensor in (points, intrinsics, distortions):
        assert tensor.grad is None or tensor.grad.count_nonzero() == 0


@pytest.mark.parametrize("num_coefficients", [4, 14])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients(operation: Operation, num_coefficients: int) -> None:
    rig = random_rig(3, 2, num_coefficients, skew=5.0)
    check_gradients(operation, pinhole_points(3, 2, 2), rig)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_skewed_pixels_are_skewed_after_the_distortion(operation: Operation) -> None:
    straight, skewed = random_rig(4), random_rig(4, skew=20.0)
    points = pinhole_points(4, 3)
    shear = skewed.intrinsics @ torch.linalg.inv(straight.intrinsics)

    def sheared(points: Tensor) -> Tensor:
        homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
        return torch.einsum("vij,bvkj->bvki", shear, homogeneous)[..., :2]

    expected = sheared(operation(points, straight))
    torch.testing.assert_close(operation(sheared(points), skewed), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("distortions", [None, torch.zeros(3, 0), torch.zeros(3, 5)])
def test_without_distortion_nothing_moves(operation: Operation, distortions: Tensor | None) -> None:
    rig = random_rig(5)
    points = pinhole_points(5, 3)
    moved = operation(points, Cameras(rig.intrinsics, rig.extrinsics, distortions))
    torch.testing.assert_close(moved, points, rtol=0, atol=1e-9)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_cameras_of_a_batch_are_those_shared(operation: Operation) -> None:
    rig, points = random_rig(6, num_coefficients=14), pinhole_points(6, 3)
    same(operation(points, batched(rig, 2)), operation(points, rig))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_element_of_a_batch_has_its_own_cameras(operation: Operation) -> None:
    first, second = random_rig(6, num_coefficients=14), random_rig(7, num_coefficients=14)
    assert first.distortions is not None
    assert second.distortions is not None
    both = Cameras(
        torch.stack([first.intrinsics, second.intrinsics]),
        torch.stack([first.extrinsics, second.extrinsics]),
        torch.stack([first.distortions, second.distortions]),
    )
    points = pinhole_points(6, 3)
    expected = torch.cat([operation(points[:1], first), operation(points[1:], second)])
    same(operation(points, both), expected)


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
    rig, points = random_rig(8), pinhole_points(8, 3).to(dtype)
    moved = operation(points, rig)
    assert moved.dtype == expected
    torch.testing.assert_close(moved, operation(points.double(), rig).to(expected))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (2, 3, 0, 2)])
def test_no_points_are_no_error(operation: Operation, shape: tuple[int, ...]) -> None:
    points = torch.zeros(shape, requires_grad=True)
    moved = operation(points, random_rig(9))
    assert moved.shape == shape
    moved.sum().backward()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_autocast_changes_nothing(operation: Operation) -> None:
    rig, points = random_rig(10, num_coefficients=14), pinhole_points(10, 3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = operation(points, rig.to(torch.float32))
    same(moved, operation(points, rig.to(torch.float32)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_shape_depends_on_values(operation: Operation) -> None:
    rig = random_rig(11, num_coefficients=14).to("meta")
    moved = operation(pinhole_points(11, 3).to("meta"), rig)
    assert moved.is_meta
    assert moved.shape == (2, 3, 200, 2)


@pytest.mark.compiles
def test_compiled_it_is_the_same() -> None:
    """The inverse takes ten seconds to compile: it is, with the triangulation."""
    points = pinhole_points(12, 3)
    points[0, 0, 0] = torch.nan
    same_compiled(distort_points, points, random_rig(12, num_coefficients=14))
