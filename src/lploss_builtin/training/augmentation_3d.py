"""The animal moved and scaled in space, in all views alike, before cameras that stay in place.

The labels are triangulated, moved, and projected into the views; each image is warped by the
affine map that fits best where its keypoints were and where they are now. So all views still show
one scene, which they would not if each were rotated or cropped by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lploss.errors import ArgumentValueError, MissingInputError, ShapeError
from lploss_builtin.ops import affine as affine_maps
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_views
from lploss_builtin.ops.keypoints import split_xy
from lploss_builtin.ops.precision import best_float, without_autocast
from lploss_builtin.ops.random_numbers import uniform
from lploss_builtin.training.affine_fit import fit_affine_maps
from lploss_builtin.training.warp import about, composed, resizing_offset, warp_images

_STREAM = "augmentation_3d"

_FEWEST_KEYPOINTS = 3
# A map that stretches an image by more than this, beyond what the animal is scaled by, or
# squeezes it by as much, comes from labels that do not fit together.
_LARGEST_STRETCH = 3.0

_NEEDED = ("images", "keypoints_targ", "affine", "index", "intrinsics", "extrinsics")


class Augmented3D(NamedTuple):
    """A batch that was augmented in space, and how.

    Attributes:
        batch: a new batch; tensors that did not change are those given.
        is_augmented: which frames were; the others are as they were.
        keypoints_3d: where the animal is now, in the unit of the calibration; NaN for keypoints
            that do not triangulate. In frames that were not augmented: where it was.
        maps: what the images were warped by, px of the original images; the identity in frames
            that were not augmented.
    """

    batch: dict[str, Tensor]
    is_augmented: Bool[Tensor, "batch"]
    keypoints_3d: Float[Tensor, "batch num_keypoints 3"]
    maps: Float[Tensor, "batch views 2 3"]


@torch.no_grad()
def augment_3d(
    batch: Mapping[str, Tensor],
    *,
    seed: int,
    step: int,
    scale: tuple[float, float] = (0.8, 1.2),
    shift: float = 0.25,
) -> Augmented3D:
    """Scale the animal about its centre and shift it, in space, and show that in all views.

    Of the batch ``images``, ``keypoints_targ`` and ``visibility`` change, and so does
    ``keypoints_targ_3d`` where there is one. A label of a keypoint that two views see is then
    where its camera sees the moved point; one that a single view sees moves with the image; what
    is not labelled in a view stays so. A label that leaves the image is taken away: NaN, and
    visibility 0.

    A frame stays as it is where fewer than three keypoints triangulate, where a camera could
    not see a labelled point any more, where the maps of the images come out absurd, or where no
    label would be left in any image.

    Args:
        batch: with ``images``, ``keypoints_targ``, ``affine``, ``index``, ``intrinsics``,
            ``extrinsics``, and if there are any ``distortions`` and ``visibility``.
        seed: of the run.
        step: of the run; each step draws other numbers.
        scale: the least and the largest factor.
        shift: the largest shift along each axis, as a share of the animal's extent along it.

    Returns:
        The new batch, which frames were augmented, and how.

    Raises:
        MissingInputError: the batch lacks what is needed.
        ArgumentValueError: the scale or the shift is out of range.
        ShapeError: there are not as many numbers in a pose as the views can share.

    Example:
        >>> batch = {"images": torch.zeros(1, 2, 3, 48, 64, dtype=torch.uint8)}
        >>> batch["keypoints_targ"] = torch.full((1, 12), torch.nan)
        >>> batch["affine"] = torch.eye(2, 3).expand(1, 2, 2, 3)
        >>> batch["index"] = torch.tensor([7])
        >>> batch["intrinsics"] = torch.eye(3).expand(1, 2, 3, 3)
        >>> batch["extrinsics"] = torch.eye(3, 4).expand(1, 2, 3, 4)
        >>> augment_3d(batch, seed=0, step=0).is_augmented
        tensor([False])
    """
    _check(batch, scale, shift)
    images = batch["images"]
    cameras = Cameras(batch["intrinsics"], batch["extrinsics"], batch.get("distortions"))
    labels = best_float(split_xy(batch["keypoints_targ"]))
    labels = rearrange(labels, "b (v k) xy -> b v k xy", v=images.shape[1])
    to_input = best_float(batch["affine"])
    with without_autocast(labels.device):
        found = triangulate_views(labels, cameras)
        motion = _drawn_motion(found, batch["index"], seed, step, scale, shift)
        moved = motion.of(found)
        seen = project_points(moved, cameras)

        is_labelled, is_found = _is_finite(labels), _is_finite(found)
        # Where there is no label, where the camera would have seen the point tells just as well.
        before = torch.where(is_labelled[..., None], labels, project_points(found, cameras))
        maps = fit_affine_maps(before, seen, motion.factor)
        targets = torch.where(is_found[:, None, :, None], seen, affine_maps.transform(labels, maps))
        warps = composed(composed(to_input, maps), affine_maps.inverse(to_input))
        warps = about(warps, resizing_offset(to_input))
        size = images.shape[3], images.shape[4]
        is_kept = is_labelled & _is_in_image(affine_maps.transform(targets, to_input), size)

        is_lost = is_labelled & is_found[:, None] & ~_is_finite(seen)
        is_augmented = (
            (is_found.sum(dim=1) >= _FEWEST_KEYPOINTS)
            & ~is_lost.flatten(1).any(dim=1)
            & _is_plausible(maps, motion.factor).all(dim=1)
            & warps.isfinite().flatten(1).all(dim=1)
            & is_kept.flatten(1).any(dim=1)
        )
    changed = _with_targets(batch, is_augmented, targets, is_kept)
    changed["images"] = warp_images(images, _or_identity(warps, is_augmented))
    if "keypoints_targ_3d" in batch:
        points = batch["keypoints_targ_3d"]
        points_now = motion.of(best_float(points)).to(points.dtype)
        changed["keypoints_targ_3d"] = torch.where(is_augmented[:, None, None], points_now, points)
    return Augmented3D(
        changed,
        is_augmented,
        torch.where(is_augmented[:, None, None], moved, found),
        _or_identity(maps, is_augmented),
    )


class _Motion(NamedTuple):
    """What each frame's points are scaled by, about which centre, and shifted by."""

    factor: Float[Tensor, "batch"]
    centre: Float[Tensor, "batch 3"]
    offset: Float[Tensor, "batch 3"]

    def of(
        self, points: Float[Tensor, "batch num_keypoints 3"]
    ) -> Float[Tensor, "batch num_keypoints 3"]:
        """Return the points where they are moved to."""
        centre = self.centre[:, None]
        return (points - centre) * self.factor[:, None, None] + centre + self.offset[:, None]


def _drawn_motion(
    points: Float[Tensor, "batch num_keypoints 3"],
    index: Int64[Tensor, "batch"],
    seed: int,
    step: int,
    scale: tuple[float, float],
    shift: float,
) -> _Motion:
    numbers = uniform(seed, step, index.to(points.device), 4, stream=_STREAM).to(points.dtype)
    factor = scale[0] + (scale[1] - scale[0]) * numbers[:, 0]
    is_found = _is_finite(points)[..., None]
    largest = torch.where(is_found, points, -torch.inf).amax(dim=1)
    smallest = torch.where(is_found, points, torch.inf).amin(dim=1)
    extent = (largest - smallest) * factor[:, None]
    return _Motion(factor, _median(points), shift * extent * (2 * numbers[:, 1:] - 1))


def _median(points: Float[Tensor, "batch num_keypoints 3"]) -> Float[Tensor, "batch 3"]:
    """Return the median of what is not NaN along each axis; a label far off does not move it."""
    # Not torch.nanmedian, which has no deterministic form on GPUs. NaN is sorted to the end.
    ordered = points.sort(dim=1).values
    number = (~points.isnan()).sum(dim=1, keepdim=True)
    middle = torch.cat([(number - 1).clamp(min=0) // 2, number // 2], dim=1)
    last = max(points.shape[1] - 1, 0)
    return ordered.gather(1, middle.clamp(max=last)).mean(dim=1)


def _with_targets(
    batch: Mapping[str, Tensor],
    is_augmented: Bool[Tensor, "batch"],
    targets: Float[Tensor, "batch views num_keypoints 2"],
    is_kept: Bool[Tensor, "batch views num_keypoints"],
) -> dict[str, Tensor]:
    """Return the batch with the new targets in the frames that are augmented."""
    given = batch["keypoints_targ"]
    targets = torch.where(is_kept[..., None], targets, torch.nan).to(given.dtype)
    targets = rearrange(targets, "b v k xy -> b (v k xy)")
    changed = dict(batch)
    changed["keypoints_targ"] = torch.where(is_augmented[:, None], targets, given)
    if "visibility" in batch:
        is_kept = rearrange(is_kept, "b v k -> b (v k)")
        is_gone = is_augmented[:, None] & ~is_kept & _is_finite(split_xy(given))
        changed["visibility"] = batch["visibility"].masked_fill(is_gone, 0)
    return changed


def _is_finite(points: Float[Tensor, "*batch coordinates"]) -> Bool[Tensor, "*batch"]:
    return points.isfinite().all(dim=-1)


def _is_in_image(
    points: Float[Tensor, "batch views num_keypoints 2"], size: tuple[int, int]
) -> Bool[Tensor, "batch views num_keypoints"]:
    x, y = points.unbind(dim=-1)
    return (x >= 0) & (x <= size[1]) & (y >= 0) & (y <= size[0])


def _is_plausible(
    maps: Float[Tensor, "batch views 2 3"], factor: Float[Tensor, "batch"]
) -> Bool[Tensor, "batch views"]:
    """Return which maps can come from a motion that turns nothing.

    Each must neither mirror nor turn the image by more than 45 degrees, and its singular values
    must not be far from the factor in space.
    """
    (a, b), (c, d) = (row.unbind(-1) for row in maps[..., :2].unbind(-2))
    rotating, mirroring = torch.hypot(a + d, c - b) / 2, torch.hypot(a - d, c + b) / 2
    smallest, largest = rotating - mirroring, rotating + mirroring
    factor = factor[:, None]
    return (
        (a + d > (c - b).abs())
        & (smallest * _LARGEST_STRETCH > factor)
        & (largest < _LARGEST_STRETCH * factor)
    )


def _or_identity(
    maps: Float[Tensor, "batch views 2 3"], is_given: Bool[Tensor, "batch"]
) -> Float[Tensor, "batch views 2 3"]:
    identity = torch.eye(2, 3, dtype=maps.dtype, device=maps.device)
    return torch.where(is_given[:, None, None, None], maps, identity)


def _check(batch: Mapping[str, Tensor], scale: tuple[float, float], shift: float) -> None:
    missing = [name for name in _NEEDED if name not in batch]
    if missing:
        raise MissingInputError(
            f"3D augmentation needs {', '.join(missing)}, which the batch does not hold: it has "
            f"{', '.join(batch) or 'nothing'}. Cameras come from the calibration of the data; "
            "without one, turn training.imgaug_3d off."
        )
    if not 0 < scale[0] <= scale[1] < math.inf:
        raise ArgumentValueError(
            f"scale must be the least and the largest factor, above 0, got {scale!r}"
        )
    if not 0 <= shift < math.inf:
        raise ArgumentValueError(f"shift must be a share of the extent, at least 0, got {shift!r}")
    views, numbers = batch["images"].shape[1], batch["keypoints_targ"].shape[1]
    if numbers % (2 * views):
        raise ShapeError(
            f"keypoints_targ must hold x and y of as many keypoints in each of {views} views, got "
            f"{numbers} numbers a frame"
        )
