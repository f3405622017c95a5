from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lploss.errors import ArgumentValueError
from lploss_builtin.ops import heatmaps
from lploss_builtin.ops.gaussians import gaussian_heatmaps, gaussian_squared_error, is_inside

IMAGE, MAP = (96, 200), (24, 40)


def random_points(dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Keypoints of three frames; one is far outside, one misses a coordinate."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(3, 5, 2, generator=generator, dtype=dtype) * torch.tensor([199, 95])
    points[1, 2] = torch.tensor([300.0, 20.0])
    points[2, 4, 1] = math.nan
    return points.to(dtype)


def random_targets(dtype: torch.dtype = torch.float64) -> Tensor:
    """Gaussians near the keypoints; one is not labelled, one is uniform."""
    visibility = torch.full((3, 5), 2)
    visibility[0, 0], visibility[0, 1] = 0, 1
    points = random_points() + torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(1)) * 4
    return gaussian_heatmaps(points, IMAGE, MAP, visibility=visibility).to(dtype)


def test_a_map_is_a_normalised_density() -> None:
    x, y, sigma = 61.0, 33.0, 1.7
    point = torch.tensor([[[x, y]]], dtype=torch.float64)
    rows, columns = np.mgrid[: MAP[0], : MAP[1]]
    centre = [y * MAP[0] / IMAGE[0], x * MAP[1] / IMAGE[1]]
    density = scipy.stats.multivariate_normal(centre, sigma**2).pdf(np.dstack([rows, columns]))
    maps = gaussian_heatmaps(point, IMAGE, MAP, sigma=sigma)
    assert maps.shape == (1, 1, *MAP)
    np.testing.assert_allclose(maps[0, 0], density / density.sum(), rtol=1e-12)


def test_a_map_by_hand() -> None:
    # exp(-1 / (2 sigma^2)) = 1/2, so neighbours have half of what the centre has.
    sigma = 1 / math.sqrt(2 * math.log(2))
    point = torch.tensor([[[2.0, 1.0]]])
    maps = gaussian_heatmaps(point, (6, 6), (3, 3), sigma=sigma)
    row = torch.tensor([1 / 2, 1, 1 / 2]) / 2
    # In the middle of the image in x: in heatmap px at 1; y at 0.5, between two rows.
    column = torch.tensor([0.5**0.25, 0.5**0.25, 0.5**2.25])
    torch.testing.assert_close(maps[0, 0], torch.outer(column / column.sum(), row))


def test_what_each_visibility_stands_for() -> None:
    points = torch.tensor([[[8.0, 8.0], [-9.0, 8.0], [math.nan, 8.0]]]).expand(3, 3, 2)
    visibility = torch.arange(3)[:, None].expand(3, 3)
    maps = gaussian_heatmaps(points, (16, 32), (8, 16), visibility=visibility)
    assert not maps[0].any()
    assert torch.equal(maps[1], torch.full((3, 8, 16), 1 / 128))
    plain = gaussian_heatmaps(points[2:], (16, 32), (8, 16))
    assert torch.equal(maps[2:], plain)
    torch.testing.assert_close(plain.sum(dim=(-2, -1)), torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (-2.0, -2.0, True),
        (-2.1, 0.0, False),
        (0.0, -2.1, False),
        (34.0, 18.0, True),
        (34.1, 0.0, False),
        (0.0, 18.1, False),
        (math.nan, 0.0, False),
        (0.0, math.nan, False),
        (math.inf, 0.0, False),
        (0.0, -math.inf, False),
    ],
)
def test_inside_is_up_to_one_heatmap_pixel_beside_the_map(
    x: float, y: float, expected: bool
) -> None:
    points = torch.tensor([[[x, y]]], requires_grad=True)
    assert is_inside(points, (16, 32), (8, 16)).tolist() == [[expected]]
    maps = gaussian_heatmaps(points, (16, 32), (8, 16))
    assert float(maps.detach().sum()) == pytest.approx(float(expected), rel=1e-6)
    error = gaussian_squared_error(torch.ones(1, 1, 8, 16), points, (16, 32))
    for result in (maps.square().sum(), error.sum()):
        (gradient,) = torch.autograd.grad(result, points)
        assert gradient.isfinite().all()
        assert gradient.any() == expected


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 1e3])
def test_extreme_widths_are_fine(sigma: float) -> None:
    points = torch.tensor([[[3.5, 2.5], [-1.0, 9.0]]], requires_grad=True)
    maps = gaussian_heatmaps(points, (8, 8), (8, 8), sigma=sigma)
    torch.testing.assert_close(maps.sum(dim=(-2, -1)), torch.ones(1, 2))
    (gradient,) = torch.autograd.grad(maps.square().sum(), points)
    assert gradient.isfinite().all()


@given(right=st.integers(0, 10), down=st.integers(0, 10))
@settings(max_examples=20, deadline=None)
def test_moving_the_keypoint_by_whole_pixels_moves_the_map(right: int, down: int) -> None:
    point = torch.tensor([[[20.3, 18.9]]], dtype=torch.float64)
    shift = torch.tensor([right, down])
    first, second = (gaussian_heatmaps(p, (60, 60), (60, 60)) for p in (point, point + shift))
    torch.testing.assert_close(second.roll((-down, -right), (-2, -1)), first)


@given(st.integers(2, 9))
@settings(max_examples=10, deadline=None)
def test_the_size_of_the_image_is_but_a_unit(scale: int) -> None:
    points, targets = random_points(), random_targets()
    size = (IMAGE[0] * scale, IMAGE[1] * scale)
    torch.testing.assert_close(
        gaussian_squared_error(targets, points * scale, size),
        gaussian_squared_error(targets, points, IMAGE),
    )


@pytest.mark.parametrize("sigma", [0.6, 1.25, 4.0])
def test_squared_error_is_that_of_the_maps(sigma: float) -> None:
    points, targets = random_points().requires_grad_(), random_targets().requires_grad_()
    error = gaussian_squared_error(targets, points, IMAGE, sigma=sigma)
    maps = gaussian_heatmaps(points, IMAGE, MAP, sigma=sigma)
    expected = (maps - targets).square().sum(dim=(-2, -1))
    torch.testing.assert_close(error, expected, rtol=0, atol=1e-14)
    weights = torch.rand(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = torch.autograd.grad((weights * error).sum(), (points, targets))
    theirs = torch.autograd.grad((weights * expected).sum(), (points, targets))
    # Nor is the gradient of the missing coordinate NaN in either.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_squared_error_in_float32() -> None:
    points, targets = random_points(torch.float32).requires_grad_(), random_targets(torch.float32)
    error = gaussian_squared_error(targets, points, IMAGE)
    maps = gaussian_heatmaps(points.double(), IMAGE, MAP)
    expected = heatmaps.squared_error(targets.double(), maps)
    assert error.dtype == torch.float32
    torch.testing.assert_close(error.double(), expected, rtol=1e-6, atol=5e-8)
    (ours,), (theirs,) = (torch.autograd.grad(e.sum(), points) for e in (error, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_squared_error_of_a_perfect_prediction_is_never_below_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(50, 20, 2, generator=generator) * 100).requires_grad_()
    targets = gaussian_heatmaps(points.detach(), (100, 100), (25, 25))
    error = gaussian_squared_error(targets, points, (100, 100))
    assert error.min() >= 0
    assert error.max() < 1e-7
    (gradient,) = torch.autograd.grad(error.sum(), points)
    assert gradient.abs().max() < 1e-7


def test_gradients_are_those_of_finite_differences() -> None:
    points = random_points()[:1, :2].requires_grad_()
    targets = random_targets()[:1, 2:4, :4, :5].clone().requires_grad_()
    size = (100, 250)
    assert is_inside(points, size, (4, 5)).all()
    assert torch.autograd.gradcheck(lambda p: gaussian_heatmaps(p, size, (4, 5)), points)
    for with_targets in (False, True):
        targets.requires_grad_(with_targets)
        assert torch.autograd.gradcheck(
            lambda t, p: gaussian_squared_error(t, p, size), (targets, points)
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_target_that_is_not_finite_concerns_its_own_element_alone(value: float) -> None:
    points, targets = random_points().requires_grad_(), random_targets()
    expected = gaussian_squared_error(targets, points, IMAGE)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), points)
    bad = torch.zeros(3, 5, dtype=torch.bool)
    bad[1, 1] = True
    targets[1, 1, 3, 4] = value
    for with_targets in (False, True):
        targets.requires_grad_(with_targets)
        error = gaussian_squared_error(targets, points, IMAGE)
        assert not error[bad].isfinite().any()
        torch.testing.assert_close(error[~bad], expected[~bad])
        gradients = torch.autograd.grad(error.sum(), [points, targets][: 1 + with_targets])
        assert not gradients[0][bad].any()
        torch.testing.assert_close(gradients[0][~bad], expected_gradient[~bad])
        assert gradients[-1].isfinite().all()


def test_half_precision_is_raised_also_under_autocast() -> None:
    points = random_points(torch.bfloat16).requires_grad_()
    targets = random_targets(torch.bfloat16)
    expected = gaussian_squared_error(targets.float(), points.float(), IMAGE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert gaussian_heatmaps(points, IMAGE, MAP).dtype == torch.float32
        error = gaussian_squared_error(targets, points, IMAGE)
        assert error.dtype == torch.float32
        torch.testing.assert_close(error, expected)
        error.sum().backward()
    (gradient,) = torch.autograd.grad(expected.sum(), points)
    torch.testing.assert_close(points.grad, gradient)


def test_precisions_can_be_mixed() -> None:
    points, targets = random_points(), random_targets()
    expected = gaussian_squared_error(targets, points, IMAGE)
    for mixed in ((targets.float(), points), (targets, points.float())):
        error = gaussian_squared_error(*mixed, IMAGE)
        torch.testing.assert_close(error, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_empty_batch_is_fine(shape: tuple[int, int]) -> None:
    points = torch.zeros(*shape, 2, requires_grad=True)
    maps = gaussian_heatmaps(points, IMAGE, MAP, visibility=torch.zeros(shape))
    error = gaussian_squared_error(maps, points, IMAGE)
    assert maps.shape == (*shape, *MAP)
    assert error.shape == is_inside(points, IMAGE, MAP).shape == shape
    error.sum().backward()


def test_torch_func_can_differentiate_it() -> None:
    points, targets = random_points(), random_targets()
    gradient = torch.func.grad(lambda p: gaussian_squared_error(targets, p, IMAGE).sum())(points)
    points.requires_grad_()
    error = gaussian_squared_error(targets, points, IMAGE)
    torch.testing.assert_close(gradient, torch.autograd.grad(error.sum(), points)[0])


def test_nothing_large_is_kept_for_the_gradient() -> None:
    points, targets = random_points().requires_grad_(), random_targets()
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        gaussian_squared_error(targets, points, IMAGE)
    assert max(sizes) <= points.numel()


def test_without_a_gradient_the_value_is_the_same() -> None:
    points, targets = random_points(), random_targets()
    expected = gaussian_squared_error(targets, points.clone().requires_grad_(), IMAGE)
    assert torch.equal(gaussian_squared_error(targets, points, IMAGE), expected)
    with torch.inference_mode():
        assert torch.equal(gaussian_squared_error(targets, points, IMAGE), expected)


def test_nothing_asks_the_device_for_a_value() -> None:
    # Tensors of the device "meta" have shapes and no values.
    points = torch.zeros(3, 5, 2, device="meta", requires_grad=True)
    visibility = torch.zeros(3, 5, dtype=torch.long, device="meta")
    maps = gaussian_heatmaps(points, IMAGE, MAP, visibility=visibility)
    gaussian_squared_error(maps.detach(), points, IMAGE).sum().backward()
    assert points.grad is not None


@pytest.mark.compiles
def test_compiled_in_one_graph_it_computes_the_same() -> None:
    torch._dynamo.reset()

    def compute(points: Tensor, targets: Tensor) -> Tensor:
        error = gaussian_squared_error(targets, points, IMAGE)
        maps = gaussian_heatmaps(points, IMAGE, MAP)
        inside = is_inside(points, IMAGE, MAP)
        return torch.where(inside, error + maps.square().sum(dim=(-2, -1)), 0.0)

    compiled = torch.compile(compute, fullgraph=True, backend="aot_eager")
    points, targets = random_points().requires_grad_(), random_targets()
    expected, result = compute(points, targets), compiled(points, targets)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(
        torch.autograd.grad(result.sum(), points), torch.autograd.grad(expected.sum(), points)
    )


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_the_peer_makes_the_same_maps() -> None:
    from lightning_pose.data.heatmaps import generate_heatmaps

    points = random_points(torch.float32)
    points[2, 4] = math.nan  # the peer looks at x alone
    visibility = torch.tensor([[0, 1, 2, 2, 2], [2, 0, 2, 1, 1], [2, 2, 1, 0, 2]])
    for given_visibility in (None, visibility):
        expected = generate_heatmaps(points, *IMAGE, MAP, visibility=given_visibility)
        maps = gaussian_heatmaps(points, IMAGE, MAP, visibility=given_visibility)
        torch.testing.assert_close(maps, expected)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_the_peer_computes_the_same_loss_up_to_its_scale() -> None:
    from lightning_pose.losses.losses import ReprojectionHeatmapLoss

    points, targets = random_points(torch.float32), random_targets(torch.float32)
    points[2, 4] = 50.0
    points.requires_grad_()
    loss, _ = ReprojectionHeatmapLoss(*IMAGE, *MAP)(targets, points)
    error = gaussian_squared_error(targets, points, IMAGE)
    # The peer takes the mean over pixels, times the number of keypoints and the height.
    ours = error[heatmaps.is_labelled(targets)].mean() * 5 / MAP[1]
    torch.testing.assert_close(loss, ours)
    ours_gradient, theirs = (torch.autograd.grad(value, points)[0] for value in (ours, loss))
    torch.testing.assert_close(ours_gradient, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_width_that_is_none_is_refused(sigma: float) -> None:
    points = torch.zeros(1, 1, 2)
    with pytest.raises(ArgumentValueError, match="sigma must be above 0"):
        gaussian_heatmaps(points, (8, 8), (4, 4), sigma=sigma)
    with pytest.raises(ArgumentValueError, match="sigma must be above 0"):
        gaussian_squared_error(torch.zeros(1, 1, 4, 4), points, (8, 8), sigma=sigma)
