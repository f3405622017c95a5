"""What a training has logged."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TypeAlias

#: Of an epoch, counted from 1, the value at its end.
Curve: TypeAlias = dict[int, float]

# Sums of losses of one kind.
_SUMS = ("supervised_loss", "unsupervised_loss")


def read_curves(metrics: Path) -> dict[str, dict[str, Curve]]:
    """Return what a training has logged at the ends of its epochs.

    Args:
        metrics: ``metrics.csv`` of the training.

    Returns:
        For each quantity the curves ``train`` and ``val``: ``pixel_error``, ``loss`` (the sum of
        all), and each loss before its weight.
    """
    curves: dict[str, dict[str, Curve]] = {}
    for row in _read(metrics):
        for column, value in row.items():
            # Of the training there are values of single steps, too.
            match = re.fullmatch(r"train_(.+)_epoch|val_(.+)", column)
            name = (match[1] or match[2]) if match else ""
            if value and name not in _SUMS and re.fullmatch("pixel_error|(.+_)?loss", name):
                stage = column.partition("_")[0]
                curve = curves.setdefault(name.removesuffix("_loss"), {}).setdefault(stage, {})
                curve[int(row["epoch"]) + 1] = float(value)
    return curves


def read_weights(metrics: Path) -> dict[str, float]:
    """Return the weight of each loss.

    Args:
        metrics: ``metrics.csv`` of the training.
    """
    return {
        column.removesuffix("_weight_epoch"): float(value)
        for row in _read(metrics)
        for column, value in row.items()
        if value and column.endswith("_weight_epoch")
    }


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
