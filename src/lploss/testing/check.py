"""What a check is, and what it works with."""

from __future__ import annotations

import copy
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.errors import HypothesisDeprecationWarning
from torch import Tensor

import lploss
from lploss.errors import LplossError, first_line
from lploss.loss import Loss
from lploss.testing.batches import Example, Wish, examples
from lploss.testing.subject import LossInput, Subject

_DRAWN = (Phase.generate, Phase.shrink)


class CheckFailure(LplossError, AssertionError):  # noqa: N818
    """A loss does not do what a check demands."""


class NotApplicable(LplossError):  # noqa: N818  # nothing is wrong
    """A check does not concern the loss; the message says why."""


@dataclass(frozen=True)
class Check:
    """A check of the conformance kit.

    Attributes:
        name: ``check_...``.
        why: why it matters, one sentence.
        mend: how a loss that fails it is mended, one sentence.
        shows: Python that shows the failure, after the loss and the batch were made.
        run: does it.
    """

    name: str
    why: str
    mend: str
    shows: str
    run: Callable[[Case], None]


#: Shows the failure of a check that compares two batches.
BOTH = "print(loss(**batch).loss, loss(**other).loss)"

#: All checks, by name, in the order in which they are run.
CHECKS: dict[str, Check] = {}


def check(
    *, why: str, mend: str, shows: str = "print(loss(**batch).loss)"
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Make a function a check; its name is that of the check.

    Args:
        why: why it matters, one sentence.
        mend: how a loss that fails it is mended, one sentence.
        shows: Python that shows the failure.
    """

    def register(function: Callable[[Case], None]) -> Callable[[Case], None]:
        name = function.__name__
        function.__doc__ = f"{why}\n\n{mend}"
        CHECKS[name] = Check(name, why, mend, shows, function)
        return function

    return register


@dataclass
class Case:
    """What a check works with: a loss of its own, and examples.

    Attributes:
        subject: what is checked.
        loss: the loss; each check has one of its own.
        inputs: what the inputs of the loss are.
        num_examples: how many examples a check tries that needs no fewer.
        seed: of the examples.
        shrinks: whether a failing example is made as small as possible.
        example: the example that was tried last.
        other: the example that it is compared with, by checks that compare two.
        script: Python that shows the failure, where a check knows better than its `Check`.
    """

    subject: Subject
    loss: Loss
    inputs: Mapping[str, LossInput]
    num_examples: int
    seed: int
    shrinks: bool = True
    example: Example | None = field(default=None, init=False)
    other: Example | None = field(default=None, init=False)
    script: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.loss.nan_predictions = "leave_out"  # examples have gaps in predictions, too

    def for_each(
        self,
        body: Callable[[Example], None],
        wish: Wish | None = None,
        *,
        at_most: int | None = None,
    ) -> None:
        """Run a function on examples; the one at which it fails is made small and kept.

        Args:
            body: raises where the loss fails.
            wish: what is wanted of the examples.
            at_most: how many examples are tried at most.
        """
        wish, number = wish or Wish(), min(self.num_examples, at_most or self.num_examples)
        parts = wish.parts()[: number // 2]
        self._for_each(body, wish, number - len(parts), 0)
        for place, part in enumerate(parts, start=1):
            self._for_each(body, part, 1, place)
        self.example = self.other = None

    def _for_each(
        self, body: Callable[[Example], None], wish: Wish, number: int, place: int
    ) -> None:
        strategy = examples(
            self.inputs,
            self.loss.axis_sizes,
            wish,
            seed=100 * abs(self.seed) + place,
            num_previous_frames=self.loss.num_previous_frames,
        )

        def run(example: Example) -> None:
            self.example, self.other = example, None
            self.loss.nan_predictions = "leave_out"
            body(example)

        settings = hypothesis.settings(
            max_examples=number,
            deadline=None,
            database=None,
            phases=_DRAWN if self.shrinks else _DRAWN[:1],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        with warnings.catch_warnings():
            # Run-time type checks take random numbers, which strategies should not.
            warnings.simplefilter("ignore", HypothesisDeprecationWarning)
            hypothesis.seed(self.seed)(settings(hypothesis.given(strategy)(run)))()

    def compared(self, loss: Loss, example: Example, other: Example) -> tuple[Tensor, Tensor]:
        """Return the weighted scalar of both; the script of a failure will hold both."""
        self.example, self.other = example, other
        return scalar_of(loss, example), scalar_of(loss, other)

    def required(self) -> Mapping[str, LossInput]:
        """The inputs that the loss must have."""
        return {name: i for name, i in self.inputs.items() if i.is_required}

    @contextmanager
    def propagating(self) -> Iterator[None]:
        """Let the loss be NaN where a prediction is not finite; elsewhere it leaves these out.

        After a failure it stays so, for the script that shows the failure.
        """
        self.loss.nan_predictions = "propagate"
        yield
        self.loss.nan_predictions = "leave_out"

    def copy(self, **buffers: Tensor | float) -> Loss:
        """Return a copy of the loss with other values in its buffers."""
        other = copy.deepcopy(self.loss)
        for name, value in buffers.items():
            old = getattr(other, name)
            setattr(other, name, torch.as_tensor(value, dtype=old.dtype, device=old.device))
        return other


def demand_batch(case: Case) -> None:
    """Demand that the loss has an input with frames.

    Raises:
        NotApplicable: it has none.
    """
    if not any(i.has_batch for i in case.inputs.values()):
        raise NotApplicable("no input has the axis batch")


def fail(message: str) -> NoReturn:
    """Say that the loss fails the check.

    Raises:
        CheckFailure: always.
    """
    raise CheckFailure(message)


def what_failed(error: Exception) -> str:
    """Return what is wrong, and for an error of the loss itself, in which line it was raised."""
    if isinstance(error, CheckFailure):
        return str(error)
    text = str(error) if isinstance(error, LplossError) else f"it raised {first_line(error)}"
    return f"{text}{origin_of(error)}"


def origin_of(error: BaseException) -> str:
    """Say in which line of the loss's own source an error was raised, or nothing."""
    own = Path(lploss.__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if own not in Path(frame.filename).parents
        and not {"torch", "hypothesis", "jaxtyping", "einops"} & set(Path(frame.filename).parts)
    ]
    if not frames:
        return ""
    return f"\n  in {Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}"


def show(value: Any) -> str:
    """Return a value as a text of one line, short enough to be read."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, float):
        return f"{value:.7g}"
    text = re.sub(r"\s+", " ", str(value))
    return text if len(text) <= 200 else f"{text[:200]}..."


def scalar_of(loss: Loss, example: Example) -> Tensor:
    """Return the weighted scalar."""
    return loss(**example.batch).loss


def with_gradients(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of the inputs that gradients are found for: of all that can have some."""
    return {
        name: tensor.detach().clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in batch.items()
    }


def gradients_of(
    loss: Loss, example: Example, value: Callable[[Mapping[str, Tensor]], Tensor] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted scalar, and its gradient for each input that has one.

    Args:
        loss: the loss.
        example: the batch.
        value: what to differentiate instead of the weighted scalar.
    """
    leaves = with_gradients(example.batch)
    # Copies, for what a network predicts is no leaf, and may be written into.
    given = {name: leaf.clone() for name, leaf in leaves.items()}
    result = loss(**given).loss if value is None else value(given)
    differentiable = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if not result.requires_grad:
        return result, {}
    gradients = torch.autograd.grad(
        result, list(differentiable.values()), allow_unused=True, retain_graph=False
    )
    return result.detach(), {
        name: gradient
        for name, gradient in zip(differentiable, gradients, strict=True)
        if gradient is not None
    }


def is_close(first: Tensor, second: Tensor, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """Return whether tensors are equal up to rounding, NaN being equal to NaN."""
    return first.shape == second.shape and torch.allclose(
        first.double(), second.double(), rtol=rtol, atol=atol, equal_nan=True
    )
