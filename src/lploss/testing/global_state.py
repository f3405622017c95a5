"""What belongs to the whole process: random numbers, gradient mode, environment, and so on."""

from __future__ import annotations

import os
import pickle
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch


def get() -> dict[str, Any]:
    """Return all settings, by name."""
    return {name: setting.get() for name, setting in _SETTINGS.items()}


def put(settings: Mapping[str, Any]) -> None:
    """Change some settings."""
    for name, value in settings.items():
        _SETTINGS[name].put(value)


def changed(before: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings that are no longer what they were."""
    return [name for name, value in get().items() if not _same(value, before[name])]


@contextmanager
def kept() -> Iterator[None]:
    """Put all settings back at the end."""
    before = get()
    try:
        yield
    finally:
        put({name: before[name] for name in changed(before)})


def unusual() -> dict[str, Any]:
    """Return values of some settings that they hardly have."""
    return {
        "torch's random state": torch.Generator().manual_seed(1729).get_state(),
        "numpy's random state": np.random.RandomState(1729).get_state(),
        "Python's random state": random.Random(1729).getstate(),
        "the gradient mode": not torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads() + 1,
        "the precision of matrix products": "medium",
    }


class _Setting(NamedTuple):
    get: Callable[[], Any]
    put: Callable[[Any], Any]


def _put_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _put_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]


_SETTINGS: Mapping[str, _Setting] = {
    "torch's random state": _Setting(torch.random.get_rng_state, torch.random.set_rng_state),
    "numpy's random state": _Setting(np.random.get_state, np.random.set_state),
    "Python's random state": _Setting(random.getstate, random.setstate),
    "the gradient mode": _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "the default dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
    "the number of threads": _Setting(torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": _Setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    ),
    "anomaly detection": _Setting(torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "the precision of matrix products": _Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "autocast": _Setting(
        lambda: torch.is_autocast_enabled("cpu"),
        lambda enabled: torch.set_autocast_enabled("cpu", enabled),
    ),
    "numpy's handling of errors": _Setting(np.geterr, lambda errors: np.seterr(**errors)),
    "the environment": _Setting(lambda: dict(os.environ), _put_environment),
    "the warning filters": _Setting(lambda: list(warnings.filters), _put_filters),
}


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, tuple):  # perhaps with arrays
        return pickle.dumps(first) == pickle.dumps(second)
    return bool(first == second)
