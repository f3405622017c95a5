"""The losses and the error over the epochs of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lploss_builtin.commands.scoring.pictures import style
from lploss_builtin.commands.training_demo.metrics import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    axes.set_title(_wrapped(title), loc="left", fontsize=10, color=style.INK, parse_math=False)
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
