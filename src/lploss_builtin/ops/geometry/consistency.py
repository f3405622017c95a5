"""How well the views of a point agree, for looking at data."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lploss_builtin.ops.geometry.cameras import Cameras, check_points
from lploss_builtin.ops.geometry.projection import project_points
from lploss_builtin.ops.geometry.triangulation import (
    camera_pairs,
    triangulate_groups,
    triangulate_views,
)


def reprojection_error(
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    weights: Float[Tensor, "batch views num_keypoints"] | None = None,
) -> Float[Tensor, "batch views num_keypoints"]:
    """Return how far each view's keypoint lies from where all views together put it, px.

    Args:
        points: px in the images of the cameras; NaN where there is none.
        cameras: the cameras.
        weights: of the views, see `triangulate_views`.

    Returns:
        NaN where a view has no keypoint, or no point in space explains the views.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> poses = torch.eye(3, 4).repeat(2, 1, 1)
        >>> poses[1, 0, 3] = -1.0
        >>> cameras = Cameras(pinhole.expand(2, 3, 3), poses)
        >>> points = torch.tensor([[[[320.0, 240.0]], [[220.0, 250.0]]]])
        >>> reprojection_error(points, cameras).round(decimals=2)
        tensor([[[5.],
                 [5.]]])
    """
    found = triangulate_views(points, cameras, weights)
    return _distance(points, project_points(found, cameras))


def pairwise_reprojection_error(
    points: Float[Tensor, "batch views num_keypoints 2"], cameras: Cameras
) -> Float[Tensor, "batch cam_pairs 2 num_keypoints"]:
    """Return how far each keypoint lies from where a pair of views puts it, in both of them, px.

    Args:
        points: px in the images of the cameras; NaN where there is none.
        cameras: the cameras.

    Returns:
        Pairs in the order of `itertools.combinations`; NaN as in `reprojection_error`.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> poses = torch.eye(3, 4).repeat(2, 1, 1)
        >>> poses[1, 0, 3] = -1.0
        >>> cameras = Cameras(pinhole.expand(2, 3, 3), poses)
        >>> points = torch.tensor([[[[320.0, 240.0]], [[220.0, 250.0]]]])
        >>> pairwise_reprojection_error(points, cameras).round(decimals=2)
        tensor([[[[5.],
                  [5.]]]])
    """
    pairs = camera_pairs(cameras.num_views, points.device)
    return _error_of_groups(points, cameras, pairs, pairs)


def left_one_out_error(
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    weights: Float[Tensor, "batch views num_keypoints"] | None = None,
) -> Float[Tensor, "batch views num_keypoints"]:
    """Return how far each view's keypoint lies from where all other views put it, px.

    Args:
        points: px in the images of the cameras; NaN where there is none.
        cameras: the cameras; with fewer than three there is nothing to compare with.
        weights: of the views, see `triangulate_views`.

    Returns:
        NaN as in `reprojection_error`; also where fewer than two other views see the keypoint.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> poses = torch.eye(3, 4).repeat(3, 1, 1)
        >>> poses[:, 0, 3] = torch.tensor([0.0, -1.0, -2.0])
        >>> cameras = Cameras(pinhole.expand(3, 3, 3), poses)
        >>> points = torch.tensor([[[[320.0, 240.0]], [[220.0, 240.0]], [[120.0, 250.0]]]])
        >>> left_one_out_error(points, cameras)[:, 2].round(decimals=2)
        tensor([[10.]])
    """
    check_points("points", points, cameras, weights)
    if cameras.num_views < 2:
        return _distance(points, torch.full_like(points, math.nan))
    views = torch.arange(cameras.num_views, device=points.device)
    others = views[:-1] + (views[:-1] >= views[:, None])
    return _error_of_groups(points, cameras, others, views[:, None], weights)[:, :, 0]


def _error_of_groups(
    points: Float[Tensor, "batch views num_keypoints 2"],
    cameras: Cameras,
    groups: Int[Tensor, "groups views_of_group"],
    seen_by: Int[Tensor, "groups views_that_see"],
    weights: Float[Tensor, "batch views num_keypoints"] | None = None,
) -> Float[Tensor, "batch groups views_that_see num_keypoints"]:
    """Return how far keypoints of some views lie from where each group of views puts them."""
    found = triangulate_groups(points, cameras, groups, weights)
    seen = project_points(rearrange(found, "batch group k xyz -> batch (group k) xyz"), cameras)
    seen = torch.unflatten(seen, 2, (len(groups), points.shape[2])).transpose(1, 2)
    each = torch.arange(len(groups), device=points.device)[:, None]
    return _distance(points[:, seen_by], seen[:, each, seen_by])


def _distance(
    points: Float[Tensor, "*batch 2"], seen: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch"]:
    """Return the distance; NaN, with a gradient of zero, where a point is not finite."""
    difference = seen - points
    is_finite = difference.detach().abs().amax(dim=-1) < math.inf
    distance = torch.linalg.vector_norm(torch.where(is_finite[..., None], difference, 0.0), dim=-1)
    return torch.where(is_finite, distance, math.nan)
