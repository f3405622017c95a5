"""Losses that take weight or epsilon amiss."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss import Properties
from tests.lploss.testing.faulty.fault import faulty
from tests.lploss.testing.faulty.sound import Distance


@faulty("check_weight_once")
class WeighsTwice(Distance):
    """Multiplies by the weight, too."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return self.weight * super().between(targ, pred)


@faulty("check_weight_once")
class WeighsNever(Distance):
    """Leaves the weight to the trainer."""

    @property
    def weight(self) -> Tensor:
        return torch.ones_like(self.log_weight)


@faulty("check_weight_once")
class WeighsWithoutTheHalf(Distance):
    """Has another formula for the weight."""

    @property
    def weight(self) -> Tensor:
        return torch.exp(-self.log_weight)


@faulty("check_weight_once")
class WeighsTheWrongWay(Distance):
    """Grows with log_weight."""

    @property
    def weight(self) -> Tensor:
        return torch.exp(self.log_weight) * 0.5


@faulty("check_epsilon")
class IgnoresEpsilon(Distance):
    """Takes an epsilon and never looks at it."""

    def rectify_epsilon(self, loss: Tensor) -> Tensor:
        return loss


@faulty("check_epsilon")
class TakesEpsilonTwice(Distance):
    """Takes epsilon off by itself, too."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return torch.relu(super().between(targ, pred) - self.epsilon)


@faulty("check_epsilon")
class KeepsWhatIsAbove(Distance):
    """Drops what is below epsilon, and does not take it off the rest."""

    def rectify_epsilon(self, loss: Tensor) -> Tensor:
        return torch.where(loss > self.epsilon, loss, 0.0)


@faulty("check_epsilon")
class SquaresEpsilon(Distance):
    """Has an epsilon of another unit than that of the loss."""

    def rectify_epsilon(self, loss: Tensor) -> Tensor:
        return torch.relu(loss - self.epsilon.square())


@faulty("check_epsilon")
class EpsilonOfTheFrame(Distance):
    """Takes an epsilon a keypoint for one a frame."""

    def rectify_epsilon(self, loss: Tensor) -> Tensor:
        epsilon = self.epsilon
        if epsilon.ndim:
            epsilon = epsilon.mean()
        return torch.relu(loss - epsilon)


@faulty("check_epsilon")
class MeanOfEpsilons(Distance):
    """Takes the same off all keypoints, though each has an epsilon."""

    def rectify_epsilon(self, loss: Tensor) -> Tensor:
        return torch.relu(loss - self.epsilon.mean())


@faulty("check_epsilon")
class Likelihood(Distance):
    """Is negative where the prediction is good."""

    properties = Properties(translation=True, rotation=True)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) - 30.0
