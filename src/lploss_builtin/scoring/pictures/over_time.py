"""The values of one loss over time, a row for each keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from lploss_builtin.data.poses.names import PoseNames
from lploss_builtin.scoring.loss_statistics import LossStatistics
from lploss_builtin.scoring.pictures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST_COLUMNS = 3
# In inches; of all rows together, however many there are.
_WIDTH_OF_COLUMN, _TALLEST = 4.2, 300.0


def over_time(
    statistics: LossStatistics,
    file: str,
    pose_names: PoseNames,
    first_frame: int | None,
) -> Figure:
    """Draw the values over time, with epsilon and the worst frames; a column for each view.

    Args:
        statistics: of one file.
        file: short name of the file.
        pose_names: names of the keypoints, in order; a keypoint has one colour in all views.
        first_frame: number of the first frame, where frames are consecutive numbers; ``None``:
            count the frames.
    """
    series, loss = statistics.series, statistics.loss
    names, known = loss.element_names, pose_names.flat
    groups, labels = _grouped(names, pose_names)
    num_columns = -(-len(groups) // -(-len(groups) // _MOST_COLUMNS))
    num_rows = len(labels) * -(-len(groups) // num_columns)
    left = 0.65 + 0.075 * max(map(len, labels))
    top_margin = 0.5 if len(groups) == 1 else 0.75
    figure = style.new_figure(
        10.0 if num_columns == 1 else left + num_columns * _WIDTH_OF_COLUMN,
        0.5 + top_margin + min(0.64 * num_rows, _TALLEST),
        left=left,
        top=top_margin,
        bottom=0.5,
        between=(0.06, 0.3),
    )
    style.title(figure, loss.name, file)
    grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    blocks = grid.reshape(-1, len(labels), num_columns).swapaxes(1, 2).reshape(-1, len(labels))
    for axes in blocks[len(groups) :].flatten():
        axes.set_axis_off()
    blocks = blocks[: len(groups)]
    all_axes = blocks.flatten()
    start = first_frame or 0
    x = start + np.arange(len(series.points)) * series.frames_a_point
    top = np.nanmax(series.points, initial=0.0)
    visible = loss.epsilon[(loss.epsilon > 0) & (loss.epsilon <= 2 * top)]
    top = max(top, visible.max(initial=0.0)) or 1.0
    for number, (axes, name) in enumerate(zip(all_axes, names, strict=True)):
        style.plain(axes)
        values, epsilon = series.points[:, number], loss.epsilon[number]
        keypoint = known.index(name) if name in known else number
        colour = style.colour(
            keypoint % len(pose_names.keypoints) if pose_names.views else keypoint
        )
        axes.plot(x, values, color=colour, linewidth=0.7)
        if 0 < epsilon <= top:
            above = values > epsilon
            axes.plot(x[above], values[above], ".", markersize=2.5, color=style.ALARM)
            axes.axhline(epsilon, color=style.INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.grid(axis="x", color="#e8ecef", linewidth=0.6)
        axes.set_axisbelow(True)
    for axes, label in zip(blocks[::num_columns].flatten(), [*labels] * len(groups), strict=False):
        axes.set_ylabel(
            label,
            rotation=0,
            ha="right",
            va="center",
            fontsize=8.5,
            color=style.INK,
        )
    for axes, group in zip(blocks[:, 0], groups, strict=True):
        axes.set_title(group, loc="left", fontsize=8.5, color=style.INK, pad=2)
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
    for axes in blocks[-num_columns:, -1]:
        axes.set_xlabel(unit, fontsize=9, color=style.INK)
        axes.tick_params(labelbottom=True)
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


def _grouped(
    names: Sequence[str], pose_names: PoseNames
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the views, or pairs of views, that elements are of, and what all of these have."""
    found: dict[str, list[str]] = {}
    for name in names:
        group, label = pose_names.split(name)
        found.setdefault(group, []).append(label)
    groups, labels = tuple(found), tuple(next(iter(found.values())))
    if [*names] == [f"{group}/{label}" for group in groups for label in labels]:
        return groups, labels
    return ("",), tuple(names)


def _root(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.sqrt(np.maximum(values, 0.0))


def _some(texts: list[str]) -> str:
    return ", ".join(text if len(text) < 20 else f"...{text[-16:]}" for text in texts) or "none"
