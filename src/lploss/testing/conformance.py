"""Running the checks over a loss."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from hypothesis.errors import Flaky
from torch import Tensor

from lploss.errors import (
    ArgumentValueError,
    LplossError,
    PluginError,
    did_you_mean,
    first_line,
)
from lploss.loss import Loss
from lploss.testing import global_state
from lploss.testing.batches import Example, Wish
from lploss.testing.check import CHECKS, Case, Check, NotApplicable, origin_of, what_failed
from lploss.testing.report import DEFINITION, CheckRecord, ConformanceReport
from lploss.testing.subject import LossInput, Subject, Target

NUM_EXAMPLES = 25
MINIMUM = 20


# What these find does not depend on the arguments of a loss; that a batch can be put together
# from its parts, check_split_batch tells of each variant, too, without starting processes.
_OF_THE_CLASS = (
    "check_config_paths",
    "check_derivations",
    "check_manifest_light",
    "check_two_processes",
)


class _Variant(NamedTuple):
    """A loss to check: the example of a class, or one of its variants."""

    subject: Subject
    loss: Loss
    inputs: Mapping[str, LossInput]


class Conformance:
    """The checks of one loss and its variants; each check runs once, on request.

    If `check_definition` fails, no other check is run.

    Args:
        target: a loss, its class, its name, a function without arguments that returns one, or a
            `Subject`, which knows where names are looked up and with which arguments.
        num_examples: how many examples a check tries that needs no fewer.
        seed: of the examples.
        expected_failures: for checks that the loss is known to fail, why.
        minimum: how many checks must run.
        shrinks: whether a failing example is made as small as possible.

    Raises:
        LplossError: there is no such loss, or it cannot be built, or no example can be drawn, or
            an argument cannot be used.
    """

    def __init__(
        self,
        target: Target,
        *,
        num_examples: int = NUM_EXAMPLES,
        seed: int = 0,
        expected_failures: Mapping[str, str] | None = None,
        minimum: int = MINIMUM,
        shrinks: bool = True,
    ) -> None:
        if num_examples < 1:
            raise ArgumentValueError(f"examples must be at least 1, got {num_examples}")
        self._expected = dict(expected_failures or {})
        for name, reason in self._expected.items():
            _check_name(name)
            if not isinstance(reason, str) or not reason.strip():
                raise ArgumentValueError(
                    f"expected_failures must say why {name} is expected to fail, got {reason!r}"
                )
        self._num_examples, self._seed = num_examples, seed
        self._minimum, self._shrinks = minimum, shrinks
        self._subject = Subject.of(target)
        subjects = [self._subject, *self._subject.variants()]
        self._variants = [_Variant(s, s.built(), s.inputs()) for s in subjects]
        self._records: dict[str, CheckRecord] = {}
        for variant in self._variants:
            self._demand_examples(variant)

    def record(self, name: str) -> CheckRecord:
        """Return what a check found; runs it the first time.

        Raises:
            ArgumentValueError: there is no such check.
        """
        _check_name(name)
        if name not in self._records:
            started = time.perf_counter()
            record = self._run_all(CHECKS[name])
            if name in self._expected:
                record = self._as_expected(record, self._expected[name])
            self._records[name] = record._replace(seconds=time.perf_counter() - started)
        return self._records[name]

    def report(self, checks: Iterable[str] | None = None) -> ConformanceReport:
        """Return what all checks found, or some of them.

        Raises:
            ArgumentValueError: there is no such check.
        """
        names = list(CHECKS) if checks is None else list(checks)
        for name in names:
            _check_name(name)
        records = list(map(self.record, names))
        if self._is_stopped() and DEFINITION not in names:
            records.insert(0, self.record(DEFINITION))
        return ConformanceReport(
            self._subject.name,
            tuple(records),
            self._minimum,
            self._num_examples,
            self._seed,
        )

    def _is_stopped(self) -> bool:
        return DEFINITION in CHECKS and self.record(DEFINITION).status == "failed"

    def _demand_examples(self, variant: _Variant) -> None:
        """Demand that examples can be drawn: else no check could tell anything of the loss."""
        case = self._case(variant, variant.loss)
        try:
            case.for_each(lambda example: None, Wish(optional=True), at_most=1)
        except LplossError:
            raise
        except Exception as error:
            raise PluginError(
                f"no example can be drawn for the loss {self._subject.name!r}: "
                f"{first_line(error)}{origin_of(error)}"
            ) from error

    def _case(self, variant: _Variant, loss: Loss) -> Case:
        return Case(
            variant.subject, loss, variant.inputs, self._num_examples, self._seed, self._shrinks
        )

    def _run_all(self, check: Check) -> CheckRecord:
        """Run a check on the example, and on its variants until one fails."""
        if check.name != DEFINITION and self._is_stopped():
            return CheckRecord(check.name, "not_applicable", f"not run: {DEFINITION} failed")
        variants = self._variants[:1] if check.name in _OF_THE_CLASS else self._variants
        records = []
        for variant in variants:
            record = self._run(check, variant)
            if record.status == "failed":
                label = variant.subject.label
                message = f"with {label}: {record.message}" if label else record.message
                return record._replace(message=message)
            records.append(record)
        return next((record for record in records if record.was_run), records[0])

    def _run(self, check: Check, variant: _Variant) -> CheckRecord:
        try:
            loss = copy.deepcopy(variant.loss)
        except Exception:
            loss = variant.loss  # check_copies tells
        case = self._case(variant, loss)
        try:
            # What a loss leaves behind must not spoil the checks that follow.
            with global_state.kept(), warnings.catch_warnings():
                # What a loss warns of is for its users; here each example would repeat it.
                warnings.simplefilter("ignore")
                check.run(case)
        except NotApplicable as reason:
            return CheckRecord(check.name, "not_applicable", str(reason))
        except Exception as error:
            return CheckRecord(check.name, "failed", self._message(check, case, error))
        return CheckRecord(check.name, "passed", "")

    def _message(self, check: Check, case: Case, error: Exception) -> str:
        if isinstance(error, Flaky):
            what = "one batch failed and, tried again, passed: the loss is not deterministic"
        else:
            what = what_failed(error)
        code = case.subject.code
        if case.example is not None and case.example.has_nan_predictions:
            code = (*code, f'loss.nan_predictions = "{case.loss.nan_predictions}"')
        script = script_of(code, case.example, case.script or check.shows, case.other)
        return f"{what}\nWhy: {check.why}\nMend: {check.mend}\n\n{script}"

    @staticmethod
    def _as_expected(record: CheckRecord, reason: str) -> CheckRecord:
        if record.status == "failed":
            return record._replace(status="expected_failure", message=reason)
        if record.status == "passed":
            message = (
                f"passed, though it was expected to fail: {reason.rstrip('.')}. "
                "Remove the expectation."
            )
        else:
            message = (
                f"does not apply ({record.message}), though it was expected to fail: "
                f"{reason.rstrip('.')}. Remove the expectation."
            )
        return record._replace(status="failed", message=message)


def check_loss(
    loss: Target,
    *,
    examples: int = NUM_EXAMPLES,
    seed: int = 0,
    checks: Iterable[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    minimum: int | None = None,
    shrink: bool = True,
) -> ConformanceReport:
    """Check all that a loss must do to work in any trainer.

    Examples are drawn from the axes and meanings of the loss's inputs, so no test data are needed.
    A name or a class is checked as its `example`, and then with each of its `variants`.

    Args:
        loss: a loss, its class, its name (or ``distribution/name``), a function without
            arguments that returns a loss, or a `Subject`, which holds arguments of the loss too.
        examples: how many examples a check tries, at least 1; some need fewer.
        seed: of the examples; the same seed draws the same ones.
        checks: names of the checks to run; all unless given.
        expected_failures: for checks that the loss is known to fail, why. Such a check that does
            not fail is a failure.
        minimum: how many checks must run for the report to be good; 20 where all are asked for,
            else none.
        shrink: whether a failing example is made as small as possible, which takes time.

    Returns:
        The report: ``.ok``, and ``.records`` of ``(check, status, message, seconds)``.

    Raises:
        LplossError: there is no such loss or check, or the loss cannot be built, or no example
            can be drawn.

    Example:
        >>> from lploss.testing import check_loss
        >>> report = check_loss("rmse", checks=["check_scalar", "check_view_order"])
        >>> [(record.check, record.status) for record in report.records]
        [('check_scalar', 'passed'), ('check_view_order', 'not_applicable')]
        >>> report.ok
        True
    """
    if minimum is None:
        minimum = MINIMUM if checks is None else 0
    conformance = Conformance(
        loss,
        num_examples=examples,
        seed=seed,
        expected_failures=expected_failures,
        minimum=minimum,
        shrinks=shrink,
    )
    return conformance.report(checks)


def _check_name(name: str) -> None:
    if name not in CHECKS:
        raise ArgumentValueError(
            f"there is no check {name!r}.{did_you_mean(name, CHECKS)} Known: {', '.join(CHECKS)}."
        )


_PRECISIONS = {torch.float32: "", torch.float64: ", dtype=torch.float64"}


def script_of(
    build: tuple[str, ...], example: Example | None, shows: str, other: Example | None = None
) -> str:
    """Return Python that builds the loss and the batch, and shows what is wrong.

    Args:
        build: lines that build the loss.
        example: the batch.
        shows: lines that show what is wrong.
        other: a batch that it is compared with; of this, what differs is written.
    """
    if example is None:  # without a batch there is nothing to call
        return "\n".join(["import torch", *build, *([] if "batch" in shows else [shows])]).strip()
    backward = "backward" in shows
    literals = {name: _literal(value, backward) for name, value in example.batch.items()}
    changed = {name: _literal(v, backward) for name, v in (other.batch if other else {}).items()}
    changed = {name: text for name, text in changed.items() if text != literals[name]}
    lines = ["import torch", *build]
    texts = [*literals.values(), *changed.values()]
    names = [name for name in ("nan", "inf") if any(name in text for text in texts)]
    if names:
        lines.append(f"{', '.join(names)} = " + ", ".join(f'float("{name}")' for name in names))
    lines += ["batch = {", *_entries(literals), "}"]
    if other:
        lines += ["other = {", "    **batch,", *_entries(changed), "}"]
    return "\n".join([*lines, shows])


def _entries(literals: Mapping[str, str]) -> list[str]:
    return [f'    "{name}": {literal},' for name, literal in literals.items()]


def _literal(value: Tensor, backward: bool) -> str:
    dtype = _PRECISIONS.get(value.dtype, f", dtype={value.dtype}")
    needs_gradient = ", requires_grad=True" if backward and value.is_floating_point() else ""
    if value.device.type != "cpu" or not value.numel():
        device = "" if value.device.type == "cpu" else f', device="{value.device}"'
        return f"torch.zeros({tuple(value.shape)}{dtype}{device}{needs_gradient})"
    return f"torch.tensor({_nested(value.detach().numpy())}{dtype}{needs_gradient})"


def _nested(values: Any) -> str:
    if values.ndim:
        return f"[{', '.join(map(_nested, values))}]"
    # NumPy writes the fewest digits that give the very number in its precision.
    return str(values[()])
