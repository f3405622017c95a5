"""From element-wise losses to one number, over the elements that count."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Denominator = Literal["valid", "all"]
Method = Literal["mean", "sum"]


def masked_sum(loss: Tensor, valid: Tensor | None) -> Tensor:
    """Return the sum over the elements that count, at least in float32.

    Elements that do not count have no influence, not even where they are NaN, and get a
    gradient of exactly zero.

    Example:
        >>> masked_sum(torch.tensor([1.0, float("nan")]), torch.tensor([True, False]))
        tensor(1.)
    """
    if valid is not None:
        loss = torch.where(valid, loss, 0.0)
    half = loss.dtype in (torch.float16, torch.bfloat16)
    return loss.sum(dtype=torch.float32) if half else loss.sum()


def count(loss: Tensor, valid: Tensor | None, denominator: Denominator = "valid") -> Tensor | int:
    """Return by how many elements a mean divides, as a tensor where a mask decides.

    Example:
        >>> count(torch.zeros(4, 2), None), count(torch.zeros(4, 2), None, "all")
        (8, 8)
    """
    if valid is None or denominator == "all":
        return loss.numel()
    return torch.count_nonzero(valid)


def mean_of(total: Tensor, number: Tensor | int) -> Tensor:
    """Return ``total / number``, and an exact zero where there was nothing to sum."""
    return total / (number.clamp(min=1) if isinstance(number, Tensor) else max(number, 1))
