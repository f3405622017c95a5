"""From points in space to the images of cameras."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lploss_builtin.ops.geometry.cameras import Cameras, check_points, in_best_precision
from lploss_builtin.ops.geometry.distortion import distort, in_pixels, lens_of
from lploss_builtin.ops.precision import at_least_float32, best_float

# A depth below this share of the numbers that it is the sum of is a matter of rounding.
_ROUNDING = 1e-9
# Farther off the axis than this slope, which is a right angle in all but name, nothing is seen.
_STEEPEST = 1e6


def project_points(
    points_3d: Float[Tensor, "batch num_keypoints 3"], cameras: Cameras
) -> Float[Tensor, "batch views num_keypoints 2"]:
    """Return where the cameras see points in space.

    What a camera cannot see is NaN in its view, with a gradient of zero: what is not in front of
    it, or so far off its axis that the distortion has folded over, where the formula would put
    it back into the image.

    Args:
        points_3d: in the unit of the calibration; NaN stays NaN.
        cameras: the cameras.

    Returns:
        Px in the images of the cameras, distortion included, as OpenCV's ``projectPoints``.

    Example:
        >>> pinhole = torch.tensor([[[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]])
        >>> cameras = Cameras(pinhole, torch.eye(3, 4)[None])
        >>> project_points(torch.tensor([[[0.0, 0.1, 1.0], [0.0, 0.1, -1.0]]]), cameras)
        tensor([[[[320., 290.],
                  [ nan,  nan]]]])
    """
    check_points("points_3d", points_3d, cameras, in_space=True)
    cameras = in_best_precision(cameras)
    directions, _, is_seen = _directions(best_float(points_3d), cameras)
    lens = lens_of(cameras)
    if lens is not None:
        bent = distort(directions, lens)
        directions, is_seen = bent.directions, is_seen & bent.is_inside.detach()
    seen = torch.where(is_seen[..., None], in_pixels(directions, cameras), math.nan)
    return seen.to(at_least_float32(points_3d).dtype)


class Linearised(NamedTuple):
    """Where the cameras see points, and how that moves with the points.

    Attributes:
        pixels: ``batch views num_keypoints 2``; any finite number where nothing is seen.
        jacobian: by the coordinates of the points, ``batch views num_keypoints 2 3``.
        is_seen: ``batch views num_keypoints``.
    """

    pixels: Tensor
    jacobian: Tensor
    is_seen: Tensor


def linearised_projection(
    points_3d: Float[Tensor, "batch num_keypoints 3"], cameras: Cameras
) -> Linearised:
    """Return what `project_points` does, and its derivative; both can be differentiated.

    Example:
        >>> pinhole = torch.tensor([[[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]])
        >>> cameras = Cameras(pinhole, torch.eye(3, 4)[None])
        >>> linearised_projection(torch.tensor([[[0.0, 0.5, 1.0]]]), cameras).jacobian
        tensor([[[[[ 500.,    0.,    0.],
                   [   0.,  500., -250.]]]]], dtype=torch.float64)
    """
    directions, depth, is_seen = _directions(best_float(points_3d), cameras)
    poses = extrinsics(cameras)[..., :3].movedim((-2, -1), (0, 1))[..., None]
    jacobian = (poses[:2] - directions[:, None] * poses[2]) / depth
    lens = lens_of(cameras)
    if lens is not None:
        bent = distort(directions, lens)
        directions, is_seen = bent.directions, is_seen & bent.is_inside.detach()
        jacobian = (bent.jacobian[:, :, None] * jacobian).sum(dim=1)
    scale = best_float(cameras.intrinsics)[..., None, :2, :2]
    jacobian = scale @ jacobian.movedim((0, 1), (-2, -1))
    return Linearised(in_pixels(directions, cameras), jacobian, is_seen)


def _directions(
    points: Float[Tensor, "batch num_keypoints 3"], cameras: Cameras
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the directions of points from each camera, their depths, and which can be seen.

    What cannot be seen is put on the axis of the camera, at depth 1, with a gradient of zero.
    """
    is_given = points.detach().abs().sum(dim=-1) < math.inf
    points = torch.where(is_given[..., None], points, 0.0)
    x, y, depth = to_camera(points, cameras)
    shift = extrinsics(cameras)[..., 3, None].movedim(-2, 0)
    is_seen = is_given[:, None] & is_deep(depth, points[:, None].movedim(-1, 0), shift)
    is_seen &= depth * _STEEPEST > x.abs() + y.abs()
    # Before the division, not after it, whose gradient would be NaN.
    depth = torch.where(is_seen, depth, 1.0)
    return torch.where(is_seen, torch.stack([x, y]), 0.0) / depth, depth, is_seen


def to_camera(
    points: Float[Tensor, "batch num_keypoints 3"], cameras: Cameras
) -> Float[Tensor, "3 batch views num_keypoints"]:
    """Return the points in the coordinates of each camera: right, down, forward."""
    # Not a matrix product: thousands of tiny ones cost more than their sums written out.
    poses = extrinsics(cameras).movedim((-2, -1), (0, 1))[..., None]
    x, y, z = points[:, None].unbind(dim=-1)
    return poses[:, 0] * x + poses[:, 1] * y + poses[:, 2] * z + poses[:, 3]


def extrinsics(cameras: Cameras) -> Float[Tensor, "#batch views 3 4"]:
    """Return the extrinsics with a batch axis, of size 1 where all share them."""
    poses = best_float(cameras.extrinsics)
    return poses if poses.dim() == 4 else poses[None]


def is_deep(
    depth: Float[Tensor, "*batch"],
    points: Float[Tensor, "3 *#batch"],
    shift: Float[Tensor, "3 *#batch"],
) -> Bool[Tensor, "*batch"]:
    """Return which depths are above zero, by more than rounding.

    Args:
        depth: along the axis of a camera.
        points: of which it is the depth.
        shift: the camera's translation.
    """
    return depth > _ROUNDING * (shift.abs().sum(dim=0) + points.abs().sum(dim=0))
