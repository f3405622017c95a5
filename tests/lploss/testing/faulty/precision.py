"""Losses that lose digits, or break, in lower precisions."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss import Properties
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Cleaned, Distance, Keypoints


@faulty("check_float32")
class ExpandedSquare(Distance):
    """Subtracts the squares of large numbers."""

    properties = Properties(keypoint_order=True, rotation=True, scaling=2)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        squares = targ.square() + pred.square() - 2.0 * targ * pred
        return squares.sum(dim=-1).clamp(min=0.0)


@faulty(
    "check_float32",
    also=because(
        "what is infinite has a gradient of NaN",
        "check_autocast",
        "check_epsilon",
        "check_gradients_finite",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
        "check_nothing_valid",
        "check_one_frame",
        "check_scalar",
        "check_zero_at_target",
    ),
)
class LogCosh(Distance):
    """Is linear where large, but by way of a number too large for float32."""

    properties = Properties(keypoint_order=True, translation=True, zero_at_target=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return (pred - targ).cosh().log().sum(dim=-1)


@faulty("check_autocast")
class TurnsPoints(Distance):
    """Multiplies points by a matrix, which autocast does in bfloat16."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.register_buffer("turn", torch.tensor([[0.8, -0.6], [0.6, 0.8]]))

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        turn = self.turn.to(pred.dtype)
        return super().between(targ @ turn, pred @ turn)


@faulty("check_autocast")
class GramDeterminant(Distance):
    """Hands a matrix product on to what knows no bfloat16."""

    properties = Properties(keypoint_order=True, translation=True, rotation=True, scaling=2)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        difference = (pred - targ)[..., None]
        return torch.linalg.det(difference.mT @ difference)


@faulty("check_autocast")
class RootOfASmallNumber(Distance):
    """Keeps a root from zero by a number that float16 takes for zero."""

    properties = Properties(keypoint_order=True, translation=True, rotation=True)

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, valid = super().remove_nans(keypoints_targ, keypoints_pred)
        return {name: value.to(keypoints_pred.dtype) for name, value in cleaned.items()}, valid

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return ((pred - targ).square().sum(dim=-1) + 1e-8).sqrt()


@faulty(
    "check_huge_numbers",
    also=because("the slope is that of all elements", "check_invalid_has_no_influence"),
)
class Saturates(Distance):
    """Is at most 1, but by way of a square whose slope becomes infinite."""

    properties = Properties(
        keypoint_order=True, translation=True, rotation=True, zero_at_target=True
    )

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        _, valid = super().remove_nans(keypoints_targ, keypoints_pred)
        return {
            "keypoints_targ": keypoints_targ.nan_to_num(0.0, 0.0, 0.0),
            "keypoints_pred": keypoints_pred.nan_to_num(0.0, 0.0, 0.0),
        }, valid

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        squares = (pred - targ).square().sum(dim=-1)
        return 1.0 - (-squares / 1e4).exp()
