"""Losses that compilers cannot take as one graph."""

from __future__ import annotations

import logging
import time

import torch
from torch import Tensor

from tests.lploss.testing.faulty.fault import faulty
from tests.lploss.testing.faulty.sound import Distance


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
