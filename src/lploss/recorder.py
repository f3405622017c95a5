"""The flight recorder: which loss ran, on how many elements, and what was left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lploss.terminal import text
from lploss.validity import exclusive

if TYPE_CHECKING:
    from rich.table import Table

    from lploss.loss import Evaluation

# What is kept of a loss before it is summed up, on its device: to count at every call would cost
# more than all else that a loss on small inputs does besides its maths.
_MOST_CALLS = 16
_MOST_ELEMENTS = 2**18


@dataclass(frozen=True, slots=True)
class LossRecord:
    """What happened to one loss in one stage.

    Attributes:
        stage: ``"train"``, ``"val"``, ``"test"`` or ``None``.
        loss: name of the loss.
        status: ``"ran"``, ``"never called"``, or why it is off.
        calls: number of calls.
        elements: number of elements, over all calls.
        used: how many of them counted.
        left_out: for each reason, how many did not.
        value: the unweighted scalar, mean over the calls; NaN where a call was NaN.
        weighted: the weighted scalar, anneal weight included, mean over the calls.
        anneal_weight: at the last call; 1 where none applies.
    """

    stage: str | None
    loss: str
    status: str
    calls: int = 0
    elements: int = 0
    used: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    value: float | None = None
    weighted: float | None = None
    anneal_weight: float | None = None


class _Tape:
    """What is kept of one loss in one stage: recent calls as they came, older ones summed up."""

    def __init__(self) -> None:
        self.calls = 0
        self.elements = 0
        self.anneal_weight: Tensor | float = 1.0
        self._recent: list[tuple[Tensor, Tensor, Mapping[str, Tensor]]] = []
        self._recent_elements = 0
        self._value: Tensor | float = 0.0
        self._weighted: Tensor | float = 0.0
        self._left_out: dict[str, Tensor | float] = {}

    def add(
        self, value: Tensor, weighted: Tensor, left_out: Mapping[str, Tensor], elements: int
    ) -> None:
        self.calls += 1
        self.elements += elements
        self._recent_elements += elements
        self._recent.append((value, weighted, left_out))
        if len(self._recent) >= _MOST_CALLS or self._recent_elements >= _MOST_ELEMENTS:
            self._fold()

    def totals(self) -> tuple[float, float, dict[str, int]]:
        """Return the sums of the values, of the weighted values and of each reason."""
        self._fold()
        left_out = {reason: int(number) for reason, number in self._left_out.items()}
        return float(self._value), float(self._weighted), left_out

    def _fold(self) -> None:
        """Sum up what came since the last time, on the device where it is."""
        if not self._recent:
            return
        values, weighted, masks = zip(*self._recent, strict=True)
        self._value = _added(self._value, _sum(values))
        self._weighted = _added(self._weighted, _sum(weighted))
        device = values[-1].device
        for reasons in dict.fromkeys(tuple(left_out) for left_out in masks):
            alike = [left_out for left_out in masks if tuple(left_out) == reasons]
            joined = {
                reason: torch.cat([left_out[reason].to(device).flatten() for left_out in alike])
                for reason in reasons
            }
            for reason, mask in exclusive(joined):
                self._left_out[reason] = _added(self._left_out.get(reason, 0), mask.sum())
        self._recent.clear()
        self._recent_elements = 0


def _sum(scalars: Sequence[Tensor]) -> Tensor:
    return torch.stack([scalar.to(scalars[-1].device) for scalar in scalars]).sum()


def _added(total: Tensor | float, more: Tensor) -> Tensor:
    return more + (total.to(more.device) if isinstance(total, Tensor) else total)


class FlightRecorder:
    """Records every call of a factory's losses without ever waiting for the device.

    What is kept of a call are scalars and masks on the device, at most of some calls or some
    hundred thousand elements a loss; they are summed up there, and read only by
    `records` and `tables`. Under ``torch.compile`` nothing is recorded.

    Args:
        losses: names of the losses that run.
        off: for each loss that was asked for and does not run, why.
    """

    def __init__(self, losses: Iterable[str], off: dict[str, str] | None = None) -> None:
        self._losses = list(losses)
        self._off = dict(off or {})
        self._tapes: dict[tuple[str | None, str], _Tape] = {}

    def add(
        self,
        stage: str | None,
        loss: str,
        evaluation: Evaluation,
        weighted: Tensor,
        anneal_weight: Tensor | float,
    ) -> None:
        """Record one call."""
        if torch.compiler.is_compiling():
            return
        tape = self._tapes.get((stage, loss))
        if tape is None:
            tape = self._tapes[stage, loss] = _Tape()
        tape.anneal_weight = (
            anneal_weight.detach() if isinstance(anneal_weight, Tensor) else anneal_weight
        )
        tape.add(
            evaluation.scalar.detach(),
            weighted.detach(),
            # Copies, for a mask may be a tensor of the batch whose memory is used again.
            {reason: mask.clone() for reason, mask in evaluation.left_out.items()},
            evaluation.elementwise.numel(),
        )

    def reset(self) -> None:
        """Forget all calls, e.g. at the start of an epoch."""
        self._tapes.clear()

    def records(self) -> list[LossRecord]:
        """Read the recorder; this waits for the device."""
        found = []
        for (stage, loss), tape in self._tapes.items():
            value, weighted, left_out = tape.totals()
            found.append(
                LossRecord(
                    stage,
                    loss,
                    "ran",
                    tape.calls,
                    tape.elements,
                    tape.elements - sum(left_out.values()),
                    value=value / tape.calls,
                    weighted=weighted / tape.calls,
                    left_out=dict(sorted(left_out.items())),
                    anneal_weight=float(tape.anneal_weight),
                )
            )
        called = {loss for _, loss in self._tapes}
        found += [LossRecord(None, n, "never called") for n in self._losses if n not in called]
        found += [LossRecord(None, name, f"off: {why}") for name, why in self._off.items()]
        return found

    def tables(self) -> list[Table]:
        """Return what `records` says, for `rich`: a table a stage, and one of what did not run."""
        from rich import box
        from rich.table import Table

        stages: dict[str, Table] = {}
        for record in self.records():
            ran = record.status == "ran"
            calls = f"{record.calls} call{'s' if record.calls > 1 else ''}"
            title = f"{record.stage or 'no stage'}: {calls}" if ran else "did not run"
            table = stages.get(title)
            if table is None:
                table = stages[title] = Table(
                    title=title, title_justify="left", box=box.SIMPLE_HEAD
                )
                table.add_column("loss", no_wrap=True)
                for heading in ("value", "weighted", "anneal", "used") if ran else ():
                    table.add_column(heading, justify="right", no_wrap=True)
                table.add_column("left out" if ran else "why")
            left_out = ", ".join(f"{reason}: {n}" for reason, n in record.left_out.items() if n)
            numbers = (record.value, record.weighted, record.anneal_weight)
            used = f"{record.used} of {record.elements}"
            table.add_row(
                text(record.loss),
                *((*(f"{number:.4g}" for number in numbers), used, left_out) if ran else ()),
                *(() if ran else (text(record.status),)),
            )
        return list(stages.values())
