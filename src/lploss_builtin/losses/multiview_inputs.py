"""What the multi-view losses need, derived from keypoints and cameras.

Each function derives the input after which it is named; its parameters name the inputs that it
needs.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lploss.errors import MissingInputError, ShapeError
from lploss_builtin.ops import affine
from lploss_builtin.ops.geometry import (
    Cameras,
    project_points,
    triangulate_pairs,
    triangulate_views,
)


def keypoints_pred_3d(
    keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
    intrinsics: Float[Tensor, "*#batch views 3 3"],
    extrinsics: Float[Tensor, "*#batch views 3 4"],
    distortions: Float[Tensor, "*#batch views num_coefficients"] | None = None,
) -> Float[Tensor, "batch cam_pairs num_keypoints 3"]:
    """Return the triangulation by each pair of views; NaN where there is none."""
    cameras = Cameras(intrinsics, extrinsics, distortions)
    return triangulate_pairs(_by_view("keypoints_pred", keypoints_pred, cameras), cameras)


def keypoints_targ_3d(
    keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
    intrinsics: Float[Tensor, "*#batch views 3 3"],
    extrinsics: Float[Tensor, "*#batch views 3 4"],
    distortions: Float[Tensor, "*#batch views num_coefficients"] | None = None,
) -> Float[Tensor, "batch num_keypoints 3"]:
    """Return the labels in space, by all views that have them; NaN where fewer than two have."""
    cameras = Cameras(intrinsics, extrinsics, distortions)
    with torch.no_grad():
        return triangulate_views(_by_view("keypoints_targ", keypoints_targ, cameras), cameras)


def keypoints_pred_2d_reprojected(
    keypoints_pred_3d: Float[Tensor, "batch cam_pairs num_keypoints 3"],
    intrinsics: Float[Tensor, "*#batch views 3 3"],
    extrinsics: Float[Tensor, "*#batch views 3 4"],
    distortions: Float[Tensor, "*#batch views num_coefficients"] | None = None,
    bbox: Float[Tensor, "batch views_x_4"] | None = None,
    image_size: Float[Tensor, "2"] | None = None,
) -> Float[Tensor, "batch views_x_num_keypoints 2"]:
    """Return where the mean over the pairs is seen in each view, px in the model's input image.

    Without ``bbox`` and ``image_size`` the model's input is the original image.
    """
    if (bbox is None) is not (image_size is None):
        there, lacking = ("bbox", "image_size") if image_size is None else ("image_size", "bbox")
        raise MissingInputError(
            f"{there} is there and {lacking} is not: to crop and resize takes both. bbox holds x, "
            "y, height and width of each view's crop, px in the original image (of the whole image "
            "where nothing is cropped), image_size the height and width of the model's input, px."
        )
    cameras = Cameras(intrinsics, extrinsics, distortions)
    # A pair that cannot tell is left out of the mean.
    is_found = keypoints_pred_3d.detach().isfinite().all(dim=-1, keepdim=True)
    total = torch.where(is_found, keypoints_pred_3d, 0.0).sum(dim=1)
    seen = project_points(total / is_found.sum(dim=1), cameras)
    if bbox is not None and image_size is not None:
        boxes = torch.unflatten(bbox, -1, (cameras.num_views, 4))
        seen = affine.transform(seen, affine.crop_and_resize(boxes, image_size))
    return rearrange(seen, "batch view k xy -> batch (view k) xy")


def keypoints_pred_from_all_views(
    keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
    intrinsics: Float[Tensor, "*#batch views 3 3"],
    extrinsics: Float[Tensor, "*#batch views 3 4"],
    distortions: Float[Tensor, "*#batch views num_coefficients"] | None = None,
    confidences: Float[Tensor, "batch num_keypoints"] | None = None,
) -> Float[Tensor, "batch two_x_num_keypoints"]:
    """Return where each view sees the point on which all views agree best; NaN where on none.

    Confidences weigh the views; they get no gradient, for that would reward a network for being
    unsure where its views disagree.
    """
    cameras = Cameras(intrinsics, extrinsics, distortions)
    weights = None
    if confidences is not None:
        weights = rearrange(confidences.detach(), "b (view k) -> b view k", view=cameras.num_views)
    points = triangulate_views(
        _by_view("keypoints_pred", keypoints_pred, cameras), cameras, weights
    )
    return project_points(points, cameras).flatten(1)


def _by_view(
    name: str, keypoints: Float[Tensor, "batch two_x_num_keypoints"], cameras: Cameras
) -> Float[Tensor, "batch views num_keypoints 2"]:
    num_views = cameras.num_views
    if keypoints.ndim != 2 or keypoints.shape[1] % (2 * num_views):
        raise ShapeError(
            f"{name} must have axes (batch, two_x_views_x_num_keypoints), all keypoints of view 0, "
            f"then of view 1, ..., for the {num_views} views of the cameras; got shape "
            f"{tuple(keypoints.shape)}"
        )
    return rearrange(keypoints, "batch (view k xy) -> batch view k xy", view=num_views, xy=2)
