"""Losses that take from a batch what they must not, or refuse what they must take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from lploss import LossResult, MissingInputError
from tests.lploss.testing.faulty.fault import TRIED, because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints

if TYPE_CHECKING:
    from tests.lploss.testing.faulty.sound import Keypoints as OnlyForTypeCheckers


@faulty("check_batch_keys")
class LeftOutInSilence(Distance):
    """Is zero where an input is missing."""

    def __call__(self, **batch: Any) -> LossResult:
        try:
            return super().__call__(**batch)
        except MissingInputError:
            return LossResult(0.0 * self.weight, [])


@faulty(
    "check_batch_keys",
    also=because("it hands over other keys, too", "check_inputs_untouched"),
)
class RefusesOtherKeys(Distance):
    """Takes its own inputs only."""

    def __call__(self, *, keypoints_targ=None, keypoints_pred=None, stage=None) -> LossResult:
        return super().__call__(
            keypoints_targ=keypoints_targ, keypoints_pred=keypoints_pred, stage=stage
        )


@faulty(
    "check_batch_keys",
    also=because(
        "what is optional may be absent", *TRIED, but=("check_batch_keys", "check_annotations")
    ),
)
class NeedsWhatIsOptional(Distance):
    """Says that confidences are optional, and multiplies by them."""

    def compute_loss(
        self,
        keypoints_targ: Keypoints,
        keypoints_pred: Keypoints,
        confidences: Float[Tensor, "batch num_keypoints"] | None = None,
    ) -> Tensor:
        return super().compute_loss(keypoints_targ, keypoints_pred) * confidences.nan_to_num(0.0)


@faulty("check_annotations")
class NotAnnotated(Distance):
    """Says of one input only which axes it has."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred):
        return super().remove_nans(keypoints_targ, keypoints_pred)

    def compute_loss(self, keypoints_targ: Keypoints, keypoints_pred):
        return super().compute_loss(keypoints_targ, keypoints_pred)


@faulty("check_annotations")
class AnnotatedAsTensor(Distance):
    """Says that its inputs are tensors, and not which axes they have."""

    def remove_nans(self, keypoints_targ: Tensor, keypoints_pred: Tensor):
        return super().remove_nans(keypoints_targ, keypoints_pred)

    def compute_loss(self, keypoints_targ: Tensor, keypoints_pred: Tensor) -> Tensor:
        return super().compute_loss(keypoints_targ, keypoints_pred)


@faulty("check_annotations")
class AnnotatedByWhatIsNotThere(Distance):
    """Imports for type checkers only what it needs to say its axes."""

    def remove_nans(self, keypoints_targ: OnlyForTypeCheckers, keypoints_pred: Keypoints):
        return super().remove_nans(keypoints_targ, keypoints_pred)

    def compute_loss(self, keypoints_targ: OnlyForTypeCheckers, keypoints_pred: Keypoints):
        return super().compute_loss(keypoints_targ, keypoints_pred)


@faulty("check_definition")
class ReturnsSomethingElse(Distance):
    """Returns other axes than it says."""

    def compute_loss(
        self, keypoints_targ: Keypoints, keypoints_pred: Keypoints
    ) -> Float[Tensor, "batch two_x_num_keypoints"]:
        return super().compute_loss(keypoints_targ, keypoints_pred)


@faulty("check_definition")
class ReturnsTheWrongShape(Distance):
    """Returns one value a frame, and masks of one a keypoint."""

    def compute_loss(
        self, keypoints_targ: Keypoints, keypoints_pred: Keypoints
    ) -> Float[Tensor, "batch num_keypoints"]:
        return super().compute_loss(keypoints_targ, keypoints_pred).sum(dim=1)


@faulty("check_definition")
class MasksOfTheWrongShape(Distance):
    """Leaves out coordinates where the elements are keypoints."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, _ = super().remove_nans(keypoints_targ, keypoints_pred)
        return cleaned, keypoints_targ.isfinite() & keypoints_pred.isfinite()


@faulty("check_definition")
class RaisesAlways(Distance):
    """Multiplies what does not fit."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) @ torch.ones(7)


@faulty("check_annotations")
class ChecksNothing(Distance):
    """Takes the axes that it states for a comment."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self._axes = {}


@faulty("check_dtypes")
class InvertsAByteMask(Distance):
    """Takes a mask of bytes as well, whose inverse is 254 or 255 and never false."""

    def compute_loss(
        self,
        keypoints_targ: Keypoints,
        keypoints_pred: Keypoints,
        occluded: Bool[Tensor, "batch num_keypoints"] | UInt8[Tensor, "batch num_keypoints"],
    ) -> Tensor:
        distances = super().compute_loss(keypoints_targ, keypoints_pred)
        return torch.where(~occluded > 0, distances, 0.5 * distances)


@faulty("check_dtypes")
class ConvertsInSilence(Distance):
    """Makes floating-point numbers of whatever comes."""

    def __call__(self, **batch: Any) -> LossResult:
        converted = {
            name: value.float()
            if isinstance(value, Tensor) and not value.is_floating_point()
            else value
            for name, value in batch.items()
        }
        return super().__call__(**converted)
