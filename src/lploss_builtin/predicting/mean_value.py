"""A mean that is added up piece by piece."""

from __future__ import annotations

import math

from torch import Tensor


class MeanValue:
    """The mean of all values that are numbers; NaN where there is none.

    Example:
        >>> import torch
        >>> mean = MeanValue()
        >>> mean.add(torch.tensor([1.0, float("nan")]))
        >>> mean.add(torch.tensor([3.0]))
        >>> mean.value
        2.0
    """

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: Tensor) -> None:
        """Count in the values that are numbers."""
        self._sum += values.nansum().item()
        self._count += int((~values.isnan()).sum())

    @property
    def value(self) -> float:
        """The mean of what was added."""
        return self._sum / self._count if self._count else math.nan
