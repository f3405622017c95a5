"""Images that look otherwise, while all that they show stays where it is."""

from __future__ import annotations

import math

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from lploss.errors import InputTypeError
from lploss_builtin.ops.precision import without_autocast
from lploss_builtin.ops.random_numbers import normal, uniform
from lploss_builtin.training.image_augmentation import ImageAugmentation

_STREAM = "photometric"

# Sides of the cells of dropout and of spots, as shares of the image's.
_SMALL_CELL, _LARGE_CELL = 0.013, 0.075
# So many pixels along a side suffice to tell how frequent values are.
_SAMPLES = 64
_LEVELS = 256


@torch.no_grad()
def augment_photometric(
    images: UInt8[Tensor, "batch views 3 height width"],
    augmentation: ImageAugmentation,
    *,
    seed: int,
    step: int,
    index: Int64[Tensor, "batch"],
) -> UInt8[Tensor, "batch views 3 height width"]:
    """Change how each view of each frame looks, by itself.

    In this order: motion blur and noise, equalisation and tones, black cells and spots.

    Args:
        images: RGB; they are left as they are.
        augmentation: what to do; of it only what leaves pixels in their places.
        seed: of the run.
        step: of the run; each step draws other numbers.
        index: number of each frame in its dataset, on which the numbers depend.

    Returns:
        New images; those given where there is nothing to do.

    Raises:
        InputTypeError: the images are not uint8.

    Example:
        >>> images = torch.full((1, 1, 3, 8, 8), 100, dtype=torch.uint8)
        >>> always = ImageAugmentation(brightness=0.5)
        >>> darker = augment_photometric(images, always, seed=0, step=0, index=torch.tensor([7]))
        >>> darker.unique().tolist()
        [29]
    """
    if images.dtype != torch.uint8:
        raise InputTypeError(
            f"images must be uint8, 0 to 255, got {images.dtype}. Augment them before they are "
            "normalised."
        )
    if images.numel() == 0:
        return images
    draw = _Numbers(seed, step, index.to(images.device), images.shape[1])
    with without_autocast(images.device):
        images = _blurred_and_noisy(images, augmentation, draw)
        images = _with_other_tones(images, augmentation, draw)
        return _with_cells(images, augmentation, draw)


class _Numbers:
    """Random numbers for the views of a batch, by what they are for."""

    def __init__(self, seed: int, step: int, index: Int64[Tensor, "batch"], views: int) -> None:
        self._key, self._index, self._views = (seed, step), index, views

    def uniform(self, what: str, *shape: int) -> Float[Tensor, "batch views *shape"]:
        """Return numbers from 0 to 1 for each view."""
        return uniform(*self._key, self._index, self._views, *shape, stream=f"{_STREAM} {what}")

    def normal(self, what: str, *shape: int) -> Float[Tensor, "batch views *shape"]:
        """Return normally distributed numbers for each view."""
        return normal(*self._key, self._index, self._views, *shape, stream=f"{_STREAM} {what}")

    def chosen(self, what: str, probability: float) -> Bool[Tensor, "batch views 1 1 1"]:
        """Return which views something is done to."""
        return self.uniform(f"whether {what}", 1, 1, 1) < probability


def _blurred_and_noisy(
    images: UInt8[Tensor, "batch views 3 height width"],
    augmentation: ImageAugmentation,
    draw: _Numbers,
) -> UInt8[Tensor, "batch views 3 height width"]:
    size = augmentation.blur_size
    is_blurred = augmentation.blur_probability > 0 and size > 1
    is_noisy = augmentation.noise > 0 and augmentation.noise_probability > 0
    if not is_blurred and not is_noisy:
        return images
    changed = images.float()
    if is_blurred:
        kernels = _motion_kernels(torch.pi * draw.uniform("angle"), size)
        none = torch.zeros_like(kernels)
        none[..., size // 2, size // 2] = 1
        chosen = draw.chosen("blur", augmentation.blur_probability)[..., 0]
        kernels = torch.where(chosen, kernels, none)
        changed = _filtered(changed, kernels)
    if is_noisy:
        noise = draw.normal("noise", 1, *images.shape[3:]) * (augmentation.noise * (_LEVELS - 1))
        changed += noise * draw.chosen("noise", augmentation.noise_probability)
    return changed.round_().clamp_(0, _LEVELS - 1).to(torch.uint8)


def _motion_kernels(
    angles: Float[Tensor, "batch views"], size: int
) -> Float[Tensor, "batch views size size"]:
    """Return the weights of pixels near a path through the centre; they sum to 1."""
    places = torch.arange(size, dtype=angles.dtype, device=angles.device) - size // 2
    x, y = places, places[:, None]
    angles = angles[..., None, None]
    across = (x * angles.sin() - y * angles.cos()).abs()
    along = (x * angles.cos() + y * angles.sin()).abs()
    weights = (1 - across).clamp(min=0) * (size // 2 + 1 - along).clamp(0, 1)
    return weights / weights.sum(dim=(-2, -1), keepdim=True)


def _filtered(
    images: Float[Tensor, "batch views 3 height width"],
    kernels: Float[Tensor, "batch views size size"],
) -> Float[Tensor, "batch views 3 height width"]:
    """Return the images under the kernel of each view; the pixels at the edges go on outside."""
    batch, views = images.shape[:2]
    each = rearrange(images, "b v c y x -> 1 (b v c) y x")
    weights = kernels[:, :, None].expand(batch, views, 3, *kernels.shape[2:])
    weights = rearrange(weights, "b v c y x -> (b v c) 1 y x")
    padding = kernels.shape[-1] // 2
    padded = functional.pad(each, (padding,) * 4, mode="replicate")
    found = functional.conv2d(padded, weights, groups=weights.shape[0])
    return found.view(images.shape)


def _with_other_tones(
    images: UInt8[Tensor, "batch views 3 height width"],
    augmentation: ImageAugmentation,
    draw: _Numbers,
) -> UInt8[Tensor, "batch views 3 height width"]:
    """Return the images with other values for each of the 256, by one look-up."""
    changes = max(augmentation.brightness, augmentation.contrast, augmentation.gamma) > 0
    is_toned = changes and augmentation.tone_probability > 0
    is_equalized = augmentation.equalization_probability > 0
    if not is_toned and not is_equalized:
        return images
    values = torch.arange(_LEVELS, device=images.device) / (_LEVELS - 1)
    table = values.expand(*images.shape[:3], _LEVELS)
    if is_equalized:
        chosen = draw.chosen("equalization", augmentation.equalization_probability)[..., 0]
        table = torch.where(chosen, _equalized(images), table)
    if is_toned:
        gamma, contrast, brightness = (2 * draw.uniform("tone", 3, 1, 1) - 1).unbind(dim=2)
        toned = table ** (gamma * math.log1p(augmentation.gamma)).exp()
        toned = (toned - 0.5) * (1 + augmentation.contrast * contrast) + 0.5
        toned = toned + augmentation.brightness * brightness
        chosen = draw.chosen("tone", augmentation.tone_probability)[..., 0]
        table = torch.where(chosen, toned, table)
    table = (table.clamp(0, 1) * (_LEVELS - 1)).round().to(torch.uint8)
    found = table.flatten(0, 2).gather(1, rearrange(images, "b v c y x -> (b v c) (y x)").long())
    return found.view(images.shape)


def _equalized(
    images: UInt8[Tensor, "batch views 3 height width"],
) -> Float[Tensor, "batch views 3 levels"]:
    """Return for each value which share of the pixels is below it, stretched from 0 to 1."""
    step_y, step_x = (max(1, side // _SAMPLES) for side in images.shape[3:])
    some = images[..., ::step_y, ::step_x].flatten(3)
    # Sorted, not counted: on a GPU counting has no deterministic form.
    some = some.sort(dim=-1).values
    levels = torch.arange(_LEVELS, dtype=torch.uint8, device=images.device)
    below = torch.searchsorted(
        some, levels.expand(*some.shape[:3], _LEVELS).contiguous(), right=True
    )
    first = torch.searchsorted(some, some[..., :1].contiguous(), right=True)
    number = some.shape[-1]
    spread = (below - first).clamp(min=0) / (number - first).clamp(min=1)
    flat = levels / (_LEVELS - 1)
    return torch.where(first < number, spread, flat)


def _with_cells(
    images: UInt8[Tensor, "batch views 3 height width"],
    augmentation: ImageAugmentation,
    draw: _Numbers,
) -> UInt8[Tensor, "batch views 3 height width"]:
    height, width = images.shape[3:]
    share = augmentation.dropout_share
    if augmentation.dropout_probability > 0 and share > 0:
        side, *grid = _cells(height, width, _SMALL_CELL)
        numbers = draw.uniform("dropout", 3, *grid)
        shared = numbers[:, :, :1].expand_as(numbers)
        numbers = torch.where(draw.chosen("each channel", 0.5), numbers, shared)
        black = (numbers < share) & draw.chosen("dropout", augmentation.dropout_probability)
        images = images.masked_fill(_in_pixels(black, side, height, width), 0)
    share = augmentation.spot_share
    if augmentation.spot_probability > 0 and share > 0:
        side, *grid = _cells(height, width, _LARGE_CELL)
        for what, value in (("white spots", _LEVELS - 1), ("black spots", 0)):
            numbers = draw.uniform(what, 1, *grid)
            spots = (numbers < share) & draw.chosen(what, augmentation.spot_probability)
            images = images.masked_fill(_in_pixels(spots, side, height, width), value)
    return images


def _cells(height: int, width: int, share: float) -> tuple[int, int, int]:
    """Return the side of the cells of an image, px, and how many rows and columns they make."""
    side = max(1, round(share * min(height, width)))
    return side, math.ceil(height / side), math.ceil(width / side)


def _in_pixels(
    cells: Bool[Tensor, "batch views channels rows columns"], side: int, height: int, width: int
) -> Bool[Tensor, "batch views channels height width"]:
    """Return which pixels lie in the cells; what juts out of the image is cut off."""
    # One after the other, for whole rows of pixels are copied fast, and the few px of a cell not.
    rows = repeat(cells, "b v c row column -> b v c row (column x)", x=side)[..., :width]
    return repeat(rows, "b v c row x -> b v c (row y) x", y=side)[..., :height, :]
