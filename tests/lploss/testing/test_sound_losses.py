"""Sound losses of other people pass all checks: no false alarms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from lploss import Loss, Reason
from lploss.testing import check_loss
from lploss.testing.check import CHECKS
from lploss_builtin.ops.keypoints import is_present, split_xy, without_gaps
from tests.lploss.testing.faulty.sound import Cleaned, Keypoints


class Hinge(Loss):
    """Bones may be 50 to 150 px long: the gradient is zero for many, which matter all the same."""

    loss_name, kind = "hinge", "unsupervised"

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        there = is_present(keypoints_pred)
        spoilt = ~(there[:, 1:] & there[:, :-1])
        return {"keypoints_pred": without_gaps(keypoints_pred)}, {Reason.NAN_PREDICTION: spoilt}

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        lengths = torch.linalg.vector_norm(split_xy(keypoints_pred).diff(dim=1), dim=-1)
        return torch.relu(50.0 - lengths) + torch.relu(lengths - 150.0)


class LargeEpsilon(Loss):
    """Steps of 100 px are free unless somebody says otherwise."""

    loss_name, kind, num_previous_frames = "large_epsilon", "unsupervised", 1

    def __init__(self, *, epsilon: Any = 100.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        there = is_present(keypoints_pred)
        spoilt = ~(there[1:] & there[:-1])
        return {"keypoints_pred": without_gaps(keypoints_pred)}, {Reason.NAN_PREDICTION: spoilt}

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        return torch.linalg.vector_norm(split_xy(keypoints_pred).diff(dim=0), dim=-1)


class Acceleration(Loss):
    """Looks at two frames before its own."""

    loss_name, kind, num_previous_frames = "acceleration", "unsupervised", 2

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        there = is_present(keypoints_pred)
        spoilt = ~(there[2:] & there[1:-1] & there[:-2])
        return {"keypoints_pred": without_gaps(keypoints_pred)}, {Reason.NAN_PREDICTION: spoilt}

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        # Not Tensor.diff with n=2, which refuses a batch of no frames.
        velocity = split_xy(keypoints_pred).diff(dim=0)
        return torch.linalg.vector_norm(velocity[1:] - velocity[:-1], dim=-1)


class WithATruthValue(Loss):
    """Has an input that holds no floating-point numbers, and one of two forms of its target."""

    loss_name, kind = "with_a_truth_value", "supervised"

    def remove_nans(
        self,
        pose_targ: Float[Tensor, "batch num_keypoints 2"],
        pose_pred: Keypoints,
        in_water: Bool[Tensor, "batch num_keypoints"],
    ) -> Cleaned:
        labelled = pose_targ.isfinite().all(dim=-1)
        return {
            "pose_targ": torch.where(labelled[..., None], pose_targ, 0.0),
            "pose_pred": without_gaps(pose_pred),
        }, {
            Reason.NOT_LABELLED: ~labelled,
            Reason.NAN_PREDICTION: ~is_present(pose_pred),
            "in water": in_water,
        }

    def compute_loss(
        self, pose_targ: Float[Tensor, "batch num_keypoints 2"], pose_pred: Keypoints
    ) -> Tensor:
        return (pose_targ - split_xy(pose_pred)).abs().sum(dim=-1)


class WithBytesAndIntegers(Loss):
    """Takes a mask of either of two dtypes, and the number of an animal."""

    loss_name, kind = "with_bytes_and_integers", "supervised"

    def remove_nans(
        self,
        keypoints_pred: Keypoints,
        covered: Bool[Tensor, "batch num_keypoints"] | UInt8[Tensor, "batch num_keypoints"],
    ) -> Cleaned:
        return {"keypoints_pred": without_gaps(keypoints_pred)}, {
            "covered": covered.bool(),
            Reason.NAN_PREDICTION: ~is_present(keypoints_pred),
        }

    def compute_loss(self, keypoints_pred: Keypoints, animal: Int[Tensor, " batch"]) -> Tensor:
        target = 10.0 * animal[:, None, None]
        return (split_xy(keypoints_pred) - target).abs().sum(dim=-1)


class Constants(Loss):
    """Keeps a constant in a buffer that is in no checkpoint, and one that is expanded."""

    loss_name, kind = "constants", "unsupervised"

    def __init__(self, floor: float = 200.0, *, epsilon: Any = 0.0, log_weight: float = 0.0):
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.register_buffer("floor", torch.tensor(self._number("floor", floor)), persistent=False)
        self.register_buffer("up", torch.tensor([0.0, 1.0]).expand(1, 2), persistent=False)

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        return {"keypoints_pred": without_gaps(keypoints_pred)}, {
            Reason.NAN_PREDICTION: ~is_present(keypoints_pred)
        }

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        return torch.relu((split_xy(keypoints_pred) * self.up).sum(dim=-1) - self.floor)


class Epipolar(Loss):
    """Takes cameras as they are: each view's point against the centre of the scene."""

    loss_name, kind = "epipolar", "unsupervised"

    def remove_nans(
        self,
        keypoints_pred: Float[Tensor, "batch two_x_views_x_num_keypoints"],
        intrinsics: Float[Tensor, "batch views 3 3"],
    ) -> Cleaned:
        return {"keypoints_pred": without_gaps(keypoints_pred)}, {
            Reason.NAN_PREDICTION: ~is_present(keypoints_pred)
        }

    def compute_loss(
        self,
        keypoints_pred: Float[Tensor, "batch two_x_views_x_num_keypoints"],
        intrinsics: Float[Tensor, "batch views 3 3"],
    ) -> Tensor:
        views = intrinsics.shape[1]
        points = torch.unflatten(
            split_xy(keypoints_pred), 1, (views, keypoints_pred.shape[1] // 2 // views)
        )
        centre = intrinsics.detach()[:, :, None, :2, 2]
        return torch.linalg.vector_norm(points - centre, dim=-1).flatten(1)


class Demanding(Loss):
    """Cannot be built without an argument, and says so in no `example`."""

    loss_name, kind = "demanding", "unsupervised"

    def __init__(self, floor: float, *, epsilon: Any = 0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.floor = self._number("floor", floor)

    remove_nans = Constants.remove_nans

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        return torch.relu(split_xy(keypoints_pred)[..., 1] - self.floor)


SOUND = [
    Hinge,
    LargeEpsilon,
    Acceleration,
    WithATruthValue,
    WithBytesAndIntegers,
    Constants,
    Epipolar,
]
QUICK = [name for name in CHECKS if name not in ("check_compile", "check_two_processes")]


@pytest.mark.mistyped
@pytest.mark.parametrize("loss", SOUND)
def test_a_sound_loss_passes(loss: type[Loss]) -> None:
    report = check_loss(loss, checks=QUICK)
    assert report.ok, str(report)
    assert report.num_run >= 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("loss", SOUND)
def test_a_sound_loss_passes_whatever_is_drawn(loss: type[Loss], seed: int) -> None:
    report = check_loss(loss, checks=QUICK, seed=seed)
    assert report.ok, str(report)


@pytest.mark.mistyped
def test_an_instance_of_a_class_that_takes_arguments_can_be_checked() -> None:
    report = check_loss(Demanding(100.0), checks=QUICK)
    assert report.ok, str(report)
    (record,) = [record for record in report.records if record.check == "check_arguments"]
    assert record.status == "not_applicable"
    assert "Override the class method `example`" in record.message
