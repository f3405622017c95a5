"""Losses that change what they must leave alone."""

from __future__ import annotations

import os
import random
import warnings

import numpy as np
import torch
from torch import Tensor

from lploss_builtin.ops.keypoints import is_present
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints


@faulty(
    "check_inputs_untouched",
    also={
        **because(
            "a second call sees other labels",
            "check_elementwise_agrees",
            "check_epsilon",
            "check_invalid_has_no_influence",
            "check_split_batch",
            "check_weight_once",
        ),
    },
)
class FillsLabels(Distance):
    """Writes zeros into the labels."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, valid = super().remove_nans(keypoints_targ, keypoints_pred)
        keypoints_targ.detach().nan_to_num_(0.0)
        return cleaned, valid


@faulty("check_inputs_untouched")
class MarksBothCoordinates(Distance):
    """Writes NaN beside a coordinate that is missing."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        absent = ~is_present(keypoints_targ).repeat_interleave(2, dim=1)
        keypoints_targ.detach().masked_fill_(absent, torch.nan)
        return super().remove_nans(keypoints_targ, keypoints_pred)


@faulty("check_inputs_untouched")
class AsksForGradients(Distance):
    """Makes the prediction require a gradient."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        if not keypoints_pred.requires_grad:
            keypoints_pred.requires_grad_()
        return super().remove_nans(keypoints_targ, keypoints_pred)


class _ChangesSettings(Distance):
    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        self.change()
        return super().between(targ, pred)

    def change(self) -> None:
        raise NotImplementedError


@faulty("check_global_state_untouched")
class Seeds(_ChangesSettings):
    """Seeds torch's random numbers."""

    def change(self) -> None:
        torch.manual_seed(0)


@faulty("check_global_state_untouched")
class SeedsNumPy(_ChangesSettings):
    """Seeds NumPy's random numbers."""

    def change(self) -> None:
        np.random.seed(0)


@faulty("check_global_state_untouched")
class DrawsInPython(_ChangesSettings):
    """Draws one of Python's random numbers, and so moves those of all others."""

    def change(self) -> None:
        random.random()


@faulty("check_global_state_untouched")
class SwitchesGradientsOn(_ChangesSettings):
    """Switches gradients on for all."""

    def change(self) -> None:
        torch.set_grad_enabled(True)


@faulty(
    "check_global_state_untouched",
    also=because("it has no gradient itself", "check_gradients_finite"),
)
class SwitchesGradientsOff(Distance):
    """Switches gradients off for a moment, and not on again."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        torch.set_grad_enabled(False)
        return super().remove_nans(keypoints_targ, keypoints_pred)


@faulty(
    "check_global_state_untouched",
    also={
        "check_no_synchronisation": "the debugging aid looks at values",
        "check_nan_predictions": "it raises at the gradient of NaN that is due there",
    },
)
class DetectsAnomalies(_ChangesSettings):
    """Leaves a debugging aid on."""

    def change(self) -> None:
        torch.autograd.set_detect_anomaly(True)


@faulty("check_global_state_untouched")
class MultipliesFaster(_ChangesSettings):
    """Lowers the precision of everybody's matrix products."""

    def change(self) -> None:
        torch.set_float32_matmul_precision("high")


@faulty("check_global_state_untouched")
class TakesOneThread(_ChangesSettings):
    """Takes all threads but one from everybody."""

    def change(self) -> None:
        torch.set_num_threads(1)


@faulty("check_global_state_untouched")
class HushesWarnings(_ChangesSettings):
    """Hides everybody's warnings."""

    def change(self) -> None:
        warnings.filterwarnings("ignore", message="Mean of empty slice")


@faulty("check_global_state_untouched")
class HushesNumPy(_ChangesSettings):
    """Hides everybody's divisions by zero."""

    def change(self) -> None:
        np.seterr(divide="ignore")


@faulty("check_global_state_untouched")
class SetsTheEnvironment(_ChangesSettings):
    """Sets a variable that all child processes see."""

    def change(self) -> None:
        os.environ["KMP_DUPLICATE_LIB_OK"] = "TRUE"


@faulty("check_global_state_untouched")
class SeedsInItsConstructor(Distance):
    """Seeds random numbers when it is made."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        torch.manual_seed(0)
