"""Pictures of predicted poses, in the images and in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from lploss_builtin.data.project.label_files import OCCLUDED, VISIBLE
from lploss_builtin.demo.measuring import HeldOut, Predicted, distances_between, error_of
from lploss_builtin.scoring.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours on images and on white; they differ in lightness, too.
_TRUTH, _PREDICTED, _JOINED, _EDGE = "#ffffff", "#36b5ff", "#ffe14d", "#10181f"
_TRUTH_ON_WHITE, _PREDICTED_ON_WHITE = "#26323b", "#0080c8"

# The frames that are shown, and the share of all frames that have a smaller error.
_SHARES = {"a good frame": 0.1, "a usual frame": 0.5, "a bad frame": 0.9, "the worst frame": 1.0}

_LIMBS = (
    ("nose", "ear_left"),
    ("nose", "ear_right"),
    ("ear_left", "neck"),
    ("ear_right", "neck"),
    ("neck", "hip"),
    ("hip", "tail_base"),
    ("tail_base", "tail_mid"),
    ("tail_mid", "tail_tip"),
    ("neck", "paw_front_left"),
    ("neck", "paw_front_right"),
    ("hip", "paw_hind_left"),
    ("hip", "paw_hind_right"),
)


def limbs(keypoint_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the numbers of the keypoints that a line joins.

    Example:
        >>> limbs(["hip", "nose", "neck", "tail_base"])
        [(2, 0), (0, 3)]
    """
    number = {name: n for n, name in enumerate(keypoint_names)}
    return [
        (number[one], number[other]) for one, other in _LIMBS if one in number and other in number
    ]


def chosen_frames(distances: Float64[np.ndarray, "frames ..."]) -> dict[str, int]:
    """Return a frame for each rank of the mean error, from good to worst.

    Args:
        distances: of all keypoints of each frame; NaN: not known.

    Example:
        >>> chosen_frames(np.array([[3.0], [1.0], [9.0], [2.0], [4.0]]))
        {'a good frame': 1, 'a usual frame': 0, 'the worst frame': 2}
    """
    means = np.array([error_of(own).mean for own in distances])
    order = np.argsort(np.nan_to_num(means), kind="stable")
    frames: dict[int, str] = {}
    for name, share in _SHARES.items():
        # Of few frames, one may stand for several ranks: it gets the last name.
        frames[int(order[round(share * (len(order) - 1))])] = name
    return {name: frame for frame, name in frames.items()}


_PANEL_3D = 3.7
_TOP, _ROW_GAP_3D = 0.6, 0.45
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
    width = len(_SIDES) * _PANEL_3D
    row_height = _PANEL_HEIGHT + _ROW_GAP_3D
    height = _TOP + len(frames) * row_height
    figure = style.new_figure(width, height)
    names = held_out.project.keypoint_names
    for number, (name, frame) in enumerate(frames.items()):
        bottom = height - _TOP - (number + 1) * row_height
        found, true = _turned(predicted.points[frame], held_out.points[frame], names)
        for column, (side, (elevation, azimuth, zoom)) in enumerate(_SIDES.items()):
            place = (
                (column * _PANEL_3D + (_PANEL_3D - _SQUARE) / 2) / width,
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
            _write(
                figure, side, (column + 0.5) * _PANEL_3D, bottom + _PANEL_HEIGHT, 10, ha="center"
            )
        text = f"{name.capitalize()}: {error_of(distances[frame]).mean:.1f} mm off"
        _write(figure, text, 0.2, bottom + _PANEL_HEIGHT + 0.24, 13, fontweight="bold")
    _draw_pose_legend(figure, height)
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
        axes.plot(*true[[one, other]].T, color=_TRUTH_ON_WHITE, linewidth=2.6, alpha=0.45)
        axes.plot(*shown[[one, other]].T, color=_PREDICTED_ON_WHITE, linewidth=1.8)
    for pair in np.stack([shown, true], axis=1):
        axes.plot(*pair.T, color=style.ALARM, linewidth=1.1)
    axes.plot(*true.T, "o", color="white", markeredgecolor=_TRUTH_ON_WHITE, markersize=6)
    axes.plot(*shown.T, "o", color=_PREDICTED_ON_WHITE, markersize=4.5)
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


def _draw_pose_legend(figure: Figure, height: float) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=_TRUTH_ON_WHITE,
            alpha=0.6,
            marker="o",
            markerfacecolor="white",
            linewidth=2.6,
            label="truth",
        ),
        Line2D(
            [],
            [],
            color=_PREDICTED_ON_WHITE,
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


# Inches; at 100 pixels an inch an image of 128 px is shown three times as large.
_PANEL, _GAP = 3.84, 0.08
_MARGIN, _ROW_GAP, _LEGEND = 0.12, 0.5, 0.55


def draw_views(predicted: Predicted, held_out: HeldOut) -> Figure:
    """Draw a row for each frame, from good to worst, and a column for each view.

    Args:
        predicted: the predictions of all views.
        held_out: the frames, with the truth.
    """
    distances = distances_between(predicted.keypoints, held_out.keypoints)
    frames = chosen_frames(distances)
    views = held_out.project.view_names
    width = 2 * _MARGIN + len(views) * (_PANEL + _GAP) - _GAP
    height = _LEGEND + len(frames) * (_PANEL + _ROW_GAP) + _MARGIN
    figure = style.new_figure(
        width,
        height,
        left=_MARGIN,
        right=_MARGIN,
        top=_LEGEND + _ROW_GAP,
        bottom=_MARGIN,
        between=(_GAP / _PANEL, _ROW_GAP / _PANEL),
    )
    panels = figure.subplots(len(frames), len(views), squeeze=False)
    for row, (name, frame) in zip(panels, frames.items(), strict=True):
        for view, axes in enumerate(row):
            _draw_view(axes, predicted, held_out, frame, view)
            axes.text(
                0.985,
                1.02,
                f"{views[view]}   {error_of(distances[frame, view]).mean:.1f} px",
                transform=axes.transAxes,
                ha="right",
                va="bottom",
                fontsize=11,
                color=style.INK,
            )
        row[0].text(
            0.0,
            1.02,
            name.capitalize(),
            transform=row[0].transAxes,
            ha="left",
            va="bottom",
            fontsize=14,
            fontweight="bold",
            color=style.INK,
        )
    _draw_view_legend(figure, height)
    return figure


def _draw_view(axes: Axes, predicted: Predicted, held_out: HeldOut, frame: int, view: int) -> None:
    from matplotlib.patheffects import Normal, Stroke

    image = held_out.image(frame, view)
    axes.imshow(image, interpolation="bicubic")
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    axes.set_axis_off()
    outlined = [Stroke(linewidth=3.6, foreground=_EDGE, alpha=0.75), Normal()]
    found, true = predicted.keypoints[frame, view], held_out.keypoints[frame, view]
    for one, other in limbs(held_out.project.keypoint_names):
        axes.plot(*found[[one, other]].T, color=_PREDICTED, linewidth=1.8, path_effects=outlined)
    _draw_misses(axes, found, true)
    axes.plot(*found.T, "o", color=_PREDICTED, markersize=6, markeredgecolor=_EDGE)
    visibility = held_out.visibility[frame, view]
    for mark, value in (("o", VISIBLE), ("s", OCCLUDED)):
        _draw_rings(axes, true[visibility == value], mark)
    _draw_crosses(axes, predicted.reprojected[frame, view])


def _draw_misses(
    axes: Axes,
    found: Float64[np.ndarray, "num_keypoints 2"],
    true: Float64[np.ndarray, "num_keypoints 2"],
) -> None:
    """Join each prediction to what it should be."""
    for pair in np.stack([found, true], axis=1):
        axes.plot(*pair.T, color=_TRUTH, linewidth=1.0)


def _draw_rings(axes: Axes, points: Float64[np.ndarray, "points 2"], mark: str) -> None:
    for colour, width in ((_EDGE, 3.4), (_TRUTH, 1.7)):
        axes.plot(
            *points.T,
            mark,
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=width,
        )


def _draw_crosses(axes: Axes, points: Float64[np.ndarray, "points 2"]) -> None:
    for colour, width, size in ((_EDGE, 3.6, 8.5), (_JOINED, 1.8, 7)):
        axes.plot(*points.T, "x", markersize=size, color=colour, markeredgewidth=width)


def _draw_view_legend(figure: Figure, height: float) -> None:
    """Draw it as the panels are drawn, on a grey as dark as the images."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import Normal, Stroke

    ring: dict[str, Any] = {
        "linestyle": "",
        "markersize": 11,
        "markerfacecolor": "none",
        "markeredgewidth": 1.7,
    }
    handles = [
        Line2D(
            [],
            [],
            color=_PREDICTED,
            marker="o",
            markeredgecolor=_EDGE,
            linewidth=1.8,
            path_effects=[Stroke(linewidth=3.6, foreground=_EDGE), Normal()],
            label="predicted in this view",
        ),
        Line2D(
            [],
            [],
            linestyle="",
            marker="x",
            markersize=8,
            color=_JOINED,
            markeredgewidth=1.8,
            label="all views joined in 3D, seen from here",
        ),
        Line2D([], [], marker="o", markeredgecolor=_TRUTH, label="truth, visible", **ring),
        Line2D([], [], marker="s", markeredgecolor=_TRUTH, label="truth, occluded", **ring),
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(_MARGIN / figure.get_size_inches()[0], 1.0 - 0.1 / height),
        borderaxespad=0.0,
        ncols=len(handles),
        fontsize=12,
        facecolor="#59646d",
        edgecolor="none",
        framealpha=1.0,
        labelcolor="white",
        borderpad=0.6,
        columnspacing=2.2,
    )
