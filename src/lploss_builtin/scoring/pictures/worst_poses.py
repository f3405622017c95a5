"""The pose at the worst frames of one loss, over the video where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from lploss_builtin.scoring.loss_statistics import NUM_WORST_FRAMES, LossStatistics
from lploss_builtin.scoring.pictures import style
from lploss_builtin.scoring.worst_frames import WorstFrame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUM_COLUMNS = 3
_WIDTH = 2.9
_GAP = 0.4


def worst_poses(
    statistics: LossStatistics,
    file: str,
    keypoint_names: Sequence[str],
    low: Float64[np.ndarray, "2"],
    high: Float64[np.ndarray, "2"],
    images: Mapping[int, UInt8[np.ndarray, "height width 3"]],
) -> Figure:
    """Draw the poses, the worst keypoint marked; the frames that it looks back at as a faint line.

    Args:
        statistics: of one file.
        file: short name of the file.
        keypoint_names: names of the keypoints, in order.
        low: the least x and y in the file, px.
        high: the greatest x and y in the file, px.
        images: video frames by number, as far as there are any.
    """
    num_rows = -(-(NUM_WORST_FRAMES + 1) // _NUM_COLUMNS)
    if images:
        height, width = next(iter(images.values())).shape[:2]
        low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
    else:
        margin = 0.06 * max(float((high - low).max()), 1.0)
        low, high = low - margin, high + margin
    shape = float(np.clip((high[1] - low[1]) / (high[0] - low[0]), 0.3, 2.5))
    figure = style.new_figure(
        0.5 + _NUM_COLUMNS * (_WIDTH + _GAP),
        0.6 + num_rows * (_WIDTH * shape + 0.6),
        left=0.5,
        top=0.85,
        bottom=0.35,
        between=(_GAP / _WIDTH, 0.6 / (_WIDTH * shape)),
    )
    style.title(figure, statistics.loss.name, file, "worst frames")
    panels = figure.subplots(num_rows, _NUM_COLUMNS).flatten()
    for axes, worst in zip(panels, statistics.worst.found, strict=False):
        axes.set_title(
            f"frame {style.short(worst.frame)}\n{worst.keypoint}  {style.number(worst.value)}",
            loc="left",
            fontsize=9,
            color=style.INK,
        )
        image = images.get(worst.frame) if isinstance(worst.frame, int) else None
        if image is not None:
            axes.imshow(image)
        _draw_pose(axes, worst, keypoint_names, over_image=image is not None)
        axes.set_aspect("equal")
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(high[1], low[1])
        style.plain(axes)
        axes.tick_params(labelsize=7)
    for axes in panels[len(statistics.worst.found) :]:
        axes.set_axis_off()
    _draw_legend(panels[-1], keypoint_names, bool(statistics.loss.num_previous_frames))
    return figure


def _draw_pose(
    axes: Axes, worst: WorstFrame, keypoint_names: Sequence[str], *, over_image: bool
) -> None:
    edge = "white" if over_image else style.INK
    path = "white" if over_image else style.FAINT
    for number, name in enumerate(keypoint_names):
        points = worst.poses[:, number]
        if len(points) > 1:
            axes.plot(*points.T, color=path, linewidth=0.9, alpha=0.8, zorder=2)
            axes.plot(
                *points[:-1].T,
                "o",
                markersize=2.5,
                color=style.colour(number),
                alpha=0.6,
                zorder=2,
            )
        x, y = points[-1]
        style.draw_keypoint(axes, number, x, y, edge)
        if name == worst.keypoint:
            axes.plot(
                x,
                y,
                "o",
                markersize=14,
                markerfacecolor="none",
                color=style.ALARM,
                markeredgewidth=1.6,
                zorder=4,
            )


def _draw_legend(axes: Axes, keypoint_names: Sequence[str], looks_back: bool) -> None:
    for number, name in enumerate(keypoint_names):
        axes.plot(
            [], [], style.marker(number), markersize=5, color=style.colour(number), label=name
        )
    axes.plot([], [], "o", markersize=10, markerfacecolor="none", color=style.ALARM, label="worst")
    if looks_back:
        axes.plot([], [], "-", color=style.FAINT, label="from the frame before")
    axes.legend(
        loc="upper left",
        fontsize=8 if len(keypoint_names) <= 32 else 6,
        frameon=False,
        ncols=1 + len(keypoint_names) // 13 if len(keypoint_names) <= 26 else 3,
        labelcolor=style.INK,
    )
