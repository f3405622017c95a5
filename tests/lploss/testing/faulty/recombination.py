"""Losses of which the value of a batch does not come from those of its parts."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss import Properties
from lploss_builtin.ops.keypoints import is_present, split_xy, without_gaps
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints, MapError, Step


@faulty("check_duplicated_batch")
class GrowsWithTheBatch(Distance):
    """Is multiplied by the number of frames."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * len(pred)


@faulty("check_duplicated_batch")
class SumOverFrames(Distance):
    """Divides by the number of keypoints only."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        total = super().reduce_loss(loss, valid, "sum")
        return total if method == "sum" else total / loss.shape[1]


@faulty("check_duplicated_keypoints")
class GrowsWithTheMaps(MapError):
    """Takes the number of maps for the height of a map."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * (pred.shape[1] / pred.shape[3])


@faulty("check_duplicated_keypoints")
class SharedAmongKeypoints(Distance):
    """Divides by the number of keypoints, and then the mean does again."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) / pred.shape[1]


@faulty("check_split_batch")
class AgainstTheMeanOfTheBatch(Distance):
    """Compares with the mean over all frames of the batch."""

    properties = Properties(keypoint_order=True, translation=True, rotation=True, scaling=1)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) / (1.0 + pred.detach().mean(dim=0, keepdim=True))


@faulty("check_split_batch")
class RelativeToTheBatch(Distance):
    """Is divided by the largest error of the batch."""

    properties = Properties(keypoint_order=True, translation=True, rotation=True, scaling=0)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return distances / (distances.amax(dim=0, keepdim=True) + 1.0)


@faulty("check_split_batch")
class KnowsNoSum(Distance):
    """Returns the mean where the sum is asked for."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        return super().reduce_loss(loss, valid)


@faulty("check_split_batch")
class AsLongAsTheBatch(Step):
    """Repeats the first frame, so that each frame has an element."""

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        return {"keypoints_pred": without_gaps(keypoints_pred)}, is_present(keypoints_pred)

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        return super().compute_loss(torch.cat([keypoints_pred[:1], keypoints_pred]))


@faulty("check_split_batch")
class Acceleration(Step):
    """Looks at two frames before its own, and says that it looks at one."""

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, valid = super().remove_nans(keypoints_pred)
        return cleaned, valid[1:] & valid[:-1]

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        return torch.linalg.vector_norm(split_xy(keypoints_pred).diff(n=2, dim=0), dim=-1)


@faulty("check_batch_order")
class StepUnstated(Step):
    """Compares frames, and does not say so."""

    num_previous_frames = 0


@faulty("check_batch_order")
class EveryOtherFrame(Distance):
    """Takes the frames for left and right images in turn."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        is_right = torch.arange(len(pred), device=pred.device) % 2 == 1
        return super().between(targ, pred) * torch.where(is_right, 0.5, 1.0)[:, None]
