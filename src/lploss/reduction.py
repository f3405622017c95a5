"""From element-wise losses to one number: over what counts, in one process or in all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from lploss.errors import ArgumentValueError

Denominator = Literal["valid", "all"]
Method = Literal["mean", "sum"]
Sync = Literal["auto"] | bool
NanPredictions = Literal["propagate", "leave_out"]


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


def nan_or_one(is_nan: Tensor) -> Tensor:
    """Return a scalar of NaN where any entry is true, else of 1, without waiting for the device.

    Example:
        >>> nan_or_one(torch.tensor([False, True])), nan_or_one(torch.tensor([False]))
        (tensor(nan), tensor(1.))
    """
    return torch.where(is_nan.any(), math.nan, 1.0)


def with_nan_gradients(total: Tensor, predictions: Iterable[Any]) -> Tensor:
    """Return the total such that, where it is NaN, its gradients for the predictions are NaN.

    The gradient of a masked element is an exact zero, whatever it is multiplied by, so without this
    a network could be told that NaN predictions need no change. Where the total is not NaN, no
    gradient changes.

    Args:
        total: a scalar.
        predictions: what the network predicted; only tensors that require a gradient matter.

    Example:
        >>> pred = torch.zeros(2, requires_grad=True)
        >>> total = with_nan_gradients(pred[0] * float("nan"), [pred])
        >>> torch.autograd.grad(total, pred)
        (tensor([nan, nan]),)
    """
    if not total.requires_grad:
        return total
    leaves = [p for p in predictions if isinstance(p, Tensor) and p.requires_grad]
    return _NanGradients.apply(total, *leaves) if leaves else total


class _NanGradients(torch.autograd.Function):
    """Its first argument; the others get a gradient of NaN where that is NaN, else of 0."""

    @staticmethod
    def forward(total: Tensor, *predictions: Tensor) -> Tensor:
        return total.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        total, *predictions = inputs
        ctx.save_for_backward(total)
        ctx.predictions = [(p.shape, p.dtype, p.device) for p in predictions]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        (total,) = ctx.saved_tensors
        spoilt = torch.where(total.isnan(), math.nan, 0.0)
        # Expanded, so that no memory is written here.
        others = [
            spoilt.to(device, dtype).expand(shape) for shape, dtype, device in ctx.predictions
        ]
        return grad, *others


def checked_nan_predictions(value: Any, whose: str = "") -> NanPredictions:
    """Return a value that says what a loss does with predictions that are not finite.

    Args:
        value: what was given.
        whose: start of the error's message.

    Raises:
        ArgumentValueError: it is neither ``"propagate"`` nor ``"leave_out"``.

    Example:
        >>> checked_nan_predictions("leave_out")
        'leave_out'
    """
    if value not in ("propagate", "leave_out"):
        raise ArgumentValueError(
            f"{whose}nan_predictions must be 'propagate' or 'leave_out', got {value!r}",
            argument="nan_predictions",
        )
    choice: NanPredictions = value
    return choice


def checked_sync(value: Any, whose: str = "") -> Sync:
    """Return a value that says when to synchronise.

    Args:
        value: what was given.
        whose: start of the error's message.

    Raises:
        ArgumentValueError: it is neither ``"auto"`` nor a truth value.

    Example:
        >>> checked_sync("auto")
        'auto'
    """
    if value != "auto" and not isinstance(value, bool):
        raise ArgumentValueError(
            f"{whose}sync must be 'auto', True or False, got {value!r}", argument="sync"
        )
    return value


def has_processes(sync: Sync) -> bool:
    """Return whether there is a group of processes to share with; ``"auto"`` wants several.

    Example:
        >>> has_processes("auto")
        False
    """
    if sync is False or not (dist.is_available() and dist.is_initialized()):
        return False
    return sync is True or dist.get_world_size() > 1


def across_processes(
    means: Sequence[Tensor],
    numbers: Sequence[Tensor | int],
    factors: Sequence[Tensor | None] | None = None,
) -> list[Tensor]:
    """Turn means over this process's elements into means over those of all processes.

    All processes must call this with as many means. It is one all-reduce for all of them, and does
    not wait for the device.

    Args:
        means: means of this process; one over nothing may be anything.
        numbers: by how many elements each of them divides.
        factors: for each of them NaN where this process has predictions that are not finite, else
            1 or ``None``. It reaches all processes, also where this one has no elements.

    Returns:
        For each a scalar with the value of the mean over all processes. Where that is NaN, so is
        its gradient, in all processes. Else its gradient is that of
        this process's part of that mean, times the number of processes: averaged over the
        processes, as ``DistributedDataParallel`` does, it is the gradient of the mean.
    """
    device = means[0].device
    # Sums over many frames, and numbers above 2 ** 24, need more than float32, if there is more.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    local = torch.stack([mean.detach().to(device, dtype) for mean in means])
    number = torch.stack(
        [
            n.to(device, dtype)
            if isinstance(n, Tensor)
            else torch.full((), n, dtype=dtype, device=device)
            for n in numbers
        ]
    )
    counts = number > 0
    # What a process without elements calls their mean must not reach the others, not even NaN.
    sums = torch.where(counts, local * number, 0.0)
    if factors is not None and any(factor is not None for factor in factors):
        sums = sums * torch.stack(
            [
                sums.new_ones(()) if factor is None else factor.to(device, dtype)
                for factor in factors
            ]
        )
    together = torch.cat([sums, number])
    dist.all_reduce(together)
    sums, total = together.chunk(2)
    total = total.clamp(min=1)
    values = sums / total
    shares = dist.get_world_size() * number / total
    spoilt = torch.where(values.isnan(), values, 1.0)
    shared = []
    for mean, has_any, value, share, nan in zip(means, counts, values, shares, spoilt, strict=True):
        part = torch.where(has_any.to(mean.device), mean * share.to(mean), 0.0)
        # The value comes from the sum alone, so that it is the same in all processes to the bit.
        # Zero, with the gradient of the part; infinity less itself would be NaN.
        slope = torch.where(part.isfinite(), part - part.detach(), 0.0)
        shared.append((value.to(mean) + slope) * nan.to(mean))
    return shared


def shares(numbers: Tensor, *, together: bool) -> Tensor:
    """Return how much each batch counts beside the others: 1 for one of average size.

    Args:
        numbers: ``batches losses``: how many elements of each loss a batch has.
        together: whether the batches of all processes are meant; all of them must call this.

    Example:
        >>> shares(torch.tensor([[3], [1]]), together=False).tolist()
        [[1.5], [0.5]]
    """
    numbers = numbers.float() if numbers.device.type == "mps" else numbers.double()
    if together:
        dist.all_reduce(numbers)
    return len(numbers) * numbers / numbers.sum(dim=0).clamp(min=1)


def gather(value: Any) -> list[Any]:
    """Return what each process holds, in the order of their ranks; all of them must call this.

    Args:
        value: anything that can be pickled.
    """
    held: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(held, value)
    return held
