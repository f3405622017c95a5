"""The metrics of a training that was resumed, as if it had not stopped."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

from lploss.errors import DataError, first_line
from lploss_builtin.output import whole_file

_BEFORE = "metrics_before.csv"


def set_aside(metrics: Path, num_steps: int) -> None:
    """Put the rows of a training aside, for its logger to begin a new file.

    Args:
        metrics: the file of the logger.
        num_steps: rows of later steps are left out: they are done again.
    """
    join(metrics)  # what an earlier training that was killed has left
    if metrics.is_file():
        rows = [row for row in _read(metrics) if int(row["step"] or 0) < num_steps]
        _write(metrics.with_name(_BEFORE), rows)
        metrics.unlink()


def join(metrics: Path) -> None:
    """Put the rows that were set aside before those that have come since."""
    before = metrics.with_name(_BEFORE)
    if before.is_file():
        since = _read(metrics) if metrics.is_file() else []
        # After a kill between the two lines below, all are there already.
        known = {_content(row) for row in since}
        _write(metrics, [*(row for row in _read(before) if _content(row) not in known), *since])
        before.unlink()


def _content(row: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in row.items() if value)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_bytes().decode("utf-8")
        # A killed process may have left half of the last row.
        rows = list(csv.DictReader(StringIO(text[: text.rfind("\n") + 1], newline="")))
        for row in rows:
            int(row["step"] or 0)
            if None in row or None in row.values():
                raise ValueError("a row has another number of cells than the first")
    except (ValueError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path}, the metrics of the training so far, is damaged ({first_line(error)}). Move "
            "it away to resume without them."
        ) from error
    return rows


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
