"""Losses that are wrong where elements, or all of them, do not count."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss import Properties, Reason, reduction
from lploss.validity import left_out_and_valid
from lploss_builtin.ops.keypoints import is_present
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints, MapError, Maps, Step

_MEAN_OF_NOTHING = because(
    "nothing is valid there now and then",
    "check_empty_batch",
    "check_scalar",
    "check_zero_at_target",
)


@faulty(
    "check_nothing_valid",
    also=because(
        "where some are missing, or none is there, too",
        "check_missing_does_not_dilute",
        "check_nan_predictions",
    ),
)
class PullsToTheCorner(Distance):
    """Takes what is not labelled for a label in the corner of the image."""

    properties = Properties(keypoint_order=True, rotation=True, scaling=1)

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, _ = super().remove_nans(keypoints_targ, keypoints_pred)
        return cleaned, None


@faulty(
    "check_nothing_valid",
    also=_MEAN_OF_NOTHING,
)
class MeanOfNothing(Distance):
    """Divides by the number of valid elements, which may be zero."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        total = super().reduce_loss(loss, valid, "sum")
        return total if method == "sum" else total / valid.count_nonzero()


@faulty(
    "check_nothing_valid",
    also={
        **_MEAN_OF_NOTHING,
        "check_no_synchronisation": "how many are picked, only their values tell",
    },
)
class MeanOfPicked(Distance):
    """Picks the valid elements by boolean indexing."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        picked = loss[valid]
        return picked.sum() if method == "sum" else picked.mean()


@faulty("check_empty_batch")
class GuessesAnAxis(Distance):
    """Lets reshape guess the size of an axis."""

    def compute_loss(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Tensor:
        targ, pred = (k.reshape(len(k), -1, 2) for k in (keypoints_targ, keypoints_pred))
        return self.between(targ, pred)


@faulty("check_empty_batch")
class LargestOfNothing(Distance):
    """Looks for the largest element, of which there may be none."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return torch.minimum(distances, distances.max())


@faulty("check_definition")
class Squeezes(Distance):
    """Drops the axis of the batch where there is but one frame."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred).squeeze(0)


@faulty("check_one_frame")
class AloneFromTheCorner(Step):
    """Compares a frame that is alone with the corner of the image."""

    properties = Properties(keypoint_order=True, rotation=True, scaling=1)

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, valid = super().remove_nans(keypoints_pred)
        return cleaned, is_present(keypoints_pred) if len(keypoints_pred) == 1 else valid

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        if len(keypoints_pred) == 1:
            keypoints_pred = torch.cat([torch.zeros_like(keypoints_pred), keypoints_pred])
        return super().compute_loss(keypoints_pred)


@faulty(
    "check_missing_does_not_dilute",
    also=because("a prediction that is missing is perfect, too", "check_nan_predictions"),
)
class TakesGapsForPerfect(Distance):
    """Takes what is missing for a perfect prediction."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, left_out = super().remove_nans(keypoints_targ, keypoints_pred)
        _, valid = left_out_and_valid(left_out)
        is_there = valid.repeat_interleave(2, dim=1)
        return {name: torch.where(is_there, value, 0.0) for name, value in cleaned.items()}, None


@faulty("check_invalid_has_no_influence")
class ReplacesNaNOnly(Distance):
    """Replaces NaN, and forgets infinity."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        _, valid = super().remove_nans(keypoints_targ, keypoints_pred)
        return {
            "keypoints_targ": torch.where(keypoints_targ.isnan(), 0.0, keypoints_targ),
            "keypoints_pred": torch.where(keypoints_pred.isnan(), 0.0, keypoints_pred),
        }, valid


@faulty(
    "check_invalid_has_no_influence",
    also=because(
        "the sum is that of other elements than the number",
        "check_duplicated_batch",
        "check_elementwise_agrees",
        "check_missing_does_not_dilute",
        "check_nothing_valid",
    ),
)
class SumsWhatDoesNotCount(Distance):
    """Divides by the number of valid elements, and sums all."""

    properties = Properties(keypoint_order=True, scaling=1)

    def reduce_loss(self, loss, valid=None, method="mean"):
        if method == "sum":
            return loss.sum()
        return reduction.mean_of(loss.sum(), reduction.count(loss, valid))


@faulty("check_nan_predictions")
class MaskWithoutReasons(Distance):
    """Says what counts, and not why the rest does not."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, left_out = super().remove_nans(keypoints_targ, keypoints_pred)
        return cleaned, left_out_and_valid(left_out)[1]


@faulty("check_nan_predictions")
class NaNTakenForLowConfidence(Step):
    """Leaves NaN predictions out as if the network were merely unsure."""

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, left_out = super().remove_nans(keypoints_pred)
        return cleaned, {Reason.LOW_CONFIDENCE: left_out[Reason.NAN_PREDICTION]}


@faulty(
    "check_nan_predictions",
    also=because("where predictions are missing, it counts zeros", "check_missing_does_not_dilute"),
)
class ReplacesNaNWithoutMask(MapError):
    """Takes NaN in a predicted map for zero, and lets the map count."""

    def remove_nans(self, heatmaps_targ: Maps, heatmaps_pred: Maps) -> Cleaned:
        cleaned, left_out = super().remove_nans(heatmaps_targ, heatmaps_pred)
        return cleaned, {"not labelled": left_out["not labelled"]}


@faulty("check_nan_predictions")
class OnlyWholePredictions(Distance):
    """Notices a network that predicts nothing but NaN, and not one that predicts some."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, left_out = super().remove_nans(keypoints_targ, keypoints_pred)
        spoilt = left_out[Reason.NAN_PREDICTION]
        return cleaned, {
            Reason.NOT_LABELLED: left_out[Reason.NOT_LABELLED] | spoilt,
            Reason.NAN_PREDICTION: spoilt.all().expand_as(spoilt),
        }
