"""What the evaluation after a training has found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lploss.terminal import printable, text
from lploss_builtin.evaluation.metric_summary import MetricRow, short_tables

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
        kept: steps that an earlier evaluation finished, and that were not repeated.
    """

    folder: Path
    rows: tuple[MetricRow, ...]
    files: tuple[Path, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    failed: tuple[str, ...]
    kept: tuple[str, ...] = ()

    def renderables(self) -> Iterator[RenderableType]:
        """Yield a short table, notes and what failed, for a rich console."""
        yield from short_tables(self.rows)
        if self.kept:
            yield text(f"finished before, and kept: {', '.join(self.kept)}")
        for note in self.notes:
            yield text(f"note: {note}", "yellow")
        for failure in self.failed:
            yield text(f"not evaluated: {failure}", "bold red")

    def to_json(self) -> str:
        """Return the evaluation as JSON; a metric without a value is ``null``."""
        content = {
            "folder": str(self.folder),
            "metrics": [
                {name: None if value != value else value for name, value in asdict(row).items()}
                for row in self.rows
            ],
            "files": [str(file) for file in self.files],
            "kept": list(self.kept),
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "failed": list(self.failed),
        }
        return printable(json.dumps(content, indent=2, ensure_ascii=False)) + "\n"
