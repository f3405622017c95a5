"""Losses between keypoints and labels, and the keypoints themselves."""

from __future__ import annotations

from lploss import InputSpec, LossSpec, hookimpl

_AXES = "batch two_x_num_keypoints"
_LOSSES = "lploss_builtin.losses.regression"
_STRATEGIES = "lploss_builtin.strategies"


@hookimpl
def lploss_losses() -> list[LossSpec]:
    return [
        LossSpec("regression", f"{_LOSSES}:RegressionLoss", "squared error of keypoints"),
        LossSpec("rmse", f"{_LOSSES}:RMSELoss", "root mean squared error of keypoints"),
    ]


@hookimpl
def lploss_inputs() -> list[InputSpec]:
    return [
        InputSpec(
            "keypoints_targ",
            _AXES,
            "px in the original image",
            "labels; NaN is not labelled",
            coordinates="image",
            strategy=f"{_STRATEGIES}:keypoints",
        ),
        InputSpec(
            "keypoints_pred",
            _AXES,
            "px in the original image",
            "predictions, augmentation undone; several views one after the other",
            coordinates="image",
            strategy=f"{_STRATEGIES}:keypoints",
        ),
        InputSpec(
            "keypoints_pred_augmented",
            _AXES,
            "px in the augmented image",
            "predictions as they match the heatmaps",
            coordinates="image",
            strategy=f"{_STRATEGIES}:keypoints",
        ),
    ]
