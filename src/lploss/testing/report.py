"""What the checks found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["passed", "failed", "not_applicable", "expected_failure"]

_STYLES: Mapping[str, str] = {"failed": "bold red", "passed": "green", "not_applicable": "dim"}


#: The check without which no other one is run.
DEFINITION = "check_definition"


class CheckRecord(NamedTuple):
    """What one check found.

    Attributes:
        check: name of the check.
        status: ``"passed"``, ``"failed"``, ``"not_applicable"`` or ``"expected_failure"``.
        message: what is wrong, how to mend it, and Python that shows it; or why the check does
            not apply, or was expected to fail.
        seconds: how long it took.
    """

    check: str
    status: Status
    message: str
    seconds: float = 0.0

    @property
    def was_run(self) -> bool:
        """Whether the check applied."""
        return self.status != "not_applicable"


@dataclass(frozen=True)
class ConformanceReport:
    """What the checks found of one loss.

    Attributes:
        loss: name of the loss.
        records: one for each check.
        minimum: how many checks must have run for the report to be worth something.
        num_examples: how many examples a check tried.
        seed: of the examples.
    """

    loss: str
    records: tuple[CheckRecord, ...]
    minimum: int
    num_examples: int
    seed: int

    @property
    def ok(self) -> bool:
        """Whether no check failed, and enough were run."""
        return self.too_few is None and not any(r.status == "failed" for r in self.records)

    @property
    def num_run(self) -> int:
        """How many checks applied."""
        return sum(record.was_run for record in self.records)

    @property
    def counts(self) -> dict[str, int]:
        """How many records there are of each status, and how many checks were run."""
        counted = Counter(record.status for record in self.records)
        statuses: tuple[Status, ...] = ("passed", "failed", "expected_failure", "not_applicable")
        return {"run": self.num_run, **{status: counted[status] for status in statuses}}

    @property
    def too_few(self) -> str | None:
        """What is wrong where fewer checks were run than the minimum."""
        stopped = any(r.check == DEFINITION and r.status == "failed" for r in self.records)
        if stopped or self.num_run >= self.minimum:
            return None
        return (
            f"only {self.num_run} checks were run, fewer than the minimum of {self.minimum}: a "
            "report of so few says little"
        )

    @property
    def summary(self) -> str:
        """The counts, as one line."""
        counts = self.counts
        return (
            f"{self.loss}: {counts['run']} checks run, {counts['passed']} passed, "
            f"{counts['failed']} failed, {counts['expected_failure']} expected failures; "
            f"{counts['not_applicable']} not applicable"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as what JSON holds."""
        return {
            "loss": self.loss,
            "ok": self.ok,
            "counts": self.counts,
            "minimum": self.minimum,
            "examples": self.num_examples,
            "seed": self.seed,
            "records": [record._asdict() for record in self.records],
        }

    def print_table(self) -> None:
        """Print all checks as a table."""
        from rich import box
        from rich.table import Table

        from lploss.terminal import print_tables, text

        table = Table(box=box.SIMPLE_HEAD, title=text(self.loss), title_justify="left")
        table.add_column("check", no_wrap=True)
        table.add_column("status", no_wrap=True)
        table.add_column("s", justify="right")
        table.add_column("", overflow="fold")
        for record in self.records:
            status = text(record.status.replace("_", " "), style=_STYLES.get(record.status, ""))
            first = record.message.partition("\n")[0]
            table.add_row(record.check, status, f"{record.seconds:.1f}", text(first))
        print_tables([table], width=200)

    def __str__(self) -> str:
        failed = [r for r in self.records if r.status == "failed"]
        parts = [self.summary]
        if self.too_few:
            parts.append(self.too_few)
        parts += [f"{record.check}\n{_indented(record.message)}" for record in failed]
        return "\n\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
