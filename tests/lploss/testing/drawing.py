"""Drawing from the strategies of the kit, as the checks do."""

from __future__ import annotations

import warnings
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from hypothesis.errors import HypothesisDeprecationWarning

from lploss import Registry
from lploss.registry import default_registry
from lploss.testing.batches import Example, Wish
from lploss.testing.check import Case
from lploss.testing.subject import Subject, Target

T = TypeVar("T")


def values_of(strategy: st.SearchStrategy[T], number: int = 100, seed: int = 0) -> list[T]:
    """Return values that a strategy draws."""
    found: list[T] = []

    def keep(value: T) -> None:
        found.append(value)

    settings = hypothesis.settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    with warnings.catch_warnings():
        # Run-time type checks take random numbers, which strategies should not.
        warnings.simplefilter("ignore", HypothesisDeprecationWarning)
        hypothesis.seed(seed)(settings(hypothesis.given(strategy)(keep)))()
    return found


def examples_of(
    target: Target,
    wish: Wish | None = None,
    *,
    number: int = 40,
    seed: int = 0,
    registry: Registry = default_registry,
) -> list[Example]:
    """Return examples for a loss."""
    subject = Subject.of(target, registry)
    case = Case(subject, subject.built(), subject.inputs(), number, seed)
    found: list[Example] = []
    case.for_each(found.append, wish)
    return found
