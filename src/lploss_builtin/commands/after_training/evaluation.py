"""What the evaluation after a training has found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lploss_builtin.commands.after_training.metric_summary import MetricRow, short_tables

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True, eq=False)
class TrainingEvaluation:
    """What the evaluation after a training has found.

    Attributes:
        folder: of the training.
        rows: mean and median of each metric, by part of the labels and by keypoint.
        files: all files that were written.
        left_out: for each loss that labelled frames could not be evaluated with, why.
        notes: what else to know.
        failed: what could not be done, and why.
    """

    folder: Path
    rows: tuple[MetricRow, ...]
    files: tuple[Path, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    failed: tuple[str, ...]

    def renderables(self) -> Iterator[RenderableType]:
        """Yield a short table, notes and what failed, for a rich console."""
        from rich.text import Text

        yield from short_tables(self.rows)
        for note in self.notes:
            yield Text(f"note: {note}", style="yellow")
        for failure in self.failed:
            yield Text(f"not evaluated: {failure}", style="bold red")
