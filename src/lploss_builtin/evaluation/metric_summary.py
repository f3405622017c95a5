"""Mean and median of each metric, by part of the labels and by keypoint."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from lploss.terminal import text
from lploss_builtin.scoring.metric_files import MetricTable

if TYPE_CHECKING:
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
        mean: of the values; NaN where there is none.
        median: of the values; NaN where there is none.
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
    values: Float64[np.ndarray, "frames elements_of_all_losses"],
    starts: dict[str, int],
    sets: Sequence[str],
) -> tuple[MetricRow, ...]:
    """Return the rows of all metrics.

    For each part of the labels that has frames, and each metric, these are: one of all values,
    and one of each keypoint in each view.

    Args:
        tables: which value belongs where.
        values: of each frame; NaN does not count.
        starts: of each loss the first column of its values.
        sets: to which part each frame belongs.
    """
    of_frames = np.array(sets)
    rows: list[MetricRow] = []
    for part in sorted(dict.fromkeys(sets), key=_ORDER.index):
        chosen = values[of_frames == part]
        for metric in dict.fromkeys(table.metric for table in tables):
            own = [table for table in tables if table.metric == metric]
            columns = [
                (table.view, name, chosen[:, starts[table.loss] + at] * table.scale)
                for table in own
                for name, at in zip(table.columns, table.elements, strict=True)
                if at is not None
            ]
            of_all = np.concatenate([column for _, _, column in columns])
            for view, name, column in [("", "", of_all), *columns]:
                known = column[~np.isnan(column)]
                mean, median = (
                    (float(known.mean()), float(np.median(known)))
                    if len(known)
                    else (math.nan,) * 2
                )
                rows.append(
                    MetricRow(part, metric, own[0].unit, view, name, len(known), mean, median)
                )
    return tuple(rows)


def write_rows(path: Path, rows: Sequence[MetricRow]) -> None:
    """Write rows as CSV; what is not known is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(MetricRow)])
        for row in rows:
            writer.writerow([_cell(value) for value in astuple(row)])


def short_tables(rows: Sequence[MetricRow]) -> Iterator[Table]:
    """Yield a table with mean and median of each metric over all keypoints, for a rich console."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    of_all = [row for row in rows if not row.keypoint and not row.view]
    if not of_all:
        return
    sets = list(dict.fromkeys(row.set for row in of_all))
    table = Table(
        title=Text.assemble(("labelled frames", "bold"), "  mean (median)"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="",
        pad_edge=False,
    )
    table.add_column("metric")
    for name in sets:
        table.add_column(text(name), justify="right")
    for metric in dict.fromkeys(row.metric for row in of_all):
        own = {row.set: row for row in of_all if row.metric == metric}
        if not any(row.count for row in own.values()):
            continue
        unit = next(iter(own.values())).unit
        table.add_row(
            text(f"{metric}, {unit}" if unit else metric),
            *(_both(own[name]) if name in own else "–" for name in sets),
        )
    yield table


def _both(row: MetricRow) -> str:
    return f"{row.mean:.3g} ({row.median:.3g})" if row.count else "–"


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else format(value, ".8g")
    return value
