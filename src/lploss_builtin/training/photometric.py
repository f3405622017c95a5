"""Images that look otherwise, while all that they show stays where it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
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
# Of so many pixels, or numbers, all that is computed stays in the cache of a processor.
_AT_ONCE = 2**16


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
        return self._drawn(uniform, what, *shape)

    def normal(self, what: str, *shape: int) -> Float[Tensor, "batch views *shape"]:
        """Return normally distributed numbers for each view."""
        return self._drawn(normal, what, *shape)

    def chosen(self, what: str, probability: float) -> Bool[Tensor, "batch views"]:
        """Return which views something is done to."""
        return self.uniform(f"whether {what}") < probability

    def _drawn(self, draw: Callable[..., Tensor], what: str, *shape: int) -> Tensor:
        at_once = len(self._index)
        if self._index.device.type == "cpu":
            at_once = max(1, _AT_ONCE // (self._views * math.prod(shape)))
        stream = f"{_STREAM} {what}"
        parts = [
            draw(*self._key, index, self._views, *shape, stream=stream)
            for index in torch.split(self._index, at_once)
        ]
        return torch.cat(parts)


def _changed(
    values: Shaped[Tensor, "batch views *shape"],
    chosen: Bool[Tensor, "batch views"],
    change: Callable[..., Tensor],
    *numbers: Shaped[Tensor, "batch views *_"],
) -> Shaped[Tensor, "batch views *shape"]:
    """Return the values, those of the chosen views changed.

    Args:
        values: of each view.
        chosen: which views to change.
        change: called with the values of some views, and with their numbers.
        numbers: what hangs on the view, too.
    """
    if values.device.type != "cpu":
        # Which views are chosen would have to be waited for.
        chosen = chosen.view(*chosen.shape, *[1] * (values.ndim - 2))
        return torch.where(chosen, change(values, *numbers), values)
    done = values.clone(memory_format=torch.contiguous_format)
    each, *others = (v.flatten(0, 1)[:, None] for v in (done, *numbers))
    at_once = max(1, _AT_ONCE // math.prod(values.shape[3:]))
    those = chosen.flatten().nonzero()[:, 0]
    for some in torch.split(those, at_once) if len(those) else ():
        changed = change(*(v.index_select(0, some) for v in (each, *others)))
        # One by one, for to copy all of them to their places would go pixel by pixel.
        for view, new in zip(some.tolist(), changed, strict=True):
            each[view] = new
    return done


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
    batch, views = images.shape[:2]
    chosen = torch.zeros(batch, views, dtype=torch.bool, device=images.device)
    kernels = torch.ones(batch, views, 1, 1, device=images.device)
    noise = torch.zeros(batch, views, 1, 1, 1, device=images.device)
    if is_blurred:
        kernels = _motion_kernels(torch.pi * draw.uniform("angle"), size)
        none = torch.zeros_like(kernels)
        none[..., size // 2, size // 2] = 1
        chosen = draw.chosen("blur", augmentation.blur_probability)
        kernels = torch.where(chosen[..., None, None], kernels, none)
    if is_noisy:
        noise = draw.normal("noise", 1, *images.shape[3:]) * (augmentation.noise * (_LEVELS - 1))
        gets_noise = draw.chosen("noise", augmentation.noise_probability)
        noise *= gets_noise[..., None, None, None]
        chosen = chosen | gets_noise
    return _changed(images, chosen, _filtered_with, kernels, noise)


def _filtered_with(
    images: UInt8[Tensor, "batch views 3 height width"],
    kernels: Float[Tensor, "batch views size size"],
    noise: Float[Tensor, "batch views 1 #height #width"],
) -> UInt8[Tensor, "batch views 3 height width"]:
    changed = images.float()
    if kernels.shape[-1] > 1:
        changed = _filtered(changed, kernels)
    if noise.shape[-2:] == images.shape[-2:]:
        changed += noise
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
    changed = torch.zeros(images.shape[:2], dtype=torch.bool, device=images.device)
    if is_equalized:
        changed = draw.chosen("equalization", augmentation.equalization_probability)
        table = _changed(table, changed, lambda _, some: _equalized(some), images)
    if is_toned:
        gamma, contrast, brightness = (2 * draw.uniform("tone", 3, 1, 1) - 1).unbind(dim=2)
        toned = table ** (gamma * math.log1p(augmentation.gamma)).exp()
        toned = (toned - 0.5) * (1 + augmentation.contrast * contrast) + 0.5
        toned = toned + augmentation.brightness * brightness
        chosen = draw.chosen("tone", augmentation.tone_probability)
        table = torch.where(chosen[..., None, None], toned, table)
        changed = changed | chosen
    table = (table.clamp(0, 1) * (_LEVELS - 1)).round().to(torch.uint8)
    return _changed(images, changed, _looked_up, table)


def _looked_up(
    images: UInt8[Tensor, "batch views 3 height width"],
    table: UInt8[Tensor, "batch views 3 levels"],
) -> UInt8[Tensor, "batch views 3 height width"]:
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
        by_channel = draw.chosen("each channel", 0.5)[..., None, None, None]
        black = torch.where(by_channel, numbers, shared) < share
        chosen = draw.chosen("dropout", augmentation.dropout_probability)
        images = _changed(images, chosen, partial(_blackened, side=side), black)
    share = augmentation.spot_share
    if augmentation.spot_probability > 0 and share > 0:
        side, *grid = _cells(height, width, _LARGE_CELL)
        for what, paint in (("white spots", _whitened), ("black spots", _blackened)):
            spots = draw.uniform(what, 1, *grid) < share
            chosen = draw.chosen(what, augmentation.spot_probability)
            images = _changed(images, chosen, partial(paint, side=side), spots)
    return images


def _whitened(
    images: UInt8[Tensor, "batch views 3 height width"],
    cells: Bool[Tensor, "batch views channels rows columns"],
    side: int,
) -> UInt8[Tensor, "batch views 3 height width"]:
    return images | _in_pixels(cells, side, *images.shape[3:])


def _blackened(
    images: UInt8[Tensor, "batch views 3 height width"],
    cells: Bool[Tensor, "batch views channels rows columns"],
    side: int,
) -> UInt8[Tensor, "batch views 3 height width"]:
    return images & _in_pixels(~cells, side, *images.shape[3:])


def _cells(height: int, width: int, share: float) -> tuple[int, int, int]:
    """Return the side of the cells of an image, px, and how many rows and columns they make."""
    side = max(1, round(share * min(height, width)))
    return side, math.ceil(height / side), math.ceil(width / side)


def _in_pixels(
    cells: Bool[Tensor, "batch views channels rows columns"], side: int, height: int, width: int
) -> UInt8[Tensor, "batch views channels height width"]:
    """Return 255 for pixels in the cells, 0 for others; what juts out of the image is cut off."""
    # All bits or none: on a processor that is several times as fast as to fill where a mask is.
    values = cells.to(torch.uint8) * (_LEVELS - 1)
    # One after the other, for whole rows of pixels are copied fast, and the few px of a cell not.
    rows = repeat(values, "b v c row column -> b v c row (column x)", x=side)[..., :width]
    return repeat(rows, "b v c row x -> b v c (row y) x", y=side)[..., :height, :]
