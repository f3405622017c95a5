"""What a loss must leave alone."""

from __future__ import annotations

import os
import pickle
import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from lploss.testing.batches import Example
from lploss.testing.check import Case, check, fail, is_close, show


@check(
    why="All losses of a factory, and the trainer's metrics, read the same batch.",
    mend="Use no operation that ends in an underscore, and no assignment to a slice, on what came "
    "in: torch.where returns a new tensor.",
    shows="""before = {name: value.detach().clone() for name, value in batch.items()}
loss(**{name: value.detach() for name, value in batch.items()})
print(before, batch)""",
)
def check_inputs_untouched(case: Case) -> None:
    def body(example: Example) -> None:
        given = {name: value.clone() for name, value in example.batch.items()}
        for name in list(given):
            given[f"unused_{name}"] = given[name].clone()
        names = list(given)
        case.loss(**given)
        case.loss.evaluate(given)
        if list(given) != names:
            fail(f"the batch must keep its keys {names}, it has {list(given)}")
        for name, value in example.batch.items():
            if not is_close(given[name], value, rtol=0.0, atol=0.0):
                fail(f"{name} was changed from {show(value)} to {show(given[name])}")
            if given[name].requires_grad != value.requires_grad:
                fail(f"{name} was made to require a gradient")

    case.for_each(body)


@check(
    why="A loss that seeds random numbers or switches gradients off changes the whole training.",
    mend="Use local forms: torch.Generator for random numbers, `with torch.no_grad():` around a "
    "few lines, an argument instead of a default.",
)
def check_global_state_untouched(case: Case) -> None:
    _demand_untouched(case.subject.build, "to build it")

    def body(example: Example) -> None:
        _demand_untouched(lambda: case.loss(**example.batch), "a call")

    case.for_each(body, at_most=10)


def _demand_untouched(function: Callable[[], Any], what: str) -> None:
    kept = _state()
    try:
        # What is set to what it happens to be shows only where it is something else.
        for unusual in ({}, _unusual()):
            for name, value in unusual.items():
                _SETTINGS[name].put(value)
            before = _state()
            function()
            after = _state()
            changed = [name for name in before if not _same(after[name], before[name])]
            if changed:
                fail(f"{what} changed {', '.join(changed)}")
    finally:
        # Else the checks that follow were spoilt. To set all would import half of torch.
        for name, value in _state().items():
            if not _same(value, kept[name]):
                _SETTINGS[name].put(kept[name])


def _state() -> dict[str, Any]:
    return {name: setting.get() for name, setting in _SETTINGS.items()}


def _unusual() -> dict[str, Any]:
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
    return (
        pickle.dumps(first) == pickle.dumps(second)
        if isinstance(first, tuple)
        else (first == second)
    )
