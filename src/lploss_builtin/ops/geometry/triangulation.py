"""From the images of several cameras to points in space.

All of it is the homogeneous direct linear transformation (DLT) on undistorted points: each view
gives two equations in the four homogeneous coordinates of the point, and the solution is the unit
vector with the least squared error, the one that OpenCV's ``triangulatePoints`` returns.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lploss_builtin.ops.geometry.cameras import Cameras, in_best_precision
from lploss_builtin.ops.geometry.distortion import TOLERANCE, undistorted_rays
from lploss_builtin.ops.geometry.projection import (
    extrinsics,
    is_deep,
    linearised_projection,
)
from lploss_builtin.ops.precision import at_least_float32, best_float

# Below this share of a typical one an eigenvalue is rounding.
_ROUNDING = 1e-13
# Of Laguerre's method: one suffices where the views agree.
_NUM_STEPS = 4
# The last step towards the eigenvector squares its error, if that is small.
_LONGEST_STEP = 1e-2
# Keeps a root of zero finite, also in float32.
_TINY = 1e-30
# A point so many times as far away as the cameras are from the origin is at infinity.
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
    views = torch.arange(cameras.num_views, device=points.device)
    found = triangulate_groups(points, cameras, views[None], weights)[:, 0]
    for _ in range(num_refinements):
        found = _refine(found, points, cameras, weights)
    return found


def triangulate_groups(
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    groups: Int[Tensor, "groups views_of_group"],
    weights: Float[Tensor, "batch views num_keypoints"] | None = None,
) -> Float[Tensor, "batch groups num_keypoints 3"]:
    """Triangulate the keypoints by each group of views, of which at least two must see them."""
    cameras = in_best_precision(cameras)
    rays, residual = undistorted_rays(points, cameras)
    # Not matrix products: a million tiny ones cost more than their sums written out.
    poses = extrinsics(cameras).movedim((-2, -1), (0, 1))[..., None]
    right, down, forward = poses
    # That the point lies on the ray of a view, in both directions of the image.
    across, along = rays[:, None] * forward - torch.stack([right, down])
    weights = _weights_of_seen(residual, weights)
    squares = (across[:, None] * across + along[:, None] * along) * weights
    members = groups.unbind(dim=1)
    normal = sum(squares.index_select(3, view) for view in members)
    with torch.no_grad():
        point, inverse = _least_squares(normal)
        seen_by = [weights.index_select(1, view) > 0 for view in members]
        is_found = sum(seen_by) >= 2
        is_found &= inverse.abs().amax(dim=(0, 1)) * _ROUNDING * _trace(normal) < 1
        far = sum(poses[:, 3].index_select(2, view).abs().sum(dim=0) for view in members)
        is_found &= point.abs().sum(dim=0) < _FARTHEST * far
        for view, is_seen in zip(members, seen_by, strict=True):
            x, y, z, shift = poses[2].index_select(2, view)
            depth = x * point[0] + y * point[1] + z * point[2] + shift
            is_found &= is_deep(depth, point, poses[:, 3].index_select(2, view)) | ~is_seen
        point, inverse = torch.where(is_found, point, 0.0), torch.where(is_found, inverse, 0.0)
    step = _newton_step(normal, point, inverse)
    is_found &= step.detach().abs().sum(dim=0) <= _LONGEST_STEP * point.abs().sum(dim=0)
    found = torch.where(is_found, point + step, math.nan).movedim(0, -1)
    return found.to(at_least_float32(points).dtype)


def _weights_of_seen(
    residual: Float[Tensor, "batch views num_keypoints"],
    weights: Float[Tensor, "batch views num_keypoints"] | None,
) -> Float[Tensor, "batch views num_keypoints"]:
    """Return the weights, with zero for what is not seen: a residual of NaN is a large one."""
    is_seen = residual < TOLERANCE
    if weights is None:
        return is_seen.to(residual.dtype)
    return torch.where(is_seen & (weights > 0), best_float(weights), 0.0)


def _least_squares(
    normal: Float[Tensor, "4 4 *batch"],
) -> tuple[Float[Tensor, "3 *batch"], Float[Tensor, "3 3 *batch"]]:
    """Return the point of the eigenvector with the least eigenvalue, and what its slope takes.

    With the normal matrix in blocks, ``[[S, b], [b^T, c]]``, the point of eigenvalue ``v`` is
    ``-(S - v)^-1 b``. Laguerre's method on the characteristic polynomial finds the least ``v``: it
    rises from zero, does not pass it, and triples its digits with each step.

    Returns:
        The point, and ``(S - v)^-1``.
    """
    block, shift, last = normal[:3, :3], normal[:3, 3], normal[3, 3]
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
        # Not sqrt, for which torch starts threads on a CPU however few the numbers are.
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
    normal: Float[Tensor, "4 4 *batch"],
    point: Float[Tensor, "3 *batch"],
    inverse: Float[Tensor, "3 3 *batch"],
) -> Float[Tensor, "3 *batch"]:
    """Return the last step towards the eigenvector, which has the gradient of the eigenvector."""
    vector = torch.cat([point, torch.ones_like(point[:1])])
    residual = (normal * vector).sum(dim=1)
    value = (residual * vector).sum(dim=0) / vector.square().sum(dim=0)
    return -(inverse * (residual[:3] - value * point)).sum(dim=1)


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
    weights: Float[Tensor, "batch views num_keypoints"] | None,
) -> Float[Tensor, "batch num_keypoints 3"]:
    """Return points of a smaller reprojection error, by one step of Gauss-Newton."""
    pixels, jacobian, is_seen = linearised_projection(points_3d, cameras)
    points = best_float(points)
    is_seen = is_seen & (points.detach().abs().sum(dim=-1) < math.inf)
    errors = torch.where(is_seen[..., None], pixels - points, 0.0)
    weighted = (
        jacobian * _weights_of_seen(torch.where(is_seen, 0.0, math.inf), weights)[..., None, None]
    )
    normal = torch.einsum("bvkxi,bvkxj->ijbk", weighted, jacobian)
    slope = torch.einsum("bvkxi,bvkx->ibk", weighted, errors)
    # Not to be stopped by what a single view cannot see.
    size = _trace(normal.detach())
    normal = _plus_diagonal(normal, torch.where(size > 0, _DAMPING * size, 1.0))
    step = (_inverse(normal) * slope).sum(dim=1).movedim(0, -1)
    return (best_float(points_3d) - step).to(points_3d.dtype)
