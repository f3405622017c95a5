"""Derivations of an input, faulty and sound, and a loss that uses it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lploss import Loss
from lploss_builtin.ops.keypoints import is_present, split_xy, without_gaps
from tests.lploss.testing.faulty.sound import Cleaned, Keypoints

#: Says that a function of this module derives the input.
MANIFEST = """
    from lploss import InputSpec, hookimpl

    @hookimpl
    def lploss_inputs():
        return [
            InputSpec(
                "speeds_pred",
                "batch num_keypoints",
                "px a frame",
                "how far a keypoint moves",
                derived_by="tests.lploss.testing.faulty.derivations:{function}",
                constant="{function}".startswith("constant"),
            )
        ]
"""


class Fastest(Loss):
    """What a derived speed exceeds."""

    loss_name, kind = "fastest", "unsupervised"

    def remove_nans(self, speeds_pred: Float[Tensor, "batch num_keypoints"]) -> Cleaned:
        is_known = speeds_pred.isfinite()
        return {"speeds_pred": torch.where(is_known, speeds_pred, 0.0)}, is_known

    def compute_loss(self, speeds_pred: Float[Tensor, "batch num_keypoints"]) -> Tensor:
        return (speeds_pred - 1.0).square()


def difference_of_gaps(keypoints_pred: Keypoints) -> Tensor:
    """Take differences of what is not there: its neighbours get a gradient of NaN."""
    steps = keypoints_pred.diff(dim=0, prepend=keypoints_pred[:1])
    return torch.linalg.vector_norm(steps.unflatten(1, (-1, 2)), dim=2)


def all_or_nothing(keypoints_pred: Keypoints) -> Tensor:
    """Give up on the whole batch where anything is missing."""
    speeds = gaps_apart(without_gaps(keypoints_pred))
    return torch.where(is_present(keypoints_pred).all(), speeds, torch.nan)


def filled_from_the_batch(keypoints_pred: Keypoints) -> Tensor:
    """Fill gaps, and scale everything by how many there were."""
    share = is_present(keypoints_pred).float().mean()
    return share * gaps_apart(without_gaps(keypoints_pred))


class _HalfTheGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, speeds: Tensor) -> Tensor:
        return 2.0 * speeds

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def wrong_backward(keypoints_pred: Keypoints) -> Tensor:
    """Forget a factor in a backward pass of its own."""
    doubled: Tensor = _HalfTheGradient.apply(gaps_apart(keypoints_pred))
    return doubled


def refuses_gaps(keypoints_pred: Keypoints) -> Tensor:
    """Raise where anything is missing."""
    if not is_present(keypoints_pred).all():
        raise ValueError("a keypoint is missing")
    return gaps_apart(keypoints_pred)


def constant_with_a_gradient(keypoints_pred: Keypoints) -> Tensor:
    """Return as a constant what has a gradient."""
    return gaps_apart(keypoints_pred)


def gaps_apart(keypoints_pred: Keypoints) -> Tensor:
    """Return how far each keypoint moves in a frame; NaN beside a gap."""
    is_there = is_present(keypoints_pred)
    steps = split_xy(without_gaps(keypoints_pred)).diff(dim=0)
    is_known = torch.cat([is_there[:1], is_there[1:] & is_there[:-1]])
    speeds = torch.linalg.vector_norm(steps, dim=2)
    speeds = torch.cat([torch.zeros_like(is_there[:1], dtype=speeds.dtype), speeds])
    return speeds.masked_fill(~is_known, torch.nan)


def clipped(
    keypoints_pred: Keypoints, confidences: Float[Tensor, "batch num_keypoints"] | None = None
) -> Tensor:
    """Clip what is far, so that a gap seems to matter little; use what is optional."""
    speeds = gaps_apart(keypoints_pred).clamp(max=1.0)
    return speeds if confidences is None else speeds * confidences.nan_to_num(0.0).detach()


def constant_without_a_gradient(keypoints_pred: Keypoints) -> Tensor:
    """Return a constant."""
    return gaps_apart(keypoints_pred).detach()


#: By derivation, what the message says.
FAULTY = {
    difference_of_gaps: r"the gradient for keypoints_pred must be finite, it is \[\[.*nan",
    all_or_nothing: r"what does not depend on the gaps must be .*, as without them, it is \[.*nan",
    filled_from_the_batch: r"what does not depend on the gaps must be",
    wrong_backward: r"does not agree with finite differences",
    refuses_gaps: r"it raised ValueError: a keypoint is missing",
    constant_with_a_gradient: r"a constant must have no gradient, keypoints_pred gets one",
}
SOUND = (gaps_apart, clipped, constant_without_a_gradient)
