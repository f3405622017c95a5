"""Losses of which the value of a batch does not come from those of its parts."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss import Properties
from lploss_builtin.ops.keypoints import split_xy
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints, Step


@faulty(
    "check_duplicated_batch",
    also=because(
        "the parts are smaller than the whole",
        "check_missing_does_not_dilute",
        "check_split_batch",
    ),
)
class GrowsWithTheBatch(Distance):
    """Is multiplied by the number of frames."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * len(pred)


@faulty(
    "check_duplicated_batch",
    also=because("it is no mean of elements", "check_elementwise_agrees", "check_split_batch"),
)
class SumOverFrames(Distance):
    """Divides by the number of keypoints only."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        total = super().reduce_loss(loss, valid, "sum")
        return total if method == "sum" else total / loss.shape[1]


@faulty(
    "check_split_batch",
    also=because("a frame that is missing moves the mean", "check_missing_does_not_dilute"),
)
class AgainstTheMeanOfTheBatch(Distance):
    """Takes off the error that all frames of the batch have in common."""

    properties = Properties(keypoint_order=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred - (pred - targ).mean(dim=0, keepdim=True))


@faulty("check_split_batch")
class KnowsNoSum(Distance):
    """Returns the mean where the sum is asked for."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        return super().reduce_loss(loss, valid)


@faulty("check_split_batch")
class AsLongAsTheBatch(Step):
    """Repeats the first frame, so that each frame has an element."""

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        return super().remove_nans(torch.cat([keypoints_pred[:1], keypoints_pred]))


@faulty("check_split_batch")
class Acceleration(Step):
    """Looks at two frames before its own, and says that it looks at one."""

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, left_out = super().remove_nans(keypoints_pred)
        return cleaned, {why: mask[1:] | mask[:-1] for why, mask in left_out.items()}

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        return torch.linalg.vector_norm(split_xy(keypoints_pred).diff(n=2, dim=0), dim=-1)


@faulty(
    "check_batch_order",
    also=because(
        "where two parts meet, there is an element more, or less",
        "check_duplicated_batch",
        "check_split_batch",
    ),
)
class StepUnstated(Step):
    """Compares frames, and does not say so."""

    num_previous_frames = 0


@faulty(
    "check_batch_order",
    also=because("in a copy after an odd number they change their turns", "check_duplicated_batch"),
)
class EveryOtherFrame(Distance):
    """Takes the frames for left and right images in turn."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        is_right = torch.arange(len(pred), device=pred.device) % 2 == 1
        return super().between(targ, pred) * torch.where(is_right, 0.5, 1.0)[:, None]


@faulty("check_split_batch")
class AccelerationBesideTheOthers(Step):
    """Looks at two frames before its own, and takes off the mean of the batch."""

    num_previous_frames = 2
    properties = Properties()

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, left_out = super().remove_nans(keypoints_pred)
        return cleaned, {why: mask[1:] | mask[:-1] for why, mask in left_out.items()}

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        velocity = split_xy(keypoints_pred).diff(dim=0)
        acceleration = torch.linalg.vector_norm(velocity[1:] - velocity[:-1], dim=-1)
        others = acceleration.sum() / max(acceleration.numel(), 1)
        return acceleration + others
