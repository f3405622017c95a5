"""Losses between calibrated views, and what they are derived from."""

from __future__ import annotations

from lploss import InputSpec, LossSpec, hookimpl

_LOSSES = "lploss_builtin.losses.multiview"
_INPUTS = "lploss_builtin.losses.multiview_inputs"
_STRATEGIES = "lploss_builtin.strategies"


@hookimpl
def lploss_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "supervised_pairwise_projections",
            f"{_LOSSES}:PairwiseProjectionsLoss",
            "each pair of views finds the labelled point in 3D",
        ),
        LossSpec(
            "supervised_reprojection_heatmap_mse",
            f"{_LOSSES}:ReprojectionHeatmapLoss",
            "what the views find in 3D lies on the target heatmaps",
        ),
        LossSpec(
            "multiview_reprojection",
            f"{_LOSSES}:MultiviewReprojectionLoss",
            "calibrated views agree on points in 3D, without labels",
        ),
    ]


@hookimpl
def lploss_inputs() -> list[InputSpec]:
    return [
        InputSpec(
            "intrinsics",
            "batch views 3 3",
            "px",
            "camera matrices",
            missing=None,
            strategy=f"{_STRATEGIES}:intrinsics",
            constant=True,
        ),
        InputSpec(
            "extrinsics",
            "batch views 3 4",
            "translation in calibration units",
            "world to camera, X_cam = R X + t",
            missing=None,
            strategy=f"{_STRATEGIES}:extrinsics",
            constant=True,
        ),
        InputSpec(
            "distortions",
            "batch views num_coefficients",
            "none",
            "0, 4, 5, 8, 12 or 14 coefficients in OpenCV's order k1 k2 p1 p2 k3 ...",
            missing=None,
            strategy=f"{_STRATEGIES}:distortions",
            constant=True,
        ),
        InputSpec(
            "bbox",
            "batch views_x_4",
            "px in the original image",
            "x, y, height and width of each view's crop",
            missing=None,
            strategy=f"{_STRATEGIES}:bbox",
            constant=True,
        ),
        InputSpec(
            "image_size",
            "2",
            "px",
            "height and width of the model's input image",
            missing=None,
            strategy=f"{_STRATEGIES}:image_size",
            constant=True,
        ),
        InputSpec(
            "keypoints_targ_3d",
            "batch num_keypoints 3",
            "calibration units",
            "labels in space; NaN is not labelled",
            derived_by=f"{_INPUTS}:keypoints_targ_3d",
            coordinates="space",
            strategy=f"{_STRATEGIES}:points_in_space",
        ),
        InputSpec(
            "keypoints_pred_3d",
            "batch cam_pairs num_keypoints 3",
            "calibration units",
            "predictions in space, one for each pair of views, as itertools.combinations pairs "
            "them; NaN where a pair finds none",
            derived_by=f"{_INPUTS}:keypoints_pred_3d",
            coordinates="space",
            strategy=f"{_STRATEGIES}:points_in_space",
        ),
        InputSpec(
            "keypoints_pred_2d_reprojected",
            "batch views_x_num_keypoints 2",
            "px in the model's input image",
            "the mean over the pairs as each view sees it",
            derived_by=f"{_INPUTS}:keypoints_pred_2d_reprojected",
            coordinates="image",
            strategy=f"{_STRATEGIES}:keypoints_in_small_image",
        ),
        InputSpec(
            "keypoints_pred_from_all_views",
            "batch two_x_num_keypoints",
            "px in the original image",
            "the point on which all views agree best, as each view sees it",
            derived_by=f"{_INPUTS}:keypoints_pred_from_all_views",
            coordinates="image",
            strategy=f"{_STRATEGIES}:keypoints",
            constant=True,
        ),
    ]
