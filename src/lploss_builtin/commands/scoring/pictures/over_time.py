"""The values of one loss over time, a row for each keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from lploss_builtin.commands.scoring.loss_statistics import LossStatistics
from lploss_builtin.commands.scoring.pictures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def over_time(
    statistics: LossStatistics,
    file: str,
    keypoint_names: Sequence[str],
    first_frame: int | None,
) -> Figure:
    """Draw the values over time, with epsilon and the worst frames.

    Args:
        statistics: of one file.
        file: short name of the file.
        keypoint_names: names of the keypoints, in order.
        first_frame: number of the first frame, where frames are consecutive numbers; ``None``:
            count the frames.
    """
    series, loss = statistics.series, statistics.loss
    names = loss.element_names
    figure = style.new_figure(
        10.0,
        1.0 + 0.64 * len(names),
        left=0.65 + 0.075 * max(map(len, names)),
        bottom=0.5,
        between=(0.0, 0.3),
    )
    style.title(figure, loss.name, file)
    all_axes = np.atleast_1d(figure.subplots(len(names), sharex=True, sharey=True))
    start = first_frame or 0
    x = start + np.arange(len(series.points)) * series.frames_a_point
    top = np.nanmax(series.points, initial=0.0)
    visible = loss.epsilon[(loss.epsilon > 0) & (loss.epsilon <= 2 * top)]
    top = max(top, visible.max(initial=0.0)) or 1.0
    for number, (axes, name) in enumerate(zip(all_axes, names, strict=True)):
        style.plain(axes)
        values, epsilon = series.points[:, number], loss.epsilon[number]
        keypoint = keypoint_names.index(name) if name in keypoint_names else number
        axes.plot(x, values, color=style.colour(keypoint), linewidth=0.7)
        if 0 < epsilon <= top:
            above = values > epsilon
            axes.plot(x[above], values[above], ".", markersize=2.5, color=style.ALARM)
            axes.axhline(epsilon, color=style.INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_ylabel(
            name,
            rotation=0,
            ha="right",
            va="center",
            fontsize=8.5,
            color=style.INK,
            parse_math=False,
        )
        axes.grid(axis="x", color="#e8ecef", linewidth=0.6)
        axes.set_axisbelow(True)
    for worst in statistics.worst.found:
        at = start + worst.row
        for axes in all_axes:
            axes.axvline(at, color=style.ALARM, linewidth=0.6, alpha=0.35)
        all_axes[names.index(worst.keypoint)].plot(
            at, worst.value, "o", markersize=5, markerfacecolor="none", color=style.ALARM
        )
    # On a scale of square roots both the usual values and the outliers can be read.
    all_axes[0].set_yscale("function", functions=(_root, np.square))
    all_axes[0].set_ylim(0, 1.12 * top)
    all_axes[0].set_yticks([0.0, top / 4, top], [style.number(tick) for tick in (0, top / 4, top)])
    all_axes[0].set_xlim(x[0], max(x[-1], x[0] + 1))
    unit = "frame" if first_frame is not None else "frames of the file, counted from 0"
    if series.frames_a_point > 1:
        unit += f" (a point is the greatest value of {series.frames_a_point} frames)"
    all_axes[-1].set_xlabel(unit, fontsize=9, color=style.INK)
    legend = [
        f"circles: worst frames: {_some([str(worst.frame) for worst in statistics.worst.found])}"
    ]
    if loss.one_epsilon:
        shown = "" if loss.one_epsilon <= top else " (above all values)"
        legend.append(f"dashed: epsilon {style.number(loss.one_epsilon)} {loss.unit}{shown}")
    elif visible.size:
        legend.append("dashed: epsilon, one a keypoint")
    style.remark(figure, "     ".join(legend))
    return figure


def _root(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.sqrt(np.maximum(values, 0.0))


def _some(texts: list[str]) -> str:
    return ", ".join(text if len(text) < 20 else f"...{text[-16:]}" for text in texts) or "none"
