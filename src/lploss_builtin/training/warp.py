"""Images moved by affine maps of their pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from lploss.errors import ShapeError
from lploss_builtin.ops import affine as affine_maps
from lploss_builtin.ops.precision import best_float, without_autocast
from lploss_builtin.training.patch_masking import MEAN_COLOUR

# Of so many pixels, all that is computed stays in the cache of a processor.
_PIXELS_AT_ONCE = 2**18


@torch.no_grad()
def warp_images(
    images: Num[Tensor, "batch views 3 height width"],
    maps: Float[Tensor, "batch views 2 3"],
    *,
    fill: Sequence[float] = MEAN_COLOUR,
) -> Num[Tensor, "batch views 3 height width"]:
    """Move the pixels of each view by its map, with bilinear interpolation.

    What was at the pixel in row ``y`` and column ``x`` is then where the map puts ``(x, y)``.

    Args:
        images: RGB, 0 to 255, of any type; they are left as they are. Images on the meta device,
            which have no pixels, are returned.
        maps: from px of the images to px of the new ones. A view whose map is the identity
            stays exactly as it is.
        fill: red, green and blue of what comes from outside, in the range of the images.

    Returns:
        Of the same type and size; without a gradient.

    Raises:
        ShapeError: there is not one map for each view.

    Example:
        >>> images = torch.arange(4, dtype=torch.uint8).expand(1, 1, 3, 1, 4)
        >>> to_the_right = torch.tensor([[[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]])
        >>> warp_images(images, to_the_right, fill=(9, 9, 9))[0, 0, 0].tolist()
        [[9, 0, 1, 2]]
    """
    if tuple(maps.shape[:2]) != tuple(images.shape[:2]):
        raise ShapeError(
            f"there must be a map for each of {tuple(images.shape[:2])} frames and views, got "
            f"maps of shape {tuple(maps.shape)}"
        )
    if images.numel() == 0 or images.is_meta:
        return images
    _, views, _, height, width = images.shape
    exact = images.dtype if images.dtype == torch.float64 else torch.float32
    colour = torch.stack([images.new_full((1, 1), part, dtype=exact) for part in fill])
    each = rearrange(images, "b v c y x -> (b v) c y x")
    back = rearrange(affine_maps.inverse(best_float(maps)), "b v xy c -> (b v) xy c")
    identity = torch.eye(2, 3, dtype=maps.dtype, device=maps.device)
    stays = rearrange((maps == identity).all(dim=-1).all(dim=-1), "b v -> (b v) 1 1 1")
    at_once = len(each)
    if images.device.type == "cpu":
        at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    moved = [
        torch.where(still, some, _warped(some, come_from, colour))
        for some, come_from, still in zip(
            *(torch.split(values, at_once) for values in (each, back, stays)), strict=True
        )
    ]
    return rearrange(torch.cat(moved), "(b v) c y x -> b v c y x", v=views)


def composed(
    second: Float[Tensor, "*batch 2 3"], first: Float[Tensor, "*batch 2 3"]
) -> Float[Tensor, "*batch 2 3"]:
    """Return the map that applies the first map, and then the second.

    Example:
        >>> double = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> shift = torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 6.0]])
        >>> composed(double, shift)
        tensor([[ 2.,  0., 10.],
                [ 0.,  2., 12.]])
    """
    # Written out, for tensor cores would round a matrix product.
    columns = second[..., :1] * first[..., :1, :] + second[..., 1:2] * first[..., 1:, :]
    return torch.cat([columns[..., :2], columns[..., 2:] + second[..., 2:]], dim=-1)


def resizing_offset(
    to_input: Float[Tensor, "batch views 2 3"],
) -> Float[Tensor, "batch views 2"]:
    """Return how far, in resized images, pixels lie from where coordinates say.

    A crop is resized between its edges, so the middle of a pixel at ``p`` comes to
    ``s p + (s - 1) / 2``, while coordinates are only multiplied by ``s``. As long as nothing is
    mirrored or turned that is the same everywhere, and a network learns it.

    Example:
        >>> resizing_offset(torch.tensor([[[[0.5, 0.0, 0.0], [0.0, 1.0, 0.0]]]]))
        tensor([[[-0.2500,  0.0000]]])
    """
    scale = torch.stack([to_input[..., 0, 0], to_input[..., 1, 1]], dim=-1).abs()
    return (scale - 1.0) / 2.0


def about(
    maps: Float[Tensor, "*batch 2 3"], offset: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch 2 3"]:
    """Return the maps between points that all lie so much further on.

    Example:
        >>> mirror = torch.tensor([[-1.0, 0.0, 9.0], [0.0, 1.0, 0.0]])
        >>> about(mirror, torch.tensor([1.0, 0.0]))
        tensor([[-1.,  0., 11.],
                [ 0.,  1.,  0.]])
    """
    moved = (maps[..., :2] * offset[..., None, :]).sum(dim=-1)
    return torch.cat([maps[..., :2], (maps[..., 2] + offset - moved)[..., None]], dim=-1)


def _warped(
    images: Num[Tensor, "num_images 3 height width"],
    back: Float[Tensor, "num_images 2 3"],
    colour: Float[Tensor, "3 1 1"],
) -> Num[Tensor, "num_images 3 height width"]:
    """Return images, each pixel from where its map says; what comes from outside is coloured."""
    grid = _sampling_grid(back, images.shape[2], images.shape[3], colour.dtype)
    shifted = images.to(colour.dtype, copy=True)
    # Zeros are what comes from outside, so the colour is made the zero.
    shifted.sub_(colour)
    with without_autocast(images.device):
        moved = functional.grid_sample(shifted, grid, align_corners=True).add_(colour)
    if not images.dtype.is_floating_point:
        moved = moved.round_()
    return moved.to(images.dtype)


def _sampling_grid(
    maps: Float[Tensor, "num_images 2 3"], height: int, width: int, dtype: torch.dtype
) -> Float[Tensor, "num_images height width 2"]:
    """Return where in the images each pixel of the new ones comes from, as torch counts.

    That is from -1 in the centre of the first pixel to 1 in that of the last.
    """
    x = torch.arange(width, dtype=maps.dtype, device=maps.device)
    y = torch.arange(height, dtype=maps.dtype, device=maps.device)[:, None]
    maps = rearrange(maps, "image xy c -> xy c image 1 1")
    grid = torch.empty(maps.shape[2], height, width, 2, dtype=dtype, device=maps.device)
    # Not functional.affine_grid, whose matrix product tensor cores would round.
    for axis, size in enumerate((width, height)):
        by_x, by_y, shift = maps[axis] * (2 / max(size - 1, 1))
        in_row, in_column = (by_x * x).to(dtype), (by_y * y + (shift - 1)).to(dtype)
        torch.add(in_row, in_column, out=grid[..., axis])
    return grid
