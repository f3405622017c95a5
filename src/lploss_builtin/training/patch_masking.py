"""Hiding patches of the images, so that a network learns to look into the other views."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor

from lploss.errors import ArgumentValueError, ShapeError
from lploss_builtin.ops.random_numbers import uniform

#: Red, green and blue of the mean pixel of ImageNet, 0 to 255; after normalisation it is 0.
MEAN_COLOUR = (123.675, 116.28, 103.53)

_STREAM = "patch_masking"
_WORD = torch.int64


def mask_patches(
    images: Num[Tensor, "batch views 3 height width"],
    ratio: float,
    patch_size: int | tuple[int, int],
    *,
    seed: int,
    step: int,
    index: Int64[Tensor, "batch"],
    fill: Sequence[float] = MEAN_COLOUR,
) -> tuple[
    Num[Tensor, "batch views 3 height width"], Bool[Tensor, "batch views num_rows num_columns"]
]:
    """Hide a share of the patches of each view.

    In each view of each frame ``round(ratio * num_patches)`` patches get a single colour, all sets
    of so many being equally likely. Where that would be all patches of all views, one patch of
    one view of the frame stays.

    Args:
        images: RGB, 0 to 255, of any type; they are left as they are.
        ratio: share of the patches to hide, 0 to 1.
        patch_size: of the network, px; height and width unless they are the same. Patches begin
            in the upper left corner; at the right and lower edges they are cut off where they do
            not fit.
        seed: of the run.
        step: of the run; each step hides other patches.
        index: number of each frame in its dataset, on which the patches depend.
        fill: red, green and blue of what is hidden, in the range of the images.

    Returns:
        The images, and which patches are hidden. With a ratio of 0 they are the images given.

    Raises:
        ArgumentValueError: the ratio or the size of the patches is out of range, or the colour
            has not three numbers.
        ShapeError: the images have other axes, or there are not as many numbers as frames.

    Example:
        >>> images = torch.full((1, 2, 3, 32, 48), 255, dtype=torch.uint8)
        >>> masked, mask = mask_patches(images, 0.5, 16, seed=0, step=0, index=torch.tensor([7]))
        >>> mask.shape, mask.sum(dim=(2, 3)).tolist()
        (torch.Size([1, 2, 2, 3]), [[3, 3]])
        >>> sorted(set(masked[0, 0, 0].flatten().tolist()))
        [124, 255]
    """
    patch_height, patch_width = _sides(patch_size)
    _check(images, ratio, index, fill)
    batch, views, _, height, width = images.shape
    rows, columns = math.ceil(height / patch_height), math.ceil(width / patch_width)
    if ratio == 0:
        return images, images.new_zeros(batch, views, rows, columns, dtype=torch.bool)
    numbers = uniform(seed, step, index.to(images.device), views, rows * columns, stream=_STREAM)
    mask = rearrange(_hidden(numbers, ratio), "b v (row column) -> b v row column", row=rows)
    colour = _colour(fill, images)
    num_pixels = _pixels_in_a_word(images, patch_height, patch_width)
    if num_pixels > 0:
        words = images.view(_WORD)
        colour = colour.expand(3, 1, num_pixels).contiguous().view(_WORD)
        masked = _masked_in_words(words, mask, colour[..., None])
        return masked.view(images.dtype), mask
    pixels = mask.repeat_interleave(patch_height, dim=2).repeat_interleave(patch_width, dim=3)
    return torch.where(pixels[:, :, None, :height, :width], colour, images), mask


def _pixels_in_a_word(
    images: Num[Tensor, "batch views 3 height width"], patch_height: int, patch_width: int
) -> int:
    """Return how many pixels of a row can be moved at once, which is several times as fast.

    That is 0 where a word would lie in two patches, or a patch juts out of the image.
    """
    number = _WORD.itemsize // images.dtype.itemsize
    multiples = (patch_width, images.shape[4], images.storage_offset())
    whole = images.shape[3] % patch_height == 0 and images.shape[4] % patch_width == 0
    fits = whole and all(size % number == 0 for size in multiples)
    plain = images.is_contiguous() and not images.requires_grad and images.numel() > 0
    return number if fits and plain else 0


def _masked_in_words(
    words: Int64[Tensor, "batch views 3 height words"],
    mask: Bool[Tensor, "batch views num_rows num_columns"],
    colour: Int64[Tensor, "3 1 1 1"],
) -> Int64[Tensor, "batch views 3 height words"]:
    # The mask of one row of pixels is that of all rows of the patch: it needs no room of its own.
    hidden = mask.repeat_interleave(words.shape[-1] // mask.shape[-1], dim=-1)
    hidden = rearrange(hidden, "b v row word -> b v 1 row 1 word")
    rows = rearrange(words, "b v c (row y) word -> b v c row y word", row=mask.shape[2])
    masked = _empty_like(rows)
    torch.where(hidden, colour, rows, out=masked)
    return masked.view(words.shape)


def _empty_like(words: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """Return memory for as many words.

    NumPy asks the system for large pages, and so takes a third of the time that torch takes for a
    batch of images.
    """
    if words.device.type == "cpu":
        return torch.from_numpy(np.empty(words.shape, dtype=np.int64))
    return torch.empty_like(words)


def _hidden(
    numbers: Float[Tensor, "batch views num_patches"], ratio: float
) -> Bool[Tensor, "batch views num_patches"]:
    """Return which patches are hidden: those with the smallest numbers of each view."""
    batch, _, num_patches = numbers.shape
    num_hidden = round(ratio * num_patches)
    # Stable, for among equal numbers other devices would choose others.
    order = numbers.argsort(dim=-1, stable=True)
    hidden = torch.zeros_like(numbers, dtype=torch.bool)
    hidden.scatter_(-1, order[..., :num_hidden], True)
    if num_hidden == num_patches and batch > 0:
        stays = numbers.view(batch, -1).argmax(dim=1, keepdim=True)
        hidden.view(batch, -1).scatter_(1, stays, False)
    return hidden


def _colour(fill: Sequence[float], images: Num[Tensor, "..."]) -> Num[Tensor, "3 1 1"]:
    """Return the colour in the type of the images, rounded where that is one of integers."""
    exact = images.dtype.is_floating_point
    # Each filled in place: to copy a list to a GPU would wait for it.
    return torch.stack([images.new_full((1, 1), part if exact else round(part)) for part in fill])


def _sides(patch_size: int | tuple[int, int]) -> tuple[int, int]:
    sides = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
    if len(sides) != 2 or min(sides) < 1:
        raise ArgumentValueError(
            "patch_size must be the side of a patch, or its height and width, at least 1 px, got "
            f"{patch_size!r}"
        )
    return sides


def _check(images: Tensor, ratio: float, index: Tensor, fill: Sequence[float]) -> None:
    if not 0 <= ratio <= 1:
        raise ArgumentValueError(f"ratio must be from 0 to 1, got {ratio!r}")
    if images.ndim != 5 or images.shape[2] != 3:
        raise ShapeError(
            "images must have axes (batch, views, 3, height, width), got shape "
            f"{tuple(images.shape)}"
        )
    if tuple(index.shape) != (len(images),):
        raise ShapeError(
            f"index must hold a number for each of {len(images)} frames, got shape "
            f"{tuple(index.shape)}"
        )
    if len(fill) != 3:
        raise ArgumentValueError(f"fill must be red, green and blue, got {fill!r}")
