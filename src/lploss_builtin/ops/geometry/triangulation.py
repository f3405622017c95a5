"""From the images of several cameras to points in space.

All of it is the homogeneous direct linear transformation (DLT) on undistorted points: each view
gives two equations in the four homogeneous coordinates of the point, and the solution is the unit
vector with the least squared error: what OpenCV's ``triangulatePoints`` returns where the world has
its origin in the centre of these cameras and their spread as its unit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lploss.errors import ArgumentValueError
from lploss_builtin.ops.geometry.cameras import Cameras, check_points, in_best_precision
from lploss_builtin.ops.geometry.distortion import TOLERANCE, undistorted_rays
from lploss_builtin.ops.geometry.projection import (
    extrinsics,
    is_deep,
    linearised_projection,
)
from lploss_builtin.ops.precision import at_least_float32, best_float

# Condition of the normal matrix, from which on rounding decides where a point is: the rays meet at
# an angle of less than some 1e-3, or all weight is on one.
_LARGEST_CONDITION = 1e7
# Of Laguerre's method: one suffices where the views agree.
_NUM_STEPS = 4
# A step of Newton's method towards the eigenvector squares its error, if that is small.
_LONGEST_STEP = 1e-2
# Keeps a root of zero finite, also in float32.
_TINY = 1e-30
# A point so many times as far away as the cameras are from each other is at infinity.
_FARTHEST = 1e4
# Of a Gauss-Newton step, as a share of the curvature.
_DAMPING = 1e-9


def camera_pairs(num_views: int, device: torch.device | None = None) -> Int[Tensor, "cam_pairs 2"]:
    """Return the numbers of the cameras of each pair, in the order of the pairs.

    Example:
        >>> camera_pairs(3).tolist()
        [[0, 1], [0, 2], [1, 2]]
    """
    # Not torch.combinations, which waits for the device.
    return torch.triu_indices(num_views, num_views, 1, device=device).T


def triangulate_pairs(
    points: Float[Tensor, "batch views num_keypoints 2"], cameras: Cameras
) -> Float[Tensor, "batch cam_pairs num_keypoints 3"]:
    """Return where each pair of cameras sees the keypoints in space.

    NaN, with a gradient of zero, is what no point in space explains: a keypoint that is missing
    in a view or beyond the fold of its lens, rays that are parallel, cameras that coincide, a
    point behind a camera.

    Args:
        points: px in the images of the cameras; NaN where there is none.
        cameras: the cameras.

    Returns:
        In the unit of the calibration; pairs in the order of `itertools.combinations`.

    Source: Hartley and Zisserman, Multiple View Geometry, section 12.2.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> left, right = torch.eye(3, 4), torch.eye(3, 4)
        >>> right[0, 3] = -1.0
        >>> cameras = Cameras(pinhole.expand(2, 3, 3), torch.stack([left, right]))
        >>> points = torch.tensor([[[[320.0, 240.0]], [[220.0, 240.0]]]])
        >>> triangulate_pairs(points, cameras).round(decimals=3).abs()
        tensor([[[[0., 0., 5.]]]])
    """
    return triangulate_groups(points, cameras, camera_pairs(cameras.num_views, points.device))


def triangulate_views(
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    weights: Float[Tensor, "batch views num_keypoints"] | None = None,
    *,
    num_refinements: int = 0,
) -> Float[Tensor, "batch num_keypoints 3"]:
    """Return where all cameras together see the keypoints in space.

    NaN, with a gradient of zero, is what fewer than two views see, and what no point in space
    explains: see `triangulate_pairs`.

    Args:
        points: px in the images of the cameras; NaN where there is none.
        cameras: the cameras.
        weights: of the squared errors of each view, at least 0, such as confidences; NaN and 0:
            the view does not see the keypoint.
        num_refinements: steps of Gauss-Newton from there towards the least weighted squared
            reprojection error.

    Returns:
        In the unit of the calibration.

    Source: Hartley and Zisserman, Multiple View Geometry, sections 12.2 and 12.3.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> left, right = torch.eye(3, 4), torch.eye(3, 4)
        >>> right[0, 3] = -1.0
        >>> cameras = Cameras(pinhole.expand(2, 3, 3), torch.stack([left, right]))
        >>> points = torch.tensor([[[[320.0, 240.0]], [[220.0, 240.0]]]])
        >>> triangulate_views(points, cameras).round(decimals=3).abs()
        tensor([[[0., 0., 5.]]])
    """
    if num_refinements < 0:
        raise ArgumentValueError(f"num_refinements must be at least 0, got {num_refinements}")
    cameras = in_best_precision(cameras)
    rays, seen = _rays_and_weights(points, cameras, weights)
    views = torch.arange(cameras.num_views, device=points.device)
    found = _intersection(rays, seen, cameras, views[None])[:, 0]
    for _ in range(num_refinements):
        found = _refine(found, best_float(points), cameras, seen)
    return found.to(at_least_float32(points).dtype)


def triangulate_groups(
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    groups: Int[Tensor, "groups views_of_group"],
    weights: Float[Tensor, "batch views num_keypoints"] | None = None,
) -> Float[Tensor, "batch groups num_keypoints 3"]:
    """Triangulate the keypoints by each group of views, of which at least two must see them."""
    cameras = in_best_precision(cameras)
    rays, seen = _rays_and_weights(points, cameras, weights)
    return _intersection(rays, seen, cameras, groups).to(at_least_float32(points).dtype)


def _rays_and_weights(
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    weights: Float[Tensor, "batch views num_keypoints"] | None,
) -> tuple[
    Float[Tensor, "2 batch views num_keypoints"], Float[Tensor, "batch views num_keypoints"]
]:
    """Return whence the points are seen, and the weights, with zero for what is not seen."""
    check_points("points", points, cameras, weights)
    rays, residual = undistorted_rays(points, cameras)
    is_seen = residual < TOLERANCE  # which NaN is not
    if weights is None:
        return rays, is_seen.to(residual.dtype)
    return rays, torch.where(is_seen & (weights > 0), best_float(weights), 0.0)


def _intersection(
    rays: Float[Tensor, "2 batch views num_keypoints"],
    weights: Float[Tensor, "batch views num_keypoints"],
    cameras: Cameras,
    groups: Int[Tensor, "groups views_of_group"],
) -> Float[Tensor, "batch groups num_keypoints 3"]:
    """Return where the rays of each group of views meet, NaN where they do not."""
    # Not matrix products: a million tiny ones cost more than their sums written out.
    poses = extrinsics(cameras).movedim((-2, -1), (0, 1))[..., None]
    right, down, forward = poses
    # That the point lies on the ray of a view, in both directions of the image.
    across, along = rays[:, None] * forward - torch.stack([right, down])
    squares = (across[:, None] * across + along[:, None] * along) * weights
    members = groups.unbind(dim=1)
    normal = sum(squares.index_select(3, view) for view in members)
    with torch.no_grad():
        seen_by = [weights.index_select(1, view) > 0 for view in members]
        is_found = sum(seen_by) >= 2
    places = -(poses[:, :3] * poses[:, 3:]).sum(dim=0)
    frame = _frame_of([places.index_select(2, view) for view in members], seen_by)
    normal = _in_frame(normal, frame)
    with torch.no_grad():
        point, inverse = _least_squares(normal)
        step = _newton_step(normal, point, inverse)
        distance = point.abs().sum(dim=0)
        is_found &= (distance < _FARTHEST) & (
            step.abs().sum(dim=0) <= _LONGEST_STEP * (1 + distance)
        )
        point = point + step
        is_found &= _trace(normal.block) * inverse.abs().amax(dim=(0, 1)) < _LARGEST_CONDITION
        inverse = torch.where(is_found, inverse, 0.0)
        point = torch.where(is_found, point, 0.0)
        in_world = frame.centre + frame.size * point
        for view, is_seen in zip(members, seen_by, strict=True):
            x, y, z, shift = poses[2].index_select(2, view)
            depth = x * in_world[0] + y * in_world[1] + z * in_world[2] + shift
            is_found &= is_deep(depth, in_world, poses[:, 3].index_select(2, view)) | ~is_seen
        inverse = torch.where(is_found, inverse, 0.0)
    point = frame.centre + frame.size * (point + _newton_step(normal, point, inverse))
    return torch.where(is_found, point, math.nan).movedim(0, -1)


class _Frame(NamedTuple):
    """An origin and a unit of the world."""

    centre: Float[Tensor, "3 *batch"]
    size: Float[Tensor, "*batch"]


class _Normal(NamedTuple):
    """The normal matrix of the equations in blocks: ``[[block, shift], [shift, last]]``."""

    block: Float[Tensor, "3 3 *batch"]
    shift: Float[Tensor, "3 *batch"]
    last: Float[Tensor, "*batch"]


def _frame_of(
    places: list[Float[Tensor, "3 #batch groups 1"]],
    seen_by: list[Bool[Tensor, "batch groups num_keypoints"]],
) -> _Frame:
    """Return the centre of the cameras that see a point, and how far they are from it.

    The length of a homogeneous vector depends on the origin and the unit of the world: in
    millimetres, a point next to the origin would be moved by centimetres. Measured from the centre
    of the cameras, in units of their spread, it does not.
    """
    number = sum(seen_by).clamp(min=1)  # type: ignore[union-attr]
    centre = sum(place * is_seen for place, is_seen in zip(places, seen_by, strict=True)) / number
    apart = [(place - centre).square().sum(dim=0) for place in places]
    spread = sum(a * is_seen for a, is_seen in zip(apart, seen_by, strict=True)) / number
    # Where the cameras coincide, nothing is found anyway.
    spread = torch.where(spread > _TINY, spread, 1.0)
    # Not sqrt, for which torch starts threads on a CPU however few the numbers are.
    return _Frame(centre, spread * spread.rsqrt())


def _in_frame(normal: Float[Tensor, "4 4 *batch"], frame: _Frame) -> _Normal:
    """Return the normal matrix of the equations in another frame, over the square of its unit."""
    centre = torch.cat([frame.centre, torch.ones_like(frame.centre[:1])])
    product = (normal * centre).sum(dim=1)
    last = (product * centre).sum(dim=0)
    return _Normal(normal[:3, :3], product[:3] / frame.size, last / frame.size.square())


def _least_squares(
    normal: _Normal,
) -> tuple[Float[Tensor, "3 *batch"], Float[Tensor, "3 3 *batch"]]:
    """Return the point of the eigenvector with the least eigenvalue, and what its slope takes.

    With the normal matrix in blocks, ``[[S, b], [b^T, c]]``, the point of eigenvalue ``v`` is
    ``-(S - v)^-1 b``. Laguerre's method on the characteristic polynomial finds the least ``v``: it
    rises from zero, does not pass it, and triples its digits with each step.

    Returns:
        The point, and ``(S - v)^-1``.
    """
    block, shift, last = normal
    value = torch.zeros_like(last)
    for _ in range(_NUM_STEPS):
        inverse = _inverse(_plus_diagonal(block, -value))
        point = -(inverse * shift).sum(dim=1)
        # The polynomial is det(S - v) miss; these are its derivatives over it, times miss.
        miss = last - value + (shift * point).sum(dim=0)
        norm = 1 + point.square().sum(dim=0)
        first = norm + miss * _trace(inverse)
        second = 2 * (point * (inverse * point).sum(dim=1)).sum(dim=0)
        second = norm.square() + miss * (second + miss * inverse.square().sum(dim=(0, 1)))
        square = 3 * (4 * second - first.square())
        root = square * square.clamp(min=_TINY).rsqrt()
        value = value + 4 * miss / (first + root)
    inverse = _inverse(_plus_diagonal(block, -value))
    return -(inverse * shift).sum(dim=1), inverse


def _inverse(matrix: Float[Tensor, "3 3 *batch"]) -> Float[Tensor, "3 3 *batch"]:
    """Return the inverse of a symmetric matrix."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = matrix
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    d, e, f = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    cofactors = torch.stack([a, b, c, b, d, e, c, e, f]).view(3, 3, *a.shape)
    return cofactors / (xx * a + xy * b + xz * c)


def _newton_step(
    normal: _Normal, point: Float[Tensor, "3 *batch"], inverse: Float[Tensor, "3 3 *batch"]
) -> Float[Tensor, "3 *batch"]:
    """Return a step towards the eigenvector; the last one has the gradient of the eigenvector."""
    block, shift, last = normal
    residual = (block * point).sum(dim=1) + shift
    value = (residual * point).sum(dim=0) + (shift * point).sum(dim=0) + last
    value = value / (1 + point.square().sum(dim=0))
    return -(inverse * (residual - value * point)).sum(dim=1)


def _trace(matrix: Float[Tensor, "n m *batch"]) -> Float[Tensor, "*batch"]:
    """Return the sum of the first three entries on the diagonal."""
    return matrix[0, 0] + matrix[1, 1] + matrix[2, 2]


def _plus_diagonal(
    matrix: Float[Tensor, "3 3 *batch"], value: Float[Tensor, "*batch"]
) -> Float[Tensor, "3 3 *batch"]:
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    return matrix + identity[(..., *[None] * value.ndim)] * value


def _refine(
    points_3d: Float[Tensor, "batch num_keypoints 3"],
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    weights: Float[Tensor, "batch views num_keypoints"],
) -> Float[Tensor, "batch num_keypoints 3"]:
    """Return points of a smaller reprojection error, by one step of Gauss-Newton."""
    pixels, jacobian, is_seen = linearised_projection(points_3d, cameras)
    is_seen = is_seen & (weights > 0)
    errors = torch.where(is_seen[..., None], pixels - points, 0.0)
    weighted = jacobian * torch.where(is_seen, weights, 0.0)[..., None, None]
    normal = torch.einsum("bvkxi,bvkxj->ijbk", weighted, jacobian)
    slope = torch.einsum("bvkxi,bvkx->ibk", weighted, errors)
    # Not to be stopped by what a single view cannot see.
    size = _trace(normal.detach())
    normal = _plus_diagonal(normal, torch.where(size > 0, _DAMPING * size, 1.0))
    return points_3d - (_inverse(normal) * slope).sum(dim=1).movedim(0, -1)
