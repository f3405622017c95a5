"""The pose in space against the truth, from several sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from lploss_builtin.commands.scoring.pictures import style
from lploss_builtin.commands.training_demo.errors import distances_between, error_of
from lploss_builtin.commands.training_demo.held_out import HeldOut
from lploss_builtin.commands.training_demo.pictures.chosen_frames import chosen_frames
from lploss_builtin.commands.training_demo.pictures.colours import (
    PREDICTED_ON_WHITE,
    TRUTH_ON_WHITE,
)
from lploss_builtin.commands.training_demo.predictors import Predicted
from lploss_builtin.commands.training_demo.skeleton import limbs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 3.7
_TOP, _ROW_GAP = 0.6, 0.45
# Elevation and azimuth of who looks at the animal, degrees, and how large it is then; it looks
# along the x axis.
_SIDES = {
    "from its right": (6.0, -90.0, 1.0),
    "from above": (90.0, -90.0, 1.0),
    "from its right and ahead": (26.0, -42.0, 0.88),
}
_PANEL_HEIGHT = 2.7
# What is drawn keeps away from the edges of its square, which may reach over those of a panel.
_SQUARE = 4.1
_AROUND, _GRID = 12.0, 20.0


def draw_poses(predicted: Predicted, held_out: HeldOut) -> Figure:
    """Draw a row for each frame, from good to bad, and a column for each side.

    Args:
        predicted: the predictions of all views.
        held_out: the frames, with the truth.
    """
    distances = distances_between(predicted.points, held_out.points)
    frames = chosen_frames(distances)
    width = len(_SIDES) * _PANEL
    row_height = _PANEL_HEIGHT + _ROW_GAP
    height = _TOP + len(frames) * row_height
    figure = style.new_figure(width, height)
    names = held_out.project.keypoint_names
    for number, (name, frame) in enumerate(frames.items()):
        bottom = height - _TOP - (number + 1) * row_height
        found, true = _turned(predicted.points[frame], held_out.points[frame], names)
        for column, (side, (elevation, azimuth, zoom)) in enumerate(_SIDES.items()):
            place = (
                (column * _PANEL + (_PANEL - _SQUARE) / 2) / width,
                (bottom + (_PANEL_HEIGHT - _SQUARE) / 2) / height,
                _SQUARE / width,
                _SQUARE / height,
            )
            axes: Any = figure.add_axes(place, projection="3d")
            # Squares overlap, and one must not hide what is drawn in another.
            axes.patch.set_visible(False)
            axes.set_proj_type("ortho")
            axes.view_init(elevation, azimuth)
            _draw_pose(axes, found, true, names, zoom)
            _write(figure, side, (column + 0.5) * _PANEL, bottom + _PANEL_HEIGHT, 10, ha="center")
        text = f"{name.capitalize()}: {error_of(distances[frame]).mean:.1f} mm off"
        _write(figure, text, 0.2, bottom + _PANEL_HEIGHT + 0.24, 13, fontweight="bold")
    _draw_legend(figure, height)
    return figure


def _write(figure: Figure, text: str, x: float, y: float, size: float, **more: Any) -> None:
    """Write at a place in inches."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, va="center", fontsize=size, color=style.INK, **more)


def _turned(
    found: Float64[np.ndarray, "num_keypoints 3"],
    true: Float64[np.ndarray, "num_keypoints 3"],
    names: tuple[str, ...],
) -> tuple[Float64[np.ndarray, "num_keypoints 3"], Float64[np.ndarray, "num_keypoints 3"]]:
    """Turn both about the vertical, so that the animal looks along the x axis."""
    forward = true[names.index("neck")] - true[names.index("hip")]
    cosine, sine = forward[:2] / np.hypot(*forward[:2])
    turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return found @ turn.T, true @ turn.T


def _draw_pose(
    axes: Any,
    found: Float64[np.ndarray, "num_keypoints 3"],
    true: Float64[np.ndarray, "num_keypoints 3"],
    names: tuple[str, ...],
    zoom: float,
) -> None:
    low, high = true.min(axis=0) - _AROUND, true.max(axis=0) + _AROUND
    low[2] = 0.0
    # What lies far outside would be drawn over the other panels.
    is_near = ((found >= low - _AROUND) & (found <= high + _AROUND)).all(axis=-1, keepdims=True)
    shown = np.where(is_near, found, np.nan)
    _draw_floor(axes, low, high)
    for one, other in limbs(names):
        axes.plot(*true[[one, other]].T, color=TRUTH_ON_WHITE, linewidth=2.6, alpha=0.45)
        axes.plot(*shown[[one, other]].T, color=PREDICTED_ON_WHITE, linewidth=1.8)
    for pair in np.stack([shown, true], axis=1):
        axes.plot(*pair.T, color=style.ALARM, linewidth=1.1)
    axes.plot(*true.T, "o", color="white", markeredgecolor=TRUTH_ON_WHITE, markersize=6)
    axes.plot(*shown.T, "o", color=PREDICTED_ON_WHITE, markersize=4.5)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_box_aspect(high - low, zoom=zoom)
    axes.set_axis_off()


def _draw_floor(axes: Any, low: Float64[np.ndarray, "3"], high: Float64[np.ndarray, "3"]) -> None:
    """Draw a line each 20 mm on the ground."""
    xs, ys = (
        np.arange(np.ceil(first / _GRID), np.floor(last / _GRID) + 1) * _GRID
        for first, last in zip(low[:2], high[:2], strict=True)
    )
    line: dict[str, Any] = {"color": "#dfe5e9", "linewidth": 0.7, "zorder": 0}
    for x in xs:
        axes.plot([x, x], [low[1], high[1]], [0.0, 0.0], **line)
    for y in ys:
        axes.plot([low[0], high[0]], [y, y], [0.0, 0.0], **line)


def _draw_legend(figure: Figure, height: float) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=TRUTH_ON_WHITE,
            alpha=0.6,
            marker="o",
            markerfacecolor="white",
            linewidth=2.6,
            label="truth",
        ),
        Line2D(
            [],
            [],
            color=PREDICTED_ON_WHITE,
            marker="o",
            linewidth=1.8,
            label="predicted, all views",
        ),
        Line2D([], [], color=style.ALARM, linewidth=1.1, label="how far off"),
        Line2D([], [], color="#c3ccd3", linewidth=0.9, label="the ground, a line each 20 mm"),
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.01, 1.0 - 0.1 / height),
        ncols=len(handles),
        fontsize=11,
        frameon=False,
        labelcolor=style.INK,
    )
