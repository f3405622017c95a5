"""Losses that state what does not hold."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss import Properties
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import (
    Cleaned,
    Distance,
    Keypoints,
    MapError,
    PairDistance,
    Step,
)


@faulty("check_keypoint_order")
class FirstCountsMost(Distance):
    """Weighs the keypoints by their place."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        place = torch.arange(pred.shape[1], device=pred.device)
        return super().between(targ, pred) / (1.0 + place)


@faulty("check_keypoint_order")
class FromTheLast(Distance):
    """Returns the elements from the last keypoint to the first."""

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        cleaned, left_out = super().remove_nans(keypoints_targ, keypoints_pred)
        return cleaned, {why: mask.flip(-1) for why, mask in left_out.items()}

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred).flip(-1)


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


@faulty("check_view_order")
class FirstPairCountsMost(PairDistance):
    """Trusts the pair of the first two cameras more."""

    def of_pairs(self, distances: Tensor) -> Tensor:
        place = torch.arange(distances.shape[1], device=distances.device)
        return distances / (1.0 + place[:, None])


@faulty("check_view_order")
class NoViews(Distance):
    """States something of views, and has none."""

    properties = Properties(view_order=True)


@faulty("check_translation")
class Relative(Distance):
    """Is relative to the distance from the corner of the image."""

    properties = Properties(keypoint_order=True, translation=True, rotation=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) / (1.0 + torch.linalg.vector_norm(targ, dim=-1))


@faulty("check_translation")
class NoCoordinates(MapError):
    """States something of coordinates, and has none."""

    properties = Properties(translation=True)


@faulty("check_rotation")
class AlongTheAxes(Distance):
    """Sums the errors of x and y."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return (pred - targ).abs().sum(dim=-1)


@faulty("check_scaling")
class Squared(Distance):
    """Is a squared length, and says that it is a length."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return (pred - targ).square().sum(dim=-1)


@faulty(
    "check_scaling",
    also=because(
        "the square that is not chosen is infinite",
        "check_huge_numbers",
        "check_invalid_has_no_influence",
    ),
)
class Huber(Distance):
    """Is a squared length where small and a length where large, and says that it is a length."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return torch.where(distances < 100.0, distances.square() / 200.0, distances - 50.0)


@faulty("check_scaling")
class FreeOfTheUnit(Step):
    """Says that the unit of the coordinates does not matter."""

    properties = Properties(keypoint_order=True, translation=True, rotation=True, scaling=0)
