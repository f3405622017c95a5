"""Each image rotated, scaled, shifted and mirrored by itself.

The labels stay where they are in the original image: the map from there to the model's input says
where they are now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lploss_builtin.ops.precision import best_float
from lploss_builtin.ops.random_numbers import uniform
from lploss_builtin.training.image_augmentation import ImageAugmentation, check_with_3d
from lploss_builtin.training.photometric import augment_photometric
from lploss_builtin.training.warp import about, composed, resizing_offset, warp_images

__all__ = [
    "ImageAugmentation",
    "augment_geometric",
    "augment_photometric",
    "check_with_3d",
]

_STREAM = "augmentation_2d"


@torch.no_grad()
def augment_geometric(
    batch: Mapping[str, Tensor],
    augmentation: ImageAugmentation,
    *,
    seed: int,
    step: int,
    partners: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Move the pixels of each view by itself.

    ``images`` and ``affine`` change. Where partners are given, ``keypoints_targ`` and
    ``visibility`` of a view that is mirrored change, too: what was labelled as left is then
    labelled as right.

    Args:
        batch: with ``images``, ``affine`` and ``index``; with ``keypoints_targ`` where partners
            are given.
        augmentation: what to do.
        seed: of the run.
        step: of the run; each step draws other numbers.
        partners: for each keypoint of a view the index of the one that it becomes in a
            mirrored image, see `lploss_builtin.training.mirror_partners`.

    Returns:
        A new batch; tensors that did not change are those given.

    Example:
        >>> image = torch.arange(3, dtype=torch.uint8).expand(1, 1, 3, 1, 3)
        >>> batch = {"images": image, "affine": torch.eye(2, 3)[None, None]}
        >>> batch["index"] = torch.tensor([7])
        >>> always = ImageAugmentation(flip_probability=1.0)
        >>> flipped = augment_geometric(batch, always, seed=0, step=0)
        >>> flipped["images"][0, 0, 0].tolist(), flipped["affine"][0, 0, 0].tolist()
        ([[2, 1, 0]], [-1.0, 0.0, 2.0])
    """
    changed = dict(batch)
    if not augmentation.breaks_geometry:
        return changed
    images, to_input = batch["images"], batch["affine"]
    index, views = batch["index"].to(to_input.device), images.shape[1]
    numbers = uniform(seed, step, index, views, 8, stream=_STREAM)
    numbers = best_float(rearrange(numbers, "b v number -> number b v"))
    flips = numbers[0] < augmentation.flip_probability
    maps = _drawn_maps(augmentation, numbers, (images.shape[3], images.shape[4]))
    changed["images"] = warp_images(images, maps)
    of_points = about(maps, -resizing_offset(best_float(to_input)))
    changed["affine"] = composed(of_points, best_float(to_input)).to(to_input.dtype)
    if partners is not None:
        # Not a list as an index, which a GPU would have to wait for.
        order = torch.stack([index.new_full((), partner) for partner in partners])
        for name, pattern in (("keypoints_targ", "b (v k xy)"), ("visibility", "b (v k)")):
            if name in batch:
                each = "b v k xy" if "xy" in pattern else "b v k"
                values = rearrange(batch[name], f"{pattern} -> {each}", v=views, k=len(order))
                is_flipped = flips.view(*flips.shape, *[1] * (values.ndim - 2))
                values = torch.where(is_flipped, values.index_select(2, order), values)
                changed[name] = rearrange(values, f"{each} -> {pattern}")
    return changed


def _drawn_maps(
    augmentation: ImageAugmentation,
    numbers: Float[Tensor, "8 batch views"],
    size: tuple[int, int],
) -> Float[Tensor, "batch views 2 3"]:
    """Return maps about the centre of the image, px of the model's input before and after."""
    flip, turned, angle, turns, scaled, factor, shift_x, shift_y = numbers
    height, width = size
    right, down = (width - 1) / 2, (height - 1) / 2
    one, zero = torch.ones_like(flip), torch.zeros_like(flip)

    angle = torch.deg2rad(augmentation.rotation * (2 * angle - 1))
    angle = torch.where(turned < augmentation.rotation_probability, angle, 0.0)
    is_scaled = scaled < augmentation.scale_probability
    low, high = augmentation.scale
    # As likely twice the size as half of it.
    factor = torch.where(is_scaled, low * (high / low) ** factor, 1.0)
    shift_x, shift_y = (
        torch.where(is_scaled, augmentation.shift * side * (2 * share - 1), 0.0)
        for side, share in ((width, shift_x), (height, shift_y))
    )

    mirror = torch.where(flip < augmentation.flip_probability, -one, one)
    maps = _map_of(mirror, zero, zero, one, zero, zero)
    maps = composed(_quarter_turn(augmentation.quarter_turns, turns, right, down), maps)
    cosine, sine = factor * angle.cos(), factor * angle.sin()
    maps = composed(_map_of(cosine, -sine, sine, cosine, shift_x, shift_y), maps)
    to_centre = _map_of(one, zero, zero, one, zero - right, zero - down)
    from_centre = _map_of(one, zero, zero, one, zero + right, zero + down)
    return composed(from_centre, composed(maps, to_centre))


def _quarter_turn(
    choices: tuple[int, ...], number: Float[Tensor, "batch views"], right: float, down: float
) -> Float[Tensor, "batch views 2 3"]:
    """Return turns about the centre that bring corners to corners."""
    chosen = (number * len(choices)).long()
    cosine, sine = torch.zeros_like(number), torch.zeros_like(number)
    for place, turns in enumerate(choices):
        cosine = torch.where(chosen == place, (1.0, 0.0, -1.0, 0.0)[turns % 4], cosine)
        sine = torch.where(chosen == place, (0.0, 1.0, 0.0, -1.0)[turns % 4], sine)
    stretch = right / down if right > 0 and down > 0 else 1.0
    zero = torch.zeros_like(number)
    return _map_of(cosine, -sine * stretch, sine / stretch, cosine, zero, zero)


def _map_of(*entries: Float[Tensor, "batch views"]) -> Float[Tensor, "batch views 2 3"]:
    """Return maps of the four entries of the matrix and the two of the shift."""
    a, b, c, d, x, y = entries
    return rearrange([a, b, x, c, d, y], "(row column) b v -> b v row column", row=2)
