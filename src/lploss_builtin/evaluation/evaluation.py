"""What the evaluation after a training has found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from lploss.terminal import printable, text
from lploss_builtin.dependencies import require
from lploss_builtin.scoring.metric_files import MetricTable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# The parts that a frame may belong to, in the order of tables.
_ORDER = ("train", "validation", "test", "unused", "new")


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric of some frames.

    Attributes:
        set: the part of the labels that they belong to.
        metric: its name.
        unit: of its values.
        view: the view; ``""`` where there is one without a name, for values that belong to no
            single view, and for all views.
        keypoint: the keypoint, or what else has a value; ``""`` for all.
        count: number of values.
        mean: mean of the values; NaN if there are no values.
        median: median of the values; NaN if there are no values.
    """

    set: str
    metric: str
    unit: str
    view: str
    keypoint: str
    count: int
    mean: float
    median: float


def metric_rows(
    tables: Sequence[MetricTable],
    values: Mapping[str, Float64[np.ndarray, "frames _"]],
    sets: Sequence[str],
) -> tuple[MetricRow, ...]:
    """Return the rows of all metrics.

    For each part of the labels that has frames, and each metric, these are: one of all values,
    and one of each keypoint in each view.

    Args:
        tables: which value belongs where.
        values: of each loss, by frame; NaN does not count.
        sets: to which part each frame belongs.
    """
    rows: list[MetricRow] = []
    for part in sorted(dict.fromkeys(sets), key=_ORDER.index):
        is_in_part = np.array(sets) == part
        for metric in dict.fromkeys(table.metric for table in tables):
            own = [table for table in tables if table.metric == metric]
            columns = [
                (table.view, name, values[table.loss][is_in_part, at] * table.scale)
                for table in own
                for name, at in zip(table.columns, table.elements, strict=True)
                if at is not None
            ]
            of_all = np.concatenate([column for _, _, column in columns])
            for view, name, column in [("", "", of_all), *columns]:
                known = column[~np.isnan(column)]
                mean, median = math.nan, math.nan
                if len(known):
                    mean, median = float(known.mean()), float(np.median(known))
                rows.append(
                    MetricRow(part, metric, own[0].unit, view, name, len(known), mean, median)
                )
    return tuple(rows)


def write_rows(path: Path, rows: Sequence[MetricRow]) -> None:
    """Write rows as CSV; what is not known is an empty cell."""
    pandas = require("pandas", "train", "to write CSV")
    table = pandas.DataFrame(list(map(asdict, rows)))
    table.to_csv(path, index=False, float_format="%.8g", lineterminator="\n")


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
        if of_all := [row for row in self.rows if not row.keypoint and not row.view]:
            yield _table(of_all)
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


def _table(rows: Sequence[MetricRow]) -> Table:
    """Return mean and median of each metric over all keypoints."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "metric",
        title=Text.assemble(("labelled frames", "bold"), "  mean (median)"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="",
        pad_edge=False,
    )
    sets = list(dict.fromkeys(row.set for row in rows))
    for name in sets:
        table.add_column(text(name), justify="right")
    for metric, unit in dict.fromkeys((row.metric, row.unit) for row in rows):
        cells = {
            row.set: f"{row.mean:.3g} ({row.median:.3g})"
            for row in rows
            if row.metric == metric and row.count
        }
        if cells:
            heading = text(f"{metric}, {unit}" if unit else metric)
            table.add_row(heading, *(cells.get(part, "–") for part in sets))
    return table
