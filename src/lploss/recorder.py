"""The flight recorder: which loss ran, on how many elements, and what was left out and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rich.table import Table

    from lploss.loss import Evaluation

# So many calls are kept as scalars before they are summed up, on their device.
_FOLD_EVERY = 128


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
        value: the unweighted scalar, mean over the calls.
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


class _Sums:
    """Numbers by name, summed up on their device and read at the end."""

    def __init__(self) -> None:
        self._recent: list[dict[str, Tensor | int]] = []
        self._totals: dict[str, Tensor | int] = {}

    def add(self, numbers: dict[str, Tensor | int]) -> None:
        self._recent.append(numbers)
        if len(self._recent) >= _FOLD_EVERY:
            self._fold()

    def totals(self) -> dict[str, float]:
        self._fold()
        return {name: float(total) for name, total in self._totals.items()}

    def _fold(self) -> None:
        for name in {name for numbers in self._recent for name in numbers}:
            values = [numbers[name] for numbers in self._recent if name in numbers]
            values.append(self._totals.get(name, 0))
            tensors = [value for value in values if isinstance(value, Tensor)]
            total: Tensor | int = sum(value for value in values if not isinstance(value, Tensor))
            if tensors:
                device = tensors[0].device
                total = total + torch.stack([t.to(device) for t in tensors]).sum()
            self._totals[name] = total
        self._recent.clear()


class _Tape:
    """What is kept of one loss in one stage."""

    def __init__(self) -> None:
        self.calls = 0
        self.elements = 0
        self.anneal_weight: Tensor | float = 1.0
        self.scalars = _Sums()
        # Apart from the scalars, for a reason may have any name.
        self.left_out = _Sums()


class FlightRecorder:
    """Records every call of a factory's losses without ever waiting for the device.

    What is kept a call are scalars on the device; they are summed up there, and read only by
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
        elements = evaluation.elementwise.numel()
        tape.calls += 1
        tape.elements += elements
        tape.anneal_weight = (
            anneal_weight.detach() if isinstance(anneal_weight, Tensor) else anneal_weight
        )
        used: Tensor | int = elements
        if evaluation.valid is not None:
            used = evaluation.valid.sum()
            *first, last = evaluation.left_out
            left_out: dict[str, Tensor | int] = {r: evaluation.left_out[r].sum() for r in first}
            # The reasons exclude each other: the last one has what remains.
            left_out[last] = elements - used - sum(left_out.values())
            tape.left_out.add(left_out)
        tape.scalars.add(
            {"value": evaluation.scalar.detach(), "weighted": weighted.detach(), "used": used}
        )

    def reset(self) -> None:
        """Forget all calls, e.g. at the start of an epoch."""
        self._tapes.clear()

    def records(self) -> list[LossRecord]:
        """Read the recorder; this waits for the device."""
        found = []
        for (stage, loss), tape in self._tapes.items():
            totals = tape.scalars.totals()
            found.append(
                LossRecord(
                    stage,
                    loss,
                    "ran",
                    tape.calls,
                    tape.elements,
                    int(totals["used"]),
                    value=totals["value"] / tape.calls,
                    weighted=totals["weighted"] / tape.calls,
                    left_out={r: int(n) for r, n in sorted(tape.left_out.totals().items())},
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
                record.loss,
                *((*(f"{number:.4g}" for number in numbers), used, left_out) if ran else ()),
                *(() if ran else (record.status,)),
            )
        return list(stages.values())
