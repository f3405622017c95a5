"""What lploss finds here. Strings only: listing the losses must not import torch."""

from __future__ import annotations

from lploss import InputSpec, LossSpec, hookimpl


@hookimpl
def lploss_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "bone_length",
            "lploss_bone_length.bone_length:BoneLengthLoss",
            "bones are as long as in the labels",
        )
    ]


@hookimpl
def lploss_inputs() -> list[InputSpec]:
    return [
        InputSpec(
            "keypoint_distances_pred",
            "batch num_keypoints num_keypoints",
            "px in the original image",
            "distance of each predicted keypoint from each other one; NaN where one is missing",
            derived_by="lploss_bone_length.distances:keypoint_distances_pred",
            strategy="lploss_bone_length.strategies:keypoint_distances",
        )
    ]
