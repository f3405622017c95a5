"""Timing calls against each other, and what a machine could do at best."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType

Call = Callable[[], object]

# A timed block of calls lasts at least so long: well above the clock's resolution.
_SHORTEST_BLOCK = 2e-3
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Quartiles:
    """The quartiles of some measurements; most of them lie between ``low`` and ``high``."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Quartiles:
        """Return the quartiles of at least two values."""
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True, slots=True)
class Comparison:
    """How often one call fits into the time of another.

    Attributes:
        ratio: quartiles over the rounds, each a ratio of neighbours in time.
        quiet: ratio of the fastest tenth of both: what other load on the machine hides least.
    """

    ratio: Quartiles
    quiet: float

    @classmethod
    def of(cls, slow: list[float], fast: list[float]) -> Comparison:
        """Compare two calls of `interleaved`."""
        ratios = [s / f for s, f in zip(slow, fast, strict=True)]
        return cls(Quartiles.of(ratios), _tenth(slow) / _tenth(fast))


def interleaved(
    calls: Mapping[str, Call],
    device: torch.device,
    rounds: int,
    number: int | None = None,
    warm_up: int = _WARM_UP,
) -> dict[str, list[float]]:
    """Time calls in turn, so that whatever disturbs the machine disturbs them alike.

    Args:
        calls: what to time, by name.
        device: what to wait for.
        rounds: how often each call is timed; the order is reversed in every other round.
        number: how many calls a timing is made of; as many as make it long enough unless given.
        warm_up: how often each is called before.

    Returns:
        For each name the seconds of one call, a value a round.
    """
    numbers = {}
    for name, call in calls.items():
        for _ in range(warm_up):
            once = _block(call, 1, device)
        numbers[name] = number or max(1, math.ceil(_SHORTEST_BLOCK / once))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls) if turn % 2 else reversed(calls):
            seconds[name].append(_block(calls[name], numbers[name], device) / numbers[name])
    return seconds


def peak_bytes(call: Call, device: torch.device) -> int:
    """Return how much memory a call holds at most, over what was there before."""
    call()
    wait_for(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(profile_memory=True) as profiler:
        call()
    held = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU:
            held += event.nbytes()
            most = max(most, held)
    return most


def copy_bandwidth(device: torch.device) -> float:
    """Return the bytes a second that a large copy reads and writes."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    seconds = interleaved({"copy": lambda: target.copy_(source)}, device, rounds=15)["copy"]
    return 2 * source.nbytes / statistics.median(seconds)


def matmul_rate(device: torch.device) -> float:
    """Return the operations a second, additions and multiplications, of a large matrix product."""
    matrix = torch.rand(2048, 2048, device=device)
    result = torch.empty_like(matrix)
    seconds = interleaved(
        {"product": lambda: torch.mm(matrix, matrix, out=result)}, device, rounds=15
    )["product"]
    return 2 * 2048**3 / statistics.median(seconds)


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def check_no_wait(call: Call, device: torch.device) -> bool | None:
    """Return whether a call runs without waiting for the device; ``None`` where that is moot."""
    if device.type != "cuda":
        return None
    wait_for(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return False
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True


def _block(call: Call, number: int, device: torch.device) -> float:
    wait_for(device)
    start = time.perf_counter()
    for _ in range(number):
        call()
    wait_for(device)
    return time.perf_counter() - start


def _tenth(values: list[float]) -> float:
    return sorted(values)[len(values) // 10]
