"""What the multi-view losses need, derived from keypoints and cameras.

Each function derives the input after which it is named; its parameters name the inputs that it
needs.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lploss.errors import InputTypeError, MissingInputError, ShapeError
from lploss_builtin.ops import affine
from lploss_builtin.ops.geometry import (
    Cameras,
    project_points,
    triangulate_pairs,
    triangulate_views,
)
from lploss_builtin.ops.geometry.cameras import check_points

# What is flattened into one axis, by how many numbers there are of it for a keypoint of a view.
_FLATTENED = {1: "views_x_num_keypoints", 2: "two_x_views_x_num_keypoints", 4: "views_x_4"}


def keypoints_pred_3d(
    keypoints_pred: Float[Tensor, "batch two_x_views_x_num_keypoints"],
    intrinsics: Float[Tensor, "*#batch views 3 3"],
    extrinsics: Float[Tensor, "*#batch views 3 4"],
    distortions: Float[Tensor, "*#batch views num_coefficients"] | None = None,
) -> Float[Tensor, "batch cam_pairs num_keypoints 3"]:
    """Return the triangulation by each pair of views; NaN where there is none."""
    cameras = Cameras(intrinsics, extrinsics, distortions)
    points = _by_view("keypoints_pred", keypoints_pred, cameras, 2)
    return triangulate_pairs(points, cameras)


def keypoints_targ_3d(
    keypoints_targ: Float[Tensor, "batch two_x_views_x_num_keypoints"],
    intrinsics: Float[Tensor, "*#batch views 3 3"],
    extrinsics: Float[Tensor, "*#batch views 3 4"],
    distortions: Float[Tensor, "*#batch views num_coefficients"] | None = None,
) -> Float[Tensor, "batch num_keypoints 3"]:
    """Return the labels in space, by all views that have them; NaN where fewer than two have."""
    cameras = Cameras(intrinsics, extrinsics, distortions)
    with torch.no_grad():
        points = _by_view("keypoints_targ", keypoints_targ, cameras, 2)
        return triangulate_views(points, cameras)


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
        if image_size.shape != (2,):
            raise ShapeError(
                "image_size must hold two numbers, height and width of the model's input, the same "
                f"for all of the batch; got shape {tuple(image_size.shape)}"
            )
        boxes = _by_view("bbox", bbox, cameras, 4)[:, :, 0]
        seen = affine.transform(seen, affine.crop_and_resize(boxes, image_size))
    return rearrange(seen, "batch view k xy -> batch (view k) xy")


def keypoints_pred_from_all_views(
    keypoints_pred: Float[Tensor, "batch two_x_views_x_num_keypoints"],
    intrinsics: Float[Tensor, "*#batch views 3 3"],
    extrinsics: Float[Tensor, "*#batch views 3 4"],
    distortions: Float[Tensor, "*#batch views num_coefficients"] | None = None,
    confidences: Float[Tensor, "batch views_x_num_keypoints"] | None = None,
) -> Float[Tensor, "batch two_x_views_x_num_keypoints"]:
    """Return where each view sees the point on which all views agree best; NaN where on none.

    Confidences weigh the views. The result gets no gradient, as a target gets none: else the views
    that are right would be drawn towards one that is wrong as hard as that one towards them.
    """
    cameras = Cameras(intrinsics, extrinsics, distortions)
    with torch.no_grad():
        points = _by_view("keypoints_pred", keypoints_pred, cameras, 2)
        weights = None
        if confidences is not None:
            weights = _by_view("confidences", confidences, cameras, 1)[..., 0]
            if weights.shape != points.shape[:3]:
                expected = f"{points.shape[0]}, {points.shape[1] * points.shape[2]}"
                raise ShapeError(
                    f"confidences must have shape ({expected}), one for each of keypoints_pred; "
                    f"got {tuple(confidences.shape)}"
                )
        return project_points(triangulate_views(points, cameras, weights), cameras).flatten(1)


def _by_view(
    name: str, values: Float[Tensor, "batch all"], cameras: Cameras, each: int
) -> Float[Tensor, "batch views num_keypoints each"]:
    """Return what is flattened, view after view, with axes of its own."""
    num_views = cameras.num_views
    if not values.dtype.is_floating_point:
        raise InputTypeError(
            f"{name} must hold floating-point numbers, got {values.dtype}. Call {name}.float()."
        )
    if values.ndim != 2 or values.shape[1] % (each * num_views):
        raise ShapeError(
            f"{name} must have axes (batch, {_FLATTENED[each]}), all of view 0, then all of view "
            f"1, ..., for the {num_views} views of the cameras; got shape {tuple(values.shape)}"
        )
    found = rearrange(values, "batch (view k each) -> batch view k each", view=num_views, each=each)
    if each == 2:
        check_points(name, found, cameras)
    return found
