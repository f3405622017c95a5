"""From the images of several cameras to points in space.

All of it is the homogeneous direct linear transformation (DLT) on undistorted points: each view
gives two equations in the four homogeneous coordinates of the point, and the solution is the unit
vector with the least squared error, the one that OpenCV's ``triangulatePoints`` returns.
"""

from __future__ import annotations

import itertools
import math

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lploss_builtin.ops.geometry.cameras import Cameras
from lploss_builtin.ops.geometry.distortion import TOLERANCE, undistorted_rays
from lploss_builtin.ops.geometry.projection import (
    extrinsics,
    is_deep,
    linearised_projection,
)
from lploss_builtin.ops.precision import at_least_float32, best_float, without_autocast

# Below this share of a typical one an eigenvalue is rounding.
_ROUNDING = 1e-13
# The inverse is squared so often: what is left of the second eigenvector is its 64th power.
_NUM_SQUARINGS = 6
# The last step towards the eigenvector squares its error, if that is small.
_LONGEST_STEP = 1e-2
# A point so many times as far away as the cameras are from the origin is at infinity.
_FARTHEST = 1e4
# Of a Gauss-Newton step, as a share of the curvature.
_DAMPING = 1e-9


def camera_pairs(num_views: int) -> list[list[int]]:
    """Return the numbers of the two cameras of each pair, in the order of the pairs.

    Example:
        >>> camera_pairs(3)
        [[0, 1], [0, 2], [1, 2]]
    """
    return [list(pair) for pair in itertools.combinations(range(num_views), 2)]


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
        >>> triangulate_pairs(points, cameras).round(decimals=3)
        tensor([[[[0., 0., 5.]]]])
    """
    views = torch.arange(cameras.num_views, device=points.device)
    return triangulate_groups(points, cameras, torch.combinations(views))


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
        >>> triangulate_views(points, cameras).round(decimals=3)
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
    with without_autocast(points.device):
        (x, y), residual = undistorted_rays(points, cameras)
        right, down, forward = extrinsics(cameras)[:, :, None].unbind(dim=-2)
        # That the point lies on the ray of a view, in both directions of the image.
        equations = torch.stack(
            [x[..., None] * forward - right, y[..., None] * forward - down], dim=-2
        )
        weights = _weights_of_seen(residual, weights)[:, groups]
        enough = (weights > 0).sum(dim=2, keepdim=True) >= 2
        weights = torch.where(enough, weights, 0.0)
        homogeneous, is_found = _least_eigenvector(
            rearrange(
                equations[:, groups], "batch group view k two i -> batch group k (view two) i"
            ),
            repeat(weights, "batch group view k -> batch group k (view two)", two=2),
        )
        with torch.no_grad():
            poses = extrinsics(cameras)[:, groups]
            is_found = is_found & _is_in_front_of_all(homogeneous, poses, weights)
        # Not a division that is undone later, whose gradient would be NaN.
        scale = torch.where(is_found, homogeneous[..., 3], 1.0)
        found = homogeneous[..., :3] / scale[..., None]
        found = torch.where(is_found[..., None], found, math.nan)
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


def _is_in_front_of_all(
    homogeneous: Float[Tensor, "batch groups num_keypoints 4"],
    poses: Float[Tensor, "#batch groups views_of_group 3 4"],
    weights: Float[Tensor, "batch groups views_of_group num_keypoints"],
) -> Bool[Tensor, "batch groups num_keypoints"]:
    """Return which points lie in front of all cameras that see them, and not at infinity."""
    point, scale = homogeneous[..., :3], homogeneous[..., 3]
    farthest = _FARTHEST * poses[..., 3].abs().sum(dim=(-2, -1))[..., None]
    is_near = point.abs().sum(dim=-1) < farthest * scale.abs()
    points = (point / torch.where(is_near, scale, 1.0)[..., None])[:, :, None]
    forward, shift = poses[..., None, 2, :3], poses[..., 3]
    depth = (points * forward).sum(dim=-1) + shift[..., 2:]
    return is_near & (is_deep(depth, points, shift) | (weights == 0)).all(dim=2)


def _least_eigenvector(
    equations: Float[Tensor, "*batch num_equations 4"],
    weights: Float[Tensor, "*batch num_equations"],
) -> tuple[Float[Tensor, "*batch 4"], Bool[Tensor, "*batch"]]:
    """Return the unit vector with the least weighted squared error, and where there is one.

    That is an eigenvector of a symmetric matrix: the one that dominates high powers of its
    inverse. A last step of Newton's method makes it exact, and has its gradient.
    """
    with torch.no_grad():
        normal = (equations * weights[..., None]).mT @ equations
        # Rotations have no unit: this block is of the size of 1, whatever that of the world is.
        size = _trace(normal[..., :3, :3])
        is_given = size > 0
        size = torch.where(is_given, size, 1.0)
        identity = torch.eye(4, dtype=normal.dtype, device=normal.device)
        normal = torch.where(is_given, normal / size, identity)
        power, _ = torch.linalg.inv_ex(normal + _ROUNDING * identity)
        for _ in range(_NUM_SQUARINGS):
            power = power / _trace(power)
            power = power @ power
        # The columns are multiples of one vector; the longest is known best.
        longest = power.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)[..., None, None]
        vector = power.gather(-1, longest.expand(*power.shape[:-1], 1))
        vector = vector / vector.square().sum(dim=-2, keepdim=True).sqrt()
        value = (vector * (normal @ vector)).sum(dim=-2, keepdim=True)
        projector = vector * vector.mT
        inverse, _ = torch.linalg.inv_ex(normal - value * identity + projector)
        # Negative: another eigenvalue is less. Large: another one is the same, but for rounding.
        is_least = (inverse.diagonal(dim1=-2, dim2=-1) > 0).all(dim=-1)[..., None, None]
        is_only = _ROUNDING * inverse.abs().amax(dim=(-2, -1), keepdim=True) < 1
        is_found = is_given & is_least & is_only
        inverse = inverse - projector
        inverse = torch.where(is_found, inverse, 0.0)
        vector = torch.where(is_found, vector, 0.5)[..., 0]
    errors = weights * (equations * vector[..., None, :]).sum(dim=-1)
    slope = (equations * errors[..., None]).sum(dim=-2) / size[..., 0] - value[..., 0] * vector
    step = (inverse * slope[..., None, :]).sum(dim=-1)
    is_exact = step.detach().abs().amax(dim=-1) < _LONGEST_STEP
    return vector - step, is_found[..., 0, 0] & is_exact


def _trace(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch 1 1"]:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[..., None, None]


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
    normal = torch.einsum("bvkxi,bvkxj->bkij", weighted, jacobian)
    slope = torch.einsum("bvkxi,bvkx->bki", weighted, errors)
    # Not to be stopped by what a single view cannot see.
    size = _trace(normal.detach())
    identity = torch.eye(3, dtype=normal.dtype, device=normal.device)
    normal = normal + torch.where(size > 0, _DAMPING * size, 1.0) * identity
    step, _ = torch.linalg.solve_ex(normal, slope)
    return (best_float(points_3d) - step).to(points_3d.dtype)
