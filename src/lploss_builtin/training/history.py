"""The metrics of a training that was resumed, as if it had not stopped."""

from __future__ import annotations

import csv
from pathlib import Path

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
        _write(metrics, [*_read(before), *(_read(metrics) if metrics.is_file() else [])])
        before.unlink()


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
