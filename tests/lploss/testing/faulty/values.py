"""Losses whose value is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss import Properties
from lploss.validity import left_out_and_valid
from lploss_builtin.ops.keypoints import split_xy
from tests.lploss.testing.faulty.fault import COMPARED, because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints, MapError


@faulty("check_scalar")
class InDoublePrecision(Distance):
    """Computes in float64 and stays there."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ.double(), pred.double())


@faulty(
    "check_scalar",
    also=because("finite differences in float64 are rounded", "check_gradcheck"),
)
class InSinglePrecision(Distance):
    """Computes in float32, whatever came."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ.float(), pred.float())


@faulty(
    "check_scalar",
    also=because(
        "a number is expected",
        "check_elementwise_agrees",
        "check_empty_batch",
        "check_logs",
        "check_nothing_valid",
    ),
)
class OneNumberInABox(Distance):
    """Returns a tensor with an axis instead of a number."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        return super().reduce_loss(loss, valid, method).reshape(1)


@faulty(
    "check_scalar",
    also=because(
        "what is infinite has a gradient of NaN, and is infinite in one precision first",
        "check_autocast",
        "check_epsilon",
        "check_float32",
        "check_gradients_finite",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
        "check_nothing_valid",
        "check_one_frame",
    ),
)
class Exponential(Distance):
    """Grows beyond all numbers."""

    properties = Properties(translation=True, rotation=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred).exp()


@faulty("check_elementwise_agrees")
class HalfOfTheMean(Distance):
    """Has the half of a squared error's formula in the reduction."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        return super().reduce_loss(loss, valid, method) / 2


@faulty(
    "check_elementwise_agrees",
    also=because("the worst of all is no mean of the parts' worst", "check_split_batch"),
)
class Worst(Distance):
    """Trains the worst keypoint alone."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        loss = torch.where(valid, loss, 0.0)
        return loss.amax() if loss.numel() else loss.sum()


@faulty(
    "check_elementwise_agrees",
    also=because("the root of a sum is no sum of roots", "check_split_batch"),
)
class RootOfTheMean(Distance):
    """Takes the root after the mean."""

    properties = Properties()

    def reduce_loss(self, loss, valid=None, method="mean"):
        mean = super().reduce_loss(loss, valid, method)
        return mean / (mean + 1e-12).sqrt()


@faulty(
    "check_elementwise_agrees",
    also=because(
        "what is missing belongs to all",
        "check_missing_does_not_dilute",
        "check_split_batch",
    ),
)
class MeanOverAll(Distance):
    """Divides by all elements though it says that it divides by the valid ones."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        total = super().reduce_loss(loss, valid, "sum")
        return total if method == "sum" else total / max(loss.numel(), 1)


@faulty("check_costs_something")
class WithinTolerance(Distance):
    """Takes a share of the image for a tolerance in px."""

    properties = Properties()

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return torch.relu(super().between(targ, pred) / 256.0 - 20.0)


@faulty(
    "check_costs_something",
    also=because("of NaN predictions, too, only the zeros count", "check_nan_predictions"),
)
class MaskTheWrongWayRound(Distance):
    """Leaves out what is labelled, and counts what is not: replaced by zeros, it costs nothing."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        inputs, left_out = super().remove_nans(keypoints_targ, keypoints_pred)
        _, valid = left_out_and_valid(left_out)
        spoilt = ~valid[..., None]
        cleaned = {
            name: torch.where(spoilt, 0.0, split_xy(value)).flatten(1)
            for name, value in inputs.items()
        }
        return cleaned, ~valid


@faulty(
    "check_deterministic",
    also={
        **because("no two calls give the same", *COMPARED),
        **because(
            "no two calls give the same",
            "check_float32",
            "check_state_dict",
            "check_weight_once",
        ),
        "check_zero_at_target": "the noise stays",
        "check_global_state_untouched": "the noise is drawn from everybody's random numbers",
    },
)
class Noisy(Distance):
    """Adds noise, to be robust."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred + 3.0 * torch.randn_like(pred))


def _noise_on(gradient: Tensor) -> Tensor:
    generator = torch.Generator()
    generator.seed()
    return gradient * (1.0 + torch.rand(gradient.shape, generator=generator).to(gradient))


@faulty(
    "check_deterministic",
    also=because(
        "no two backward passes give the same",
        "check_gradcheck",
        "check_invalid_has_no_influence",
    ),
)
class NoisyGradient(Distance):
    """Adds noise to the gradient, from a generator of its own."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        if distances.requires_grad:
            distances.register_hook(_noise_on)
        return distances


@faulty("check_deterministic", also=because("each call gives more", *COMPARED))
class WarmsUp(Distance):
    """Counts its calls."""

    num_calls = 0

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        self.num_calls += 1
        return super().between(targ, pred) * min(self.num_calls / 1000, 1.0)


@faulty("check_deterministic")
class ScaledByTheFirstBatch(Distance):
    """Takes its unit from the first batch that it sees."""

    properties = Properties()

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.register_buffer("scale", None)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = targ.detach().abs().mean() + 1.0
        return super().between(targ, pred) / self.scale


@faulty("check_deterministic")
class OnlyInTraining(Distance):
    """Is another loss after eval()."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return distances if self.training else 2.0 * distances


@faulty("check_zero_at_target")
class Charbonnier(Distance):
    """Rounds off the tip, and leaves what that adds."""

    properties = Properties(translation=True, rotation=True, zero_at_target=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return ((pred - targ).square().sum(dim=-1) + 1.0).sqrt()


@faulty("check_zero_at_target")
class SafeRoot(Distance):
    """Keeps the root from zero by a small number, which remains."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return ((pred - targ).square().sum(dim=-1) + 1e-8).sqrt()


@faulty("check_zero_at_target")
class CrossEntropy(MapError):
    """Is at its target the entropy of the target, not zero."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return -targ * pred.clamp(min=1e-6).log()
