"""Held-out frames in all views, with what was predicted drawn in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from lploss_builtin.commands.scoring.pictures import style
from lploss_builtin.commands.training_demo.errors import distances_between, error_of
from lploss_builtin.commands.training_demo.held_out import HeldOut
from lploss_builtin.commands.training_demo.pictures.chosen_frames import chosen_frames
from lploss_builtin.commands.training_demo.pictures.colours import EDGE, JOINED, PREDICTED, TRUTH
from lploss_builtin.commands.training_demo.predictors import Predicted
from lploss_builtin.commands.training_demo.skeleton import limbs
from lploss_builtin.data.label_files import OCCLUDED, VISIBLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    _draw_legend(figure, height)
    return figure


def _draw_view(axes: Axes, predicted: Predicted, held_out: HeldOut, frame: int, view: int) -> None:
    from matplotlib.patheffects import Normal, Stroke

    image = held_out.image(frame, view)
    axes.imshow(image, interpolation="bicubic")
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    axes.set_axis_off()
    outlined = [Stroke(linewidth=3.6, foreground=EDGE, alpha=0.75), Normal()]
    found, true = predicted.keypoints[frame, view], held_out.keypoints[frame, view]
    for one, other in limbs(held_out.project.keypoint_names):
        axes.plot(*found[[one, other]].T, color=PREDICTED, linewidth=1.8, path_effects=outlined)
    _draw_misses(axes, found, true)
    axes.plot(*found.T, "o", color=PREDICTED, markersize=6, markeredgecolor=EDGE)
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
        axes.plot(*pair.T, color=TRUTH, linewidth=1.0)


def _draw_rings(axes: Axes, points: Float64[np.ndarray, "points 2"], mark: str) -> None:
    for colour, width in ((EDGE, 3.4), (TRUTH, 1.7)):
        axes.plot(
            *points.T,
            mark,
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=width,
        )


def _draw_crosses(axes: Axes, points: Float64[np.ndarray, "points 2"]) -> None:
    for colour, width, size in ((EDGE, 3.6, 8.5), (JOINED, 1.8, 7)):
        axes.plot(*points.T, "x", markersize=size, color=colour, markeredgewidth=width)


def _draw_legend(figure: Figure, height: float) -> None:
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
            color=PREDICTED,
            marker="o",
            markeredgecolor=EDGE,
            linewidth=1.8,
            path_effects=[Stroke(linewidth=3.6, foreground=EDGE), Normal()],
            label="predicted in this view",
        ),
        Line2D(
            [],
            [],
            linestyle="",
            marker="x",
            markersize=8,
            color=JOINED,
            markeredgewidth=1.8,
            label="all views joined in 3D, seen from here",
        ),
        Line2D([], [], marker="o", markeredgecolor=TRUTH, label="truth, visible", **ring),
        Line2D([], [], marker="s", markeredgecolor=TRUTH, label="truth, occluded", **ring),
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
