"""Losses that ask for values, know one device only, or that compilers cannot take as one graph."""

from __future__ import annotations

import logging
import time

import torch
from torch import Tensor

from tests.lploss.testing.faulty.fault import faulty
from tests.lploss.testing.faulty.sound import Distance


@faulty("check_no_synchronisation")
class PicksByMask(Distance):
    """Picks what is far by boolean indexing."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        is_far = distances > 0
        found = torch.zeros_like(distances)
        found[is_far] = distances[is_far]
        return found


@faulty("check_no_synchronisation")
class AsksForAValue(Distance):
    """Asks whether there is anything to do."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return distances if distances.sum().item() > 0.0 else 0.0 * distances


@faulty("check_no_synchronisation")
class ComparesTensors(Distance):
    """Asks whether the prediction is perfect."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        return 0.0 * distances if torch.equal(targ, pred) else distances


@faulty("check_no_synchronisation")
class CountsTheDistinct(Distance):
    """Asks which values there are."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        distances = super().between(targ, pred)
        is_any = targ.detach().unique().numel() > 0
        return distances if is_any else 0.0 * distances


@faulty("check_no_synchronisation")
class BranchesOnATensor(Distance):
    """Raises where a prediction is not finite, as a precaution."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        if not torch.isfinite(pred).all():
            raise ValueError("a prediction is not finite")
        return super().between(targ, pred)


@faulty("check_no_synchronisation")
class AssertsTheDevice(Distance):
    """Remembers where it was made."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.device = self.epsilon.device

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        assert pred.device == self.device
        return super().between(targ, pred)


@faulty("check_no_synchronisation")
class WeightsOnTheHost(Distance):
    """Makes a new tensor where no device was said."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * torch.full((pred.shape[1],), 2.0)


@faulty("check_no_synchronisation")
class FetchesAll(Distance):
    """Computes on the host."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ.cpu(), pred.cpu())


@faulty("check_compile")
class Prints(Distance):
    """Prints what came."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        print("keypoints", pred.shape)
        return super().between(targ, pred)


@faulty("check_compile")
class Logs(Distance):
    """Writes to a log."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        logging.getLogger(__name__).debug("keypoints %s", pred.shape)
        return super().between(targ, pred)


@faulty("check_compile")
class LooksAtTheClock(Distance):
    """Measures how long it takes."""

    seconds = 0.0

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        started = time.perf_counter()
        distances = super().between(targ, pred)
        self.seconds = time.perf_counter() - started
        return distances


@faulty("check_compile")
class HasAFastPath(Distance):
    """Is something else where it is compiled."""

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return (pred - targ).abs().sum(dim=-1)
        return super().between(targ, pred)
