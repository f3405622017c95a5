"""Losses whose gradients are wrong."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lploss import Properties
from tests.lploss.testing.faulty.fault import DIFFERENTIATED, because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints, MapError, Maps

_NOT_ZERO_AT_TARGET = Properties(keypoint_order=True, translation=True, rotation=True, scaling=1)


@faulty(
    "check_gradients_finite",
    also=because(
        "what is left out is zero, too",
        "check_autocast",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
        "check_nothing_valid",
    ),
)
class SquareRoot(Distance):
    """Takes a root whose slope at zero is infinite."""

    properties = _NOT_ZERO_AT_TARGET

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return (pred - targ).square().sum(dim=-1).sqrt()


@faulty(
    "check_gradients_finite",
    also=because(
        "0 times NaN is NaN",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
        "check_nothing_valid",
        "check_zero_at_target",
    ),
)
class NaNTimesZero(Distance):
    """Multiplies by the mask what it should have replaced."""

    def remove_nans(self, keypoints_targ, keypoints_pred):
        _, valid = super().remove_nans(keypoints_targ, keypoints_pred)
        return {}, valid

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        is_there = (targ.isfinite() & pred.isfinite()).all(dim=-1)
        return super().between(targ, pred) * is_there


@faulty(
    "check_gradients_finite",
    also={
        "check_scalar": "the value is infinite, too",
        "check_autocast": "so it is in half precision",
        "check_nothing_valid": "so it is where a map does not count",
    },
)
class LogarithmOfZero(MapError):
    """Takes the logarithm of a map of which some pixels may be zero."""

    properties = Properties(keypoint_order=True)

    def remove_nans(self, heatmaps_targ: Maps, heatmaps_pred: Maps) -> Cleaned:
        cleaned, left_out = super().remove_nans(heatmaps_targ, heatmaps_pred)
        return {**cleaned, "heatmaps_pred": heatmaps_pred.nan_to_num(1.0, 1.0, 1.0)}, left_out

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return -targ * pred.log()


@faulty("check_gradients_finite")
class Detached(Distance):
    """Detaches the prediction instead of the target."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred.detach())


@faulty("check_gradients_finite")
class PeakOfTheMap(MapError):
    """Compares the places of the peaks, which have no gradient."""

    properties = Properties(keypoint_order=True)

    def compute_loss(self, heatmaps_targ, heatmaps_pred):
        targ, pred = (maps.flatten(2).argmax(dim=-1) for maps in (heatmaps_targ, heatmaps_pred))
        return (pred - targ).abs().to(heatmaps_pred.dtype)


@faulty(
    "check_gradients_finite",
    also=because("no backward pass works", *DIFFERENTIATED, but=("check_gradients_finite",)),
)
class WritesIntoItsResult(Distance):
    """Writes into a result of which the backward pass needs the old values."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return distances.masked_fill_(distances < 1e-3, 0.0)


class _HalfTheGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, difference: Tensor) -> Tensor:
        ctx.save_for_backward(difference)
        return difference.square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (difference,) = ctx.saved_tensors
        return gradients[0] * difference


@faulty("check_gradcheck")
class WrongBackward(Distance):
    """Forgets a factor in a backward pass of its own."""

    properties = Properties(translation=True, rotation=True, scaling=2, zero_at_target=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return _HalfTheGradient.apply(pred - targ).sum(dim=-1)


@faulty(
    "check_gradcheck",
    also=because(
        "an infinite factor is multiplied by zero",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
    ),
)
class DetachedFactor(Distance):
    """Detaches one of two factors that both depend on the prediction."""

    properties = Properties(translation=True, rotation=True, scaling=2, zero_at_target=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return distances.detach() * distances


@faulty("check_gradcheck")
class StraightThrough(Distance):
    """Rounds to whole px, with the gradient of what was not rounded."""

    properties = Properties(keypoint_order=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred + (pred.round() - pred).detach())


@faulty(
    "check_gradcheck",
    also=because(
        "a million is infinite there", "check_huge_numbers", "check_invalid_has_no_influence"
    ),
)
class HalfPrecision(Distance):
    """Saves memory."""

    properties = Properties(keypoint_order=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ.half(), pred.half()).to(pred.dtype)


@faulty(
    "check_constants",
    also=because(
        "the gradient for the visibility is the error itself, whatever counts",
        "check_gradcheck",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
    ),
)
class WeighsByVisibility(Distance):
    """Multiplies by the visibility of labels, which could be learned."""

    def compute_loss(
        self,
        keypoints_targ: Keypoints,
        keypoints_pred: Keypoints,
        visibility: Float[Tensor, "batch num_keypoints"],
    ) -> Tensor:
        return super().compute_loss(keypoints_targ, keypoints_pred) * visibility


@faulty(
    "check_constants",
    also=because(
        "the gradient for the focal length is the error itself, whatever counts",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
    ),
)
class MovesTheCameras(Distance):
    """Divides by a focal length, which grows with the error."""

    properties = Properties(keypoint_order=True, zero_at_target=True)

    def compute_loss(
        self,
        keypoints_targ: Keypoints,
        keypoints_pred: Keypoints,
        intrinsics: Float[Tensor, "batch views 3 3"],
    ) -> Tensor:
        focal_length = intrinsics[:, :, 0, 0].mean(dim=1, keepdim=True)
        return super().compute_loss(keypoints_targ, keypoints_pred) / focal_length
