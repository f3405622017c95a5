"""Keypoints from heatmaps: the expectation over the softmax of an upsampled map.

Upsampling is linear and acts on rows and columns alike: the upsampled map is a product of the map
with two matrices, ``U = A_y X A_x^T``, and any part of it a product of parts of the three. It has
sixteen times the pixels of the map at the usual factor, and is never stored: chunks of maps that
fit into the cache are upsampled, used and dropped, and upsampled again for the gradient.

A map with one sharp peak is decided by a few pixels around it. So a window about the largest pixel
is upsampled first. A bound on all that lies outside says whether it can be told from zero; where
it might, the whole map is upsampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lploss.errors import ArgumentValueError, ShapeError
from lploss_builtin.ops.precision import at_least_float32, without_autocast

# Side of the windows, heatmap px. At the usual temperature they suffice for Gaussians with a
# standard deviation of up to 1.8 px; in wider ones, all the pixels far away count.
_WINDOW = 16

# Bytes of upsampled maps in a chunk: few enough for the caches of a CPU, but some, as each chunk
# takes two dozen operations; and enough to keep other devices busy.
_CHUNK_ON_CPU = 2**22
_CHUNK_ELSEWHERE = 2**26


class SoftArgmax(NamedTuple):
    """What `soft_argmax` returns.

    Attributes:
        keypoints: x and y, px in the model's input image.
        confidences: 0 to 1.
    """

    keypoints: Float[Tensor, "batch num_keypoints 2"]
    confidences: Float[Tensor, "batch num_keypoints"]


def soft_argmax(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    downsample_factor: int = 2,
    *,
    temperature: float = 1000.0,
    grid_offset: float | None = None,
    confidence_radius: int = 2,
) -> SoftArgmax:
    r"""Return where the peak of each map lies, and how much of the map lies there.

    .. math:: (x, y) = \sum_{hw} p_{hw} (w, h) - o, \quad p = \mathrm{softmax}(T U)

    The upsampled map ``U`` results from doubling the sides ``downsample_factor`` times: bicubic
    interpolation (``align_corners=False``), then the Gaussian ``(1 4 6 4 1) / 16`` of image
    pyramids along both sides, with zeros about the map. The confidence is the mass of ``p`` in a
    square about the prediction. Both can be differentiated once; for the gradient, the square
    stays where it is.

    From a Gaussian with a standard deviation of 1.25 heatmap px, the default temperature gets its
    centre back to 0.01 px at factors of 2 and 3, and to 0.22 px at a factor of 1, where the
    softmax is too sharp to see much beside the largest pixel. Less than 3 heatmap px from an edge
    of the map the zeros about it push the prediction inwards: at the edge by one heatmap px.

    A map that is not finite has a keypoint and a confidence of NaN, and a gradient of zero.

    Args:
        heatmaps: the maps; any values, though the default temperature is made for probabilities.
        downsample_factor: the model's input image is ``2**downsample_factor`` times as large as
            the maps.
        temperature: T; larger is sharper.
        grid_offset: o, px: taken off the coordinates in ``U`` to get those in the image. The
            default is what the geometry of the interpolation says,
            ``(2**downsample_factor - 1) / 2``; Lightning Pose takes off 2.5 px, not 3.5, for a
            factor of 3.
        confidence_radius: the square reaches so many px of ``U`` to each side of the pixel that
            the prediction falls on; at least 0.

    Returns:
        Keypoints and confidences, at least float32.

    Raises:
        ArgumentValueError: an argument's value cannot be used.
        ShapeError: the maps have other axes, or hold no floating-point numbers.

    Source: Biderman et al., Lightning Pose, Nature Methods 2024; the expectation is that of
        Nibali et al., Numerical Coordinate Regression with Convolutional Neural Networks, 2018.

    Example:
        >>> from lploss_builtin.ops.gaussians import gaussian_heatmaps
        >>> maps = gaussian_heatmaps(torch.tensor([[[100.5, 40.0]]]), (128, 256), (32, 64))
        >>> keypoints, confidences = soft_argmax(maps)
        >>> keypoints.round(decimals=1), confidences.round(decimals=2)
        (tensor([[[100.5000,  40.0000]]]), tensor([[1.]]))
    """
    for what, number in {
        "downsample_factor": downsample_factor,
        "confidence_radius": confidence_radius,
    }.items():
        if not isinstance(number, int) or number < 0:
            raise ArgumentValueError(f"{what} must be an integer of at least 0, got {number!r}")
    if not heatmaps.dtype.is_floating_point or heatmaps.ndim != 4:
        raise ShapeError(
            "heatmaps must hold floating-point numbers with axes (batch, num_keypoints, "
            f"heatmap_height, heatmap_width), got {heatmaps.dtype}, shape {tuple(heatmaps.shape)}"
        )
    if grid_offset is None:
        grid_offset = (2**downsample_factor - 1) / 2
    maps = at_least_float32(heatmaps).flatten(0, 1)
    fractions, confidences, pixels, _ = _SoftArgmax.apply(
        maps, downsample_factor, float(temperature), confidence_radius
    )
    axes = heatmaps.shape[:2]
    points = (pixels + fractions - grid_offset).view(*axes, 2)
    return SoftArgmax(points, confidences.view(axes))


class _Windows(NamedTuple):
    """Windows on one side of a map.

    Attributes:
        matrices: upsample the pixels of a window, and those about it that it needs.
        pixels: where these are on the side.
        upsampled: where the upsampled pixels of the window are on the upsampled side.
        covered: which pixels of the side have no effect outside the window.
    """

    matrices: Float[Tensor, "window upsampled pixels"]
    pixels: Int[Tensor, "window pixels"]
    upsampled: Float[Tensor, "window upsampled"]
    covered: Bool[Tensor, "window size"]


# Operations of their own, for in an autograd.Function alone a compiler would unroll the loops.
@torch.library.custom_op(
    "lploss::soft_argmax",
    mutates_args=(),
    schema="(Tensor maps, int factor, float temperature, int radius)"
    " -> (Tensor fractions, Tensor confidences, Tensor pixels, Tensor starts)",
)
def _soft_argmax(
    maps: Tensor, factor: int, temperature: float, radius: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the expectation of each upsampled map, and what its gradient needs.

    Returns:
        How far the expectation lies beyond the pixel that it falls on, x and y; the confidence;
        that pixel, on its own as the sum of both would be rounded; and where the window starts,
        y and x, or -1 for a map that is taken whole.
    """
    fractions, confidences, pixels, starts = _empty_results(maps, factor, temperature, radius)
    starts.fill_(-1)
    with without_autocast(maps.device):
        # Elsewhere the host would have to wait to learn which windows suffice.
        if maps.device.type == "cpu" and max(maps.shape[1:]) > _WINDOW:
            largest = _largest(maps)
            starts = torch.stack([_start_about_peak(side) for side in largest], dim=1)
            highest = torch.empty_like(confidences)
            for chunk, y, x in _chunks(torch.arange(len(maps)), maps, factor, starts):
                logits = _upsample(maps.index_select(0, chunk), y, x, temperature)
                highest[chunk] = logits.amax(dim=(1, 2))
                result = _expectation(logits, y, x, radius)
                fractions[chunk], confidences[chunk], pixels[chunk] = result
            suffices = _suffices(largest, starts, highest, factor, temperature)
            starts = torch.where(suffices[:, None], starts, -1)
        for chunk, y, x in _chunks(_taken_whole(starts), maps, factor):
            logits = _upsample(maps.index_select(0, chunk), y, x, temperature)
            result = _expectation(logits, y, x, radius)
            fractions[chunk], confidences[chunk], pixels[chunk] = result
    # A sum of shares may exceed the whole by its rounding.
    return fractions, confidences.clamp_(max=1.0), pixels, starts


@_soft_argmax.register_fake
def _empty_results(
    maps: Tensor, factor: int, temperature: float, radius: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_maps = maps.shape[0]
    return (
        maps.new_empty(num_maps, 2),
        maps.new_empty(num_maps),
        maps.new_empty(num_maps, 2, dtype=torch.long),
        maps.new_empty(num_maps, 2, dtype=torch.long),
    )


@torch.library.custom_op(
    "lploss::soft_argmax_backward",
    mutates_args=(),
    schema="(Tensor[] gradients, Tensor maps, Tensor[] results, int factor, float temperature,"
    " int radius) -> Tensor",
)
def _soft_argmax_backward(
    gradients: Sequence[Tensor],
    maps: Tensor,
    results: Sequence[Tensor],
    factor: int,
    temperature: float,
    radius: int,
) -> Tensor:
    """Return the gradient of the maps, from those of fractions and confidences and all results."""
    grad_fractions, grad_confidences = gradients
    fractions, confidences, pixels, starts = results
    grad = torch.empty_like(maps, memory_format=torch.contiguous_format)
    slopes = torch.cat([grad_fractions, grad_confidences[:, None]], dim=1)
    finite = fractions.isfinite().all(dim=1)
    parts = [(_taken_whole(starts), None), (_windowed(starts), starts)]
    with without_autocast(maps.device):
        for which, of_windows in parts:
            for chunk, y, x in _chunks(which, maps, factor, of_windows):
                logits = _upsample(maps.index_select(0, chunk), y, x, temperature)
                result = fractions[chunk], confidences[chunk], pixels[chunk]
                to_logits = _softmax(logits).mul_(_slope(slopes[chunk], *result, y, x, radius))
                to_part = y.matrices.mT @ (to_logits @ x.matrices) * temperature
                to_part = torch.where(finite[chunk, None, None], to_part, 0.0)
                grad.index_copy_(0, chunk, _put_back(to_part, y, x))
    return grad


@_soft_argmax_backward.register_fake
def _(_: Sequence[Tensor], maps: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(maps, memory_format=torch.contiguous_format)


class _SoftArgmax(torch.autograd.Function):
    """Both operations, as `torch.func` can differentiate them, too."""

    @staticmethod
    def forward(
        maps: Tensor, factor: int, temperature: float, radius: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _soft_argmax(maps, factor, temperature, radius)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        maps, *ctx.settings = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(maps, *output)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_fractions: Tensor, to_confidences: Tensor, *_: Any
    ) -> tuple[Tensor | None, ...]:
        maps, *results = ctx.saved_tensors
        grad = _soft_argmax_backward([to_fractions, to_confidences], maps, results, *ctx.settings)
        return grad, None, None, None


def _chunks(
    which: Int[Tensor, "some"],
    maps: Float[Tensor, "num_maps height width"],
    factor: int,
    starts: Int[Tensor, "num_maps 2"] | None = None,
) -> Iterator[tuple[Int[Tensor, "chunk"], _Windows, _Windows]]:
    """Yield numbers of maps chunk by chunk, with the windows that start there or are the whole."""
    sizes = maps.shape[1:]
    lengths = sizes if starts is None else [min(size, _WINDOW) for size in sizes]
    sides = [
        _windows(size, length, factor, maps.dtype, maps.device)
        for size, length in zip(sizes, lengths, strict=True)
    ]
    memory = _CHUNK_ON_CPU if maps.device.type == "cpu" else _CHUNK_ELSEWHERE
    num_bytes = math.prod(lengths) * 4**factor * maps.element_size()
    for chunk in torch.split(which, max(1, memory // num_bytes)):
        if starts is None:
            y, x = (
                _Windows(*(tensor.expand(len(chunk), *tensor.shape[1:]) for tensor in side))
                for side in sides
            )
        else:
            y, x = (
                _Windows(*(tensor.index_select(0, start) for tensor in side))
                for side, start in zip(sides, starts[chunk].unbind(dim=1), strict=True)
            )
        yield chunk, y, x


def _upsample(
    maps: Float[Tensor, "chunk height width"], y: _Windows, x: _Windows, temperature: float
) -> Float[Tensor, "chunk upsampled_height upsampled_width"]:
    """Return the upsampled windows times the temperature."""
    part = maps.flatten(1).gather(1, _flat(y, x)) * temperature
    return y.matrices @ part.view(-1, y.pixels.shape[1], x.pixels.shape[1]) @ x.matrices.mT


def _put_back(
    part: Float[Tensor, "chunk pixels_y pixels_x"], y: _Windows, x: _Windows
) -> Float[Tensor, "chunk height width"]:
    """Return maps that are zero but for the pixels that the windows need."""
    height, width = y.covered.shape[1], x.covered.shape[1]
    maps = part.new_zeros(len(part), height * width)
    return maps.scatter_(1, _flat(y, x), part.flatten(1)).view(-1, height, width)


def _flat(y: _Windows, x: _Windows) -> Int[Tensor, "chunk pixels"]:
    """Return where the pixels that the windows need are in a flattened map."""
    return (y.pixels[:, :, None] * x.covered.shape[1] + x.pixels[:, None, :]).flatten(1)


def _softmax(
    logits: Float[Tensor, "chunk upsampled_height upsampled_width"],
) -> Float[Tensor, "chunk upsampled_height upsampled_width"]:
    return logits.flatten(1).softmax(dim=1).view_as(logits)


def _expectation(
    logits: Float[Tensor, "chunk upsampled_height upsampled_width"],
    y: _Windows,
    x: _Windows,
    radius: int,
) -> tuple[Float[Tensor, "chunk 2"], Float[Tensor, "chunk"], Int[Tensor, "chunk 2"]]:
    """Return how far the expectation is beyond a pixel, the confidence, and the pixel."""
    probabilities = _softmax(logits)
    pixel_y, fraction_y = _mean(probabilities.sum(dim=2), y)
    near_y = _is_near(pixel_y, y, radius)
    weights = torch.stack([torch.ones_like(near_y), near_y], dim=1)
    along_x, near_along_x = (weights @ probabilities).unbind(dim=1)
    pixel_x, fraction_x = _mean(along_x, x)
    confidences = (near_along_x * _is_near(pixel_x, x, radius)).sum(dim=1)
    fractions = torch.stack([fraction_x, fraction_y], dim=1)
    return fractions, confidences, torch.stack([pixel_x, pixel_y], dim=1)


def _slope(
    slopes: Float[Tensor, "chunk 3"],
    fractions: Float[Tensor, "chunk 2"],
    confidences: Float[Tensor, "chunk"],
    pixels: Int[Tensor, "chunk 2"],
    y: _Windows,
    x: _Windows,
    radius: int,
) -> Float[Tensor, "chunk upsampled_height upsampled_width"]:
    """Return the gradient of the logits, divided by the probabilities."""
    of_x, of_y, of_confidence = slopes[:, :, None].unbind(dim=1)
    pixel_x, pixel_y = pixels.unbind(dim=1)
    fraction_x, fraction_y = fractions[:, :, None].unbind(dim=1)
    along_x = of_x * (_beyond(pixel_x, x) - fraction_x)
    along_y = of_y * (_beyond(pixel_y, y) - fraction_y) - of_confidence * confidences[:, None]
    near_y = of_confidence * _is_near(pixel_y, y, radius)
    # The sum of both and of the square, as a product: one pass over all pixels.
    left = torch.stack([along_y, torch.ones_like(along_y), near_y], dim=2)
    right = torch.stack([torch.ones_like(along_x), along_x, _is_near(pixel_x, x, radius)], dim=1)
    return left @ right


def _mean(
    masses: Float[Tensor, "chunk upsampled"], side: _Windows
) -> tuple[Int[Tensor, "chunk"], Float[Tensor, "chunk"]]:
    """Return the pixel that the mean along a side falls on, and how far beyond it is."""
    pixels = (masses * side.upsampled).sum(dim=1).long()
    # From there once more: the mean of coordinates of some hundred px is rounded to 1e-5 px, which
    # the gradient, a difference of the two sides of a peak, would show a hundredfold.
    return pixels, (masses * _beyond(pixels, side)).sum(dim=1)


def _beyond(pixels: Int[Tensor, "chunk"], side: _Windows) -> Float[Tensor, "chunk upsampled"]:
    """Return how far beyond a pixel each pixel of the window is."""
    return side.upsampled - pixels[:, None]


def _is_near(
    pixels: Int[Tensor, "chunk"], side: _Windows, radius: int
) -> Float[Tensor, "chunk upsampled"]:
    """Return 1 for each pixel of the window that is near another one, else 0."""
    return (_beyond(pixels, side).abs() <= radius).to(side.upsampled.dtype)


def _taken_whole(starts: Int[Tensor, "num_maps 2"]) -> Int[Tensor, "some"]:
    """Return the numbers of the maps that have no window."""
    if starts.device.type != "cpu":
        return torch.arange(len(starts), device=starts.device)
    return (starts[:, 0] < 0).nonzero().squeeze(1)


def _windowed(starts: Int[Tensor, "num_maps 2"]) -> Int[Tensor, "some"]:
    """Return the numbers of the maps that have a window."""
    if starts.device.type != "cpu":
        return starts.new_empty(0)
    return (starts[:, 0] >= 0).nonzero().squeeze(1)


def _largest(
    maps: Float[Tensor, "num_maps height width"],
) -> tuple[Float[Tensor, "num_maps height"], Float[Tensor, "num_maps width"]]:
    """Return the largest absolute value in each row of each map, and in each column."""
    num_bytes = math.prod(maps.shape[1:]) * maps.element_size()
    chunks = [chunk.abs() for chunk in torch.split(maps, max(1, _CHUNK_ON_CPU // num_bytes))]
    return torch.cat([c.amax(dim=2) for c in chunks]), torch.cat([c.amax(dim=1) for c in chunks])


def _start_about_peak(largest: Float[Tensor, "num_maps size"]) -> Int[Tensor, "num_maps"]:
    """Return where the windows about the largest pixels start."""
    last = max(0, largest.shape[1] - _WINDOW)
    return (largest.argmax(dim=1) - _WINDOW // 2).clamp(0, last)


def _suffices(
    largest: tuple[Float[Tensor, "num_maps height"], Float[Tensor, "num_maps width"]],
    starts: Int[Tensor, "num_maps 2"],
    highest: Float[Tensor, "num_maps"],
    factor: int,
    temperature: float,
) -> Bool[Tensor, "num_maps"]:
    """Return for which maps the mass outside of the window is lost in rounding.

    Args:
        largest: the largest absolute value in each row of the map, and in each column.
        starts: where the windows start.
        highest: the highest logit in the window.
        factor: how often the sides are doubled.
        temperature: factor on the upsampled map.
    """
    gain, outside, sides = abs(temperature), [], []
    for side, start in zip(largest, starts.unbind(dim=1), strict=True):
        size = side.shape[1]
        length = min(size, _WINDOW)
        covered = _windows(size, length, factor, side.dtype, side.device).covered[start]
        outside.append(side.masked_fill(covered, 0.0).amax(dim=1))
        gain *= float(_upsampling(size, factor).abs().sum(dim=1).max())
        sides.append(size * 2**factor)
    # No logit outside is higher than the gain times the largest pixel that has an effect there.
    log_mass = gain * torch.maximum(*outside) - highest + math.log(math.prod(sides))
    # The mass moves the expectation by itself times the distance at most.
    return log_mass <= math.log(torch.finfo(highest.dtype).eps / sum(sides))


@lru_cache(maxsize=64)
def _windows(
    size: int, length: int, factor: int, dtype: torch.dtype, device: torch.device
) -> _Windows:
    """Return all windows of a length on a side; they are numbered by where they start."""
    step = 2**factor
    # They outlive a block of inference mode that they are first asked for in.
    with torch.inference_mode(False):
        matrix = _upsampling(size, factor)
        rows = matrix.unfold(0, length * step, step).mT
        support = rows.ne(0).sum(dim=1)
        needed = support > 0
        width = int(needed.sum(dim=1).max())
        first = needed.int().argmax(dim=1).clamp(max=size - width)
        pixels = first[:, None] + torch.arange(width, device="cpu")
        starts = step * torch.arange(len(rows), device="cpu")
        return _Windows(
            rows.gather(2, pixels[:, None, :].expand(-1, length * step, -1)).to(device, dtype),
            pixels.to(device),
            (starts[:, None] + torch.arange(length * step, device="cpu")).to(device, dtype),
            (support == matrix.ne(0).sum(dim=0)).to(device),
        )


@lru_cache(maxsize=64)
def _upsampling(size: int, factor: int) -> Float[Tensor, "upsampled size"]:
    """Return the matrix that upsamples one side of a map, float64."""
    columns = torch.eye(size, dtype=torch.float64, device="cpu")[:, None, :, None]
    blur = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64, device="cpu") / 16
    for _ in range(factor):
        columns = nn.functional.interpolate(
            columns, size=(2 * columns.shape[2], 1), mode="bicubic", align_corners=False
        )
        columns = nn.functional.conv2d(columns, blur.view(1, 1, 5, 1), padding=(2, 0))
    return columns[:, 0, :, 0].mT.contiguous()
