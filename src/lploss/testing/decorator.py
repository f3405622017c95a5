"""The checks as tests of pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lploss.errors import LplossError, MissingDependencyError
from lploss.testing.check import CHECKS, origin_of
from lploss.testing.conformance import MINIMUM, NUM_EXAMPLES, Conformance
from lploss.testing.subject import Target

try:
    import pytest
except ImportError as error:
    raise MissingDependencyError(
        'loss_checks needs pytest: pip install "lploss[testing]"'
    ) from error

_ENOUGH = "enough_checks_were_run"


def loss_checks(
    loss: Target,
    *,
    examples: int = NUM_EXAMPLES,
    seed: int = 0,
    expected_failures: Mapping[str, str] | None = None,
    minimum: int = MINIMUM,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run a test once for each check; it takes the argument ``check`` and calls it.

    A check that does not apply is skipped, and an expected failure is an xfail. One more test
    fails where fewer checks than the minimum apply.

    Args:
        loss: a loss, its class, its name (or ``distribution/name``), or a function without
            arguments that returns a loss.
        examples: how many examples a check tries, at least 1.
        seed: of the examples.
        expected_failures: for checks that the loss is known to fail, why; strict.
        minimum: how many checks must apply.

    Example:
        >>> from lploss.testing import loss_checks
        >>> @loss_checks("temporal")
        ... def test_conformance(check):
        ...     check()
    """
    made: list[Conformance | str] = []

    def make() -> Conformance | str:
        try:
            return Conformance(
                loss,
                num_examples=examples,
                seed=seed,
                expected_failures=expected_failures,
                minimum=minimum,
            )
        except LplossError as error:
            return f"the loss cannot be checked: {error}{origin_of(error.__cause__ or error)}"

    def conformance() -> Conformance:
        # Not before the first test runs: a loss that cannot be built is no error of collection.
        if not made:
            made.append(make())
        if isinstance(made[0], str):
            pytest.fail(made[0], pytrace=False)
        return made[0]

    def test_of(name: str) -> Callable[[], None]:
        def run() -> None:
            record = conformance().record(name)
            if record.status == "not_applicable":
                pytest.skip(f"not applicable: {record.message}")
            if record.status == "expected_failure":
                pytest.xfail(record.message)
            if record.status == "failed":
                pytest.fail(record.message, pytrace=False)

        return run

    def enough() -> None:
        if too_few := conformance().report().too_few:
            pytest.fail(too_few, pytrace=False)

    return pytest.mark.parametrize("check", [*map(test_of, CHECKS), enough], ids=[*CHECKS, _ENOUGH])
