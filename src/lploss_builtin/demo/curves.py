"""Reads and draws the curves that a training has logged."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lploss_builtin.scoring.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


_WIDTH, _HEIGHT = 10.0, 3.3
_TRAIN, _VAL = "#0072b2", "#d55e00"


def draw_curves(
    curves: Mapping[str, Mapping[str, Curve]], yardsticks: Mapping[str, float]
) -> Figure:
    """Draw the error large, and each loss below it.

    Args:
        curves: those of `read_curves`.
        yardsticks: errors of others, px, that the error is compared with.
    """
    losses = [name for name in curves if name not in ("pixel_error", "loss")]
    names = ["loss", *losses] if "loss" in curves else losses
    figure = style.new_figure(
        _WIDTH, 2 * _HEIGHT + 0.5, left=0.75, right=0.25, top=0.55, bottom=0.6, between=(0.25, 0.42)
    )
    grid = figure.add_gridspec(2, max(1, len(names)))
    error = figure.add_subplot(grid[0, :])
    _draw(error, curves.get("pixel_error", {}), "mean distance to the labels, px")
    _draw_yardsticks(error, yardsticks)
    for number, name in enumerate(names):
        title = "sum of all losses, weighted" if name == "loss" else name
        axes = figure.add_subplot(grid[1, number])
        _draw(axes, curves[name], title)
        axes.set_xlabel("epoch", fontsize=10, color=style.INK)
    return figure


def _draw(axes: Axes, curves: Mapping[str, Curve], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    style.plain(axes)
    shown = (
        ("train", "training frames, augmented", _TRAIN, "o"),
        ("val", "validation frames, as they are", _VAL, "s"),
    )
    for stage, label, colour, marker in shown:
        curve = curves.get(stage, {})
        axes.plot(
            [*curve],
            [*curve.values()],
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.6,
            label=label,
        )
    axes.set_title(_wrapped(title), loc="left", fontsize=10, color=style.INK)
    highest = max((value for curve in curves.values() for value in curve.values()), default=1.0)
    axes.set_ylim(0.0, 1.08 * highest)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#e8ecef", linewidth=0.7)
    axes.set_axisbelow(True)


def _wrapped(title: str) -> str:
    """Break a long name, as of a loss, into two lines."""
    if len(title) < 34 or "_" not in title:
        return title
    middle = title.index("_", len(title) // 2 - 4)
    return f"{title[: middle + 1]}\n{title[middle + 1 :]}"


def _draw_yardsticks(axes: Axes, yardsticks: Mapping[str, float]) -> None:
    for (name, value), dashes in zip(
        yardsticks.items(), [(5, 3), (2, 2), (7, 2, 1, 2)] * len(yardsticks), strict=False
    ):
        axes.axhline(
            value,
            color=style.INK,
            linewidth=1.2,
            linestyle=(0, dashes),
            label=f"held-out frames: {name}, {value:.1f} px",
        )
    axes.legend(fontsize=9, frameon=False, labelcolor=style.INK, loc="upper right", ncols=2)
    # Room for the legend above what is drawn.
    axes.set_ylim(0.0, 1.5 * max(axes.get_ylim()[1], *yardsticks.values()))
