from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.filters import filter2d
from torch import Tensor

from lploss.errors import ArgumentValueError, LplossError, ShapeError
from lploss_builtin.ops import soft_argmax as module
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from lploss_builtin.ops.soft_argmax import _soft_argmax, _soft_argmax_backward, soft_argmax

# Neither square nor of one size; the last ones are shorter than a window along a side or two.
SIZES = [(24, 40), (33, 18), (9, 50), (7, 5)]


def dense(
    maps: Tensor, factor: int = 2, temperature: float = 1000.0, radius: int = 2
) -> tuple[Tensor, Tensor]:
    """The documented definition, in float64, with every upsampled pixel."""
    binomial = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16
    upsampled = maps.double()
    for _ in range(factor):
        upsampled = torch.nn.functional.interpolate(
            upsampled, scale_factor=2, mode="bicubic", align_corners=False
        )
        kernel = torch.outer(binomial, binomial)[None]
        upsampled = filter2d(upsampled, kernel, border_type="constant")
    softmax = (temperature * upsampled).flatten(2).softmax(dim=-1).view_as(upsampled)
    y, x = (torch.arange(size, dtype=torch.float64) for size in upsampled.shape[-2:])
    points = torch.stack([softmax.sum(dim=-2) @ x, softmax.sum(dim=-1) @ y], dim=-1)
    pixels = points.detach().floor()
    near_x = (x - pixels[..., :1]).abs() <= radius
    near_y = (y - pixels[..., 1:]).abs() <= radius
    square = near_y[..., :, None] & near_x[..., None, :]
    return points - (2**factor - 1) / 2, (softmax * square).sum(dim=(-2, -1))


def kinds_of_maps(height: int, width: int) -> Tensor:
    """Two frames of maps that are sharp, wide, with two peaks, flat, or hold no probabilities."""
    generator = torch.Generator().manual_seed(height)
    size = (height, width)

    def gaussians(sigma: float) -> Tensor:
        points = torch.rand(2, 4, 2, generator=generator, dtype=torch.float64)
        points = points * torch.tensor([width - 1, height - 1])
        return gaussian_heatmaps(points, size, size, sigma=sigma)

    noise = torch.randn(2, 4, height, width, generator=generator, dtype=torch.float64)
    sharp, wide = gaussians(1.25), gaussians(3.0)
    flat = (0.01 * noise).flatten(2).softmax(dim=-1).view_as(noise)
    both = (gaussians(1.25) + gaussians(1.25)) / 2
    return torch.cat([sharp, wide, both, 0.9 * sharp + 0.1 * flat, flat, 0.01 * noise], dim=1)


def differentiated(result: tuple[Tensor, Tensor], maps: Tensor) -> Tensor:
    """The gradient of some weighted sum of both results."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(r.shape, generator=generator, dtype=torch.float64) for r in result]
    total = sum((w * r).sum() for w, r in zip(weights, result, strict=True))
    return torch.autograd.grad(total, maps)[0]


def windowed(maps: Tensor, factor: int = 2, temperature: float = 1000.0) -> Tensor:
    """Which maps a window suffices for."""
    *_, starts = _soft_argmax(maps.flatten(0, 1), factor, temperature, 2)
    return (starts >= 0).all(dim=1).view(maps.shape[:2])


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_ON_CPU", 2**17)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [0, 1, 2, 3])
@pytest.mark.usefixtures("small_chunks")
def test_values_and_gradients_are_those_of_the_definition(
    size: tuple[int, int], factor: int
) -> None:
    maps = kinds_of_maps(*size).requires_grad_()
    expected = dense(maps, factor)
    result = soft_argmax(maps, factor)
    torch.testing.assert_close(result.keypoints, expected[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(result.confidences, expected[1], rtol=0, atol=1e-11)
    gradient = differentiated(expected, maps)
    largest = float(gradient.abs().max())
    torch.testing.assert_close(differentiated(result, maps), gradient, rtol=0, atol=1e-10 * largest)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_float32_is_as_exact_as_its_coordinates(factor: int) -> None:
    maps = kinds_of_maps(32, 48).float().requires_grad_()
    expected = dense(maps, factor)
    result = soft_argmax(maps, factor)
    assert result.keypoints.dtype == result.confidences.dtype == torch.float32
    sharp, wide, both, noisy, flat, noise = (result.keypoints - expected[0]).abs().split(4, dim=1)
    for error in (sharp, wide, noisy, flat):
        assert error.max() < 5e-5
    # Logits that are rounded to 1e-5 are times the distance of the peaks, some hundred px.
    for error in (both, noise):
        assert error.max() < 5e-4
    torch.testing.assert_close(result.confidences.double(), expected[1], rtol=0, atol=1e-5)
    gradient = differentiated(expected, maps)
    error = (differentiated(result, maps) - gradient).abs() / gradient.abs().max()
    assert error[:, :4].max() < 1e-5
    assert error.max() < 1e-4


def test_a_window_suffices_for_sharp_maps_and_not_for_others() -> None:
    sharp, wide, both, noisy, flat, noise = kinds_of_maps(40, 24).split(4, dim=1)
    assert windowed(sharp).all()
    assert windowed(noisy).all()
    for maps in (wide, flat, noise):
        assert not windowed(maps).any()
    assert not windowed(both).all()


def test_peaks_that_a_window_cannot_hold_count() -> None:
    points = torch.tensor([[[60.0, 40.0]], [[180.0, 200.0]]])
    first, second = gaussian_heatmaps(points, (256, 256), (64, 64))[:, :, None].unbind()
    # The second peak is lower by so much that its mass is 1e-2, 1e-4, ... of the first's.
    for lower in torch.arange(0.0, 0.025, 0.005):
        maps = first + (1 - lower / second.max()) * second
        expected, _ = dense(maps)
        torch.testing.assert_close(soft_argmax(maps)[0].double(), expected, rtol=0, atol=1e-3)
    assert (expected[0, 0] - soft_argmax(first)[0]).abs().min() < 0.1


@given(
    sigmas=st.lists(st.floats(0.5, 2.5), min_size=2, max_size=2),
    heights=st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=2),
    places=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
    background=st.floats(-0.02, 0.02),
    temperature=st.sampled_from([-1000.0, 0.0, 1.0, 300.0, 1000.0, 3000.0]),
    factor=st.integers(0, 2),
)
@settings(max_examples=40, deadline=None)
def test_whatever_the_maps_the_window_changes_nothing(
    sigmas: list[float],
    heights: list[float],
    places: list[float],
    background: float,
    temperature: float,
    factor: int,
) -> None:
    size = (20, 37)
    points = torch.tensor(places, dtype=torch.float64).view(2, 1, 1, 2) * torch.tensor([36, 19])
    maps = torch.full((1, 1, *size), background, dtype=torch.float64)
    for point, sigma, height in zip(points, sigmas, heights, strict=True):
        maps = maps + height * gaussian_heatmaps(point, size, size, sigma=sigma)
    maps.requires_grad_()
    expected = dense(maps, factor, temperature)
    result = soft_argmax(maps, factor, temperature=temperature)
    torch.testing.assert_close(result.keypoints, expected[0], rtol=0, atol=1e-8)
    # On the border between two pixels, rounding decides where the square for the confidence is.
    fraction = (expected[0] + (2**factor - 1) / 2).remainder(1.0)
    if not ((fraction < 1e-8) | (fraction > 1 - 1e-8)).any():
        torch.testing.assert_close(result.confidences, expected[1], rtol=0, atol=1e-9)
        gradient = differentiated(expected, maps)
        torch.testing.assert_close(
            differentiated(result, maps), gradient, rtol=0, atol=1e-8 + 1e-8 * float(gradient.max())
        )


@pytest.mark.parametrize(("factor", "error"), [(1, 0.22), (2, 0.01), (3, 0.01)])
@pytest.mark.parametrize("size", [(64, 64), (24, 40), (48, 32)])
def test_it_finds_the_centre_of_a_gaussian(
    factor: int, error: float, size: tuple[int, int]
) -> None:
    scale = 2**factor
    image = (size[0] * scale, size[1] * scale)
    edge = 4.0 * scale
    generator = torch.Generator().manual_seed(factor)
    span = torch.tensor([image[1] - 1, image[0] - 1]) - 2 * edge
    points = edge + torch.rand(10, 20, 2, generator=generator) * span
    found, confidences = soft_argmax(gaussian_heatmaps(points, image, size), factor)
    difference = found - points
    assert difference.abs().max() < error
    # An offset that is wrong by a part of a px would show in the mean.
    assert difference.mean(dim=(0, 1)).abs().max() < 0.1 * error + 1e-3
    assert confidences.min() > 0.75


def test_the_offset_of_lightning_pose_is_off_by_a_pixel_at_a_factor_of_three() -> None:
    points = torch.tensor([[[100.0, 70.0]]])
    maps = gaussian_heatmaps(points, (256, 320), (32, 40))
    found, _ = soft_argmax(maps, 3, grid_offset=2.5)
    torch.testing.assert_close(found, points + 1.0, rtol=0, atol=0.01)
    found, _ = soft_argmax(maps, 3)
    torch.testing.assert_close(found, points, rtol=0, atol=0.01)


@given(right=st.integers(0, 19), down=st.integers(0, 7), factor=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_moving_the_peak_by_whole_pixels_moves_the_prediction(
    right: int, down: int, factor: int
) -> None:
    maps = torch.zeros(1, 2, 24, 40, dtype=torch.float64)
    peak = gaussian_heatmaps(torch.tensor([[[4.3, 5.9]]]), (12, 10), (12, 10)).double()
    maps[:, :1, 2:14, 4:14] = peak
    maps[:, 1:, 2 + down : 14 + down, 4 + right : 14 + right] = peak
    (first, second), (sure, still_sure) = (r[0] for r in soft_argmax(maps, factor))
    shift = torch.tensor([right, down], dtype=torch.float64) * 2**factor
    torch.testing.assert_close(second - first, shift, rtol=0, atol=1e-8)
    torch.testing.assert_close(still_sure, sure, rtol=0, atol=1e-8)


@given(st.integers(0, 3), st.floats(0.1, 1000.0), st.floats(0.2, 5.0))
@settings(max_examples=20, deadline=None)
def test_temperature_scales_the_maps(factor: int, temperature: float, scale: float) -> None:
    maps = kinds_of_maps(18, 11)[:1]
    result = soft_argmax(maps, factor, temperature=temperature * scale)
    expected = soft_argmax(maps * scale, factor, temperature=temperature)
    torch.testing.assert_close(result.keypoints, expected.keypoints, rtol=0, atol=1e-7)


def test_a_confidence_never_exceeds_one() -> None:
    """Shares of a sharp map add up to more than the whole, in float32."""
    points = torch.rand(4000, 1, 2, generator=torch.Generator().manual_seed(0)) * 40 + 12
    maps = gaussian_heatmaps(points, (64, 64), (32, 32)).requires_grad_()
    confidences = soft_argmax(maps, 1).confidences
    assert confidences.max() == 1.0
    confidences.sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize(("radius", "num_pixels"), [(0, 1), (1, 9), (2, 25), (100, 30 * 20)])
def test_the_confidence_of_a_uniform_map_is_the_share_of_the_square(
    radius: int, num_pixels: int
) -> None:
    maps = torch.full((1, 1, 20, 30), 1 / 600)
    keypoints, confidences = soft_argmax(maps, 0, confidence_radius=radius)
    torch.testing.assert_close(keypoints, torch.tensor([[[14.5, 9.5]]]))
    torch.testing.assert_close(confidences, torch.tensor([[num_pixels / 600]]))


def test_a_single_pixel_without_upsampling_by_hand() -> None:
    maps = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    maps[0, 0, 0, 3] = 1.0
    keypoints, confidences = soft_argmax(maps, 0, temperature=2.0, confidence_radius=1)
    high, total = math.exp(2.0), math.exp(2.0) + 11
    x, y = (3 * high + 3 * (0 + 1 + 2) + 3 * 2) / total, (4 + 2 * 4) / total
    expected = torch.tensor([[[x, y]]], dtype=torch.float64)
    torch.testing.assert_close(keypoints, expected)
    # The prediction falls on the pixel (2, 0): columns 1 to 3 of the upper two rows.
    assert (int(x), int(y)) == (2, 0)
    torch.testing.assert_close(float(confidences), (high + 5) / total)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [(24, 40), (7, 5)])
def test_what_is_not_finite_concerns_its_own_map_alone(value: float, size: tuple[int, int]) -> None:
    whole = kinds_of_maps(*size).float().requires_grad_()
    broken = whole.detach().clone()
    bad = torch.zeros(broken.shape[:2], dtype=torch.bool)
    bad[0, 0] = bad[1, 17] = True
    broken[0, 0, 3, 2] = broken[1, 17, 0, 0] = value
    broken.requires_grad_()
    expected, result = soft_argmax(whole), soft_argmax(broken)
    for ours, theirs in zip(result, expected, strict=True):
        assert ours[bad].isnan().all()
        torch.testing.assert_close(ours[~bad], theirs[~bad])
    gradient = differentiated((result.keypoints, result.confidences), broken)
    assert gradient[bad].abs().max() == 0
    torch.testing.assert_close(gradient[~bad], differentiated(expected, whole)[~bad])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_also_under_autocast(dtype: torch.dtype) -> None:
    maps = kinds_of_maps(24, 40).to(dtype).requires_grad_()
    expected = dense(maps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = soft_argmax(maps)
        assert result.keypoints.dtype == torch.float32
        torch.testing.assert_close(result.keypoints.double(), expected[0], rtol=0, atol=1e-4)
        gradient = differentiated(result, maps)
    assert gradient.dtype == dtype
    reference = differentiated(expected, maps).double()
    error = (gradient.double() - reference).abs().max() / reference.abs().max()
    assert error < 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("shape", [(0, 3, 24, 40), (3, 0, 7, 5)])
def test_an_empty_batch_is_fine(shape: tuple[int, ...]) -> None:
    maps = torch.zeros(shape, requires_grad=True)
    keypoints, confidences = soft_argmax(maps)
    assert keypoints.shape == (*shape[:2], 2)
    assert confidences.shape == shape[:2]
    (keypoints.sum() + confidences.sum()).backward()
    assert maps.grad is not None
    assert maps.grad.shape == shape


def test_strides_do_not_matter() -> None:
    maps = kinds_of_maps(24, 24).permute(1, 0, 3, 2)
    torch.testing.assert_close(soft_argmax(maps), soft_argmax(maps.contiguous()))
    spread = maps[:, :, ::2].requires_grad_()
    result = soft_argmax(spread)
    torch.testing.assert_close(
        differentiated(result, spread), differentiated(dense(spread), spread)
    )


def test_each_result_can_be_differentiated_alone() -> None:
    maps = kinds_of_maps(24, 40).requires_grad_()
    for number in range(2):
        gradient = torch.autograd.grad(dense(maps)[number].sum(), maps)[0]
        (result,) = torch.autograd.grad(soft_argmax(maps)[number].sum(), maps)
        torch.testing.assert_close(result, gradient, rtol=0, atol=1e-10 * float(gradient.max()))


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_gradients_are_those_of_finite_differences(factor: int) -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(2, 1, 5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m: tuple(soft_argmax(m, factor, temperature=3.0, confidence_radius=1)), maps
    )


def test_torch_func_can_differentiate_it() -> None:
    maps = kinds_of_maps(24, 40)
    gradient = torch.func.grad(lambda m: soft_argmax(m).keypoints.sum())(maps)
    maps.requires_grad_()
    (expected,) = torch.autograd.grad(soft_argmax(maps).keypoints.sum(), maps)
    torch.testing.assert_close(gradient, expected)


def test_nothing_larger_than_the_maps_is_kept_for_the_gradient() -> None:
    maps = kinds_of_maps(24, 40).requires_grad_()
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (sizes.append(tensor.numel()), tensor)[1], lambda tensor: tensor
    ):
        soft_argmax(maps)
    assert sum(sizes) < 1.1 * maps.numel()


def test_it_can_be_asked_first_without_gradients() -> None:
    module._windows.cache_clear()
    module._upsampling.cache_clear()
    maps = kinds_of_maps(26, 21)
    with torch.inference_mode():
        first = soft_argmax(maps)
    second = soft_argmax(maps.requires_grad_())
    torch.testing.assert_close(tuple(map(torch.clone, first)), tuple(second))
    differentiated(second, maps)


def test_results_can_be_copied() -> None:
    result = soft_argmax(kinds_of_maps(7, 5))
    assert isinstance(copy.deepcopy(result), type(result))


def test_nothing_asks_the_device_for_a_value() -> None:
    # Tensors of the device "meta" have shapes and no values.
    maps = torch.zeros(2, 3, 24, 40, device="meta", requires_grad=True)
    keypoints, confidences = soft_argmax(maps)
    assert keypoints.shape == (2, 3, 2)
    (keypoints.sum() + confidences.sum()).backward()
    assert maps.grad is not None
    assert maps.grad.device.type == "meta"


@pytest.mark.compiles
def test_compiled_in_one_graph_it_computes_the_same() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda m: soft_argmax(2 * m), fullgraph=True, backend="aot_eager")
    maps = kinds_of_maps(24, 40).requires_grad_()
    expected, result = soft_argmax(2 * maps), compiled(maps)
    torch.testing.assert_close(tuple(result), tuple(expected))
    torch.testing.assert_close(differentiated(result, maps), differentiated(expected, maps))


@pytest.mark.compiles
def test_the_operations_keep_the_rules_of_torch() -> None:
    maps = kinds_of_maps(7, 5).flatten(0, 1)
    settings = 1, 100.0, 2
    torch.library.opcheck(_soft_argmax, (maps, *settings))
    results = list(_soft_argmax(maps, *settings))
    slopes = [torch.ones(len(maps), 2, dtype=maps.dtype), torch.ones(len(maps), dtype=maps.dtype)]
    torch.library.opcheck(_soft_argmax_backward, (slopes, maps, results, *settings))


@pytest.mark.gpu
def test_on_a_gpu_it_computes_the_same_without_waiting() -> None:
    maps = kinds_of_maps(24, 40)
    here = maps.clone().requires_grad_()
    there = maps.cuda().requires_grad_()
    expected = soft_argmax(here)
    soft_argmax(there)  # the matrices are copied once
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = soft_argmax(there)
        gradient = torch.autograd.grad(result.keypoints.sum(), there)[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.keypoints.cpu(), expected.keypoints)
    torch.testing.assert_close(result.confidences.cpu(), expected.confidences)
    expected_gradient = torch.autograd.grad(expected.keypoints.sum(), here)[0]
    torch.testing.assert_close(gradient.cpu(), expected_gradient)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("factor", "grid_offset"), [(1, None), (2, None), (3, 2.5)])
def test_the_peer_computes_the_same(factor: int, grid_offset: float | None) -> None:
    from lightning_pose.models.heads.heatmap import run_subpixelmaxima

    maps = kinds_of_maps(24, 40).requires_grad_()
    points, confidences = run_subpixelmaxima(maps, factor, torch.tensor(1000.0))
    result = soft_argmax(maps, factor, grid_offset=grid_offset)
    torch.testing.assert_close(result.keypoints, points.view(2, -1, 2), rtol=0, atol=1e-9)
    # The peer rounds its confidences, and so their gradients, to float32.
    torch.testing.assert_close(result.confidences.float(), confidences, rtol=0, atol=1e-6)
    expected = differentiated((points.view(2, -1, 2), confidences), maps)
    error = (differentiated(result, maps) - expected).abs().max() / expected.abs().max()
    assert error < 1e-6

    # In float32 the peer's coordinates of other kinds of maps are off by up to 0.01 px.
    sharp_and_flat = [*range(4), *range(12, 20)]
    maps = maps.detach().float()[:, sharp_and_flat]
    points, confidences = run_subpixelmaxima(maps, factor, torch.tensor(1000.0))
    result = soft_argmax(maps, factor, grid_offset=grid_offset)
    torch.testing.assert_close(result.keypoints, points.view(2, -1, 2), rtol=0, atol=1e-4)
    torch.testing.assert_close(result.confidences, confidences, rtol=0, atol=1e-5)


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("maps", "params", "error"),
    [
        (torch.zeros(1, 1, 4, 4), {"downsample_factor": -1}, ArgumentValueError),
        (torch.zeros(1, 1, 4, 4), {"downsample_factor": 2.0}, ArgumentValueError),
        (torch.zeros(1, 1, 4, 4), {"confidence_radius": -1}, ArgumentValueError),
        (torch.zeros(1, 4, 4), {}, ShapeError),
        (torch.zeros(1, 1, 4, 4).long(), {}, ShapeError),
    ],
)
def test_what_cannot_be_used_is_refused(
    maps: Tensor, params: dict[str, float], error: type[LplossError]
) -> None:
    with pytest.raises(error, match=r"must (be an integer|hold floating-point).*got"):
        soft_argmax(maps, **params)
