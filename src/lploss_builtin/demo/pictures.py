"""Pictures of a training and of what it predicts: its curves, and poses in images and in 3D."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float64

from lploss_builtin.data.project.label_files import OCCLUDED, VISIBLE
from lploss_builtin.demo.measuring import HeldOut, Predicted, distances_between, error_of
from lploss_builtin.dependencies import require
from lploss_builtin.scoring.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of an epoch, counted from 1, the value at its end.
Curve: TypeAlias = dict[int, float]

# The sums of supervised and of unsupervised losses are left out.
_CURVE = re.compile(r"(train|val)_((?!(?:un)?supervised_loss)(?:.+_)?loss|pixel_error)(_epoch)?")


def read_curves(metrics: Path) -> dict[str, dict[str, Curve]]:
    """Return what a training has logged at the ends of its epochs.

    Args:
        metrics: ``metrics.csv`` of the training.

    Returns:
        For each quantity the curves ``train`` and ``val``: ``pixel_error``, ``loss`` (the sum of
        all), and each loss before its weight.
    """
    table = require("pandas", "train", "to read metrics").read_csv(metrics)
    curves: dict[str, dict[str, Curve]] = {}
    for column in table:
        match = _CURVE.fullmatch(column)
        # Training values of single steps have no suffix.
        if match and (match[1] == "train") == bool(match[3]):
            known = table[["epoch", column]].dropna()
            if len(known):
                epochs = (known["epoch"].astype(int) + 1).tolist()
                stages = curves.setdefault(match[2].removesuffix("_loss"), {})
                stages[match[1]] = dict(zip(epochs, known[column].tolist(), strict=True))
    return curves


def read_weights(metrics: Path) -> dict[str, float]:
    """Return the last weight of each loss.

    Args:
        metrics: ``metrics.csv`` of the training.
    """
    table = require("pandas", "train", "to read metrics").read_csv(metrics)
    return {
        column.removesuffix("_weight_epoch"): float(table[column].dropna().iloc[-1])
        for column in table
        if column.endswith("_weight_epoch") and table[column].notna().any()
    }


def draw_curves(
    curves: Mapping[str, Mapping[str, Curve]], yardsticks: Mapping[str, float]
) -> Figure:
    """Draw the error large, and each loss below it.

    Args:
        curves: those of `read_curves`.
        yardsticks: errors of others, px, that the error is compared with.
    """
    names = sorted(curves.keys() - {"pixel_error"}, key=lambda name: name != "loss")
    figure = style.new_figure(
        10.0, 7.1, left=0.75, right=0.25, top=0.55, bottom=0.6, between=(0.25, 0.42)
    )
    grid = figure.add_gridspec(2, max(1, len(names)))
    axes = figure.add_subplot(grid[0, :])
    _draw_curve(axes, curves.get("pixel_error", {}), "mean distance to the labels, px")
    for (name, value), dashes in zip(yardsticks.items(), ("--", ":", "-.") * 3, strict=False):
        label = f"held-out frames: {name}, {value:.1f} px"
        axes.axhline(value, color=style.INK, linewidth=1.2, linestyle=dashes, label=label)
    axes.set_ylim(0.0, 1.5 * max(axes.get_ylim()[1], *yardsticks.values()))
    axes.legend(fontsize=9, frameon=False, labelcolor=style.INK, loc="upper right", ncols=2)
    for number, name in enumerate(names):
        axes = figure.add_subplot(grid[1, number])
        _draw_curve(axes, curves[name], "sum of all losses, weighted" if name == "loss" else name)
        axes.set_xlabel("epoch", fontsize=10, color=style.INK)
    return figure


def _draw_curve(axes: Axes, stages: Mapping[str, Curve], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    style.plain(axes)
    for stage, label, line, colour in (
        ("train", "training frames, augmented", "o-", style.colour(0)),
        ("val", "validation frames, as they are", "s-", style.colour(5)),
    ):
        curve = stages.get(stage, {})
        axes.plot([*curve], [*curve.values()], line, color=colour, markersize=4, label=label)
    axes.set_title(title, loc="left", fontsize=10 if len(title) < 34 else 8, color=style.INK)
    highest = max((value for curve in stages.values() for value in curve.values()), default=1.0)
    axes.set_ylim(0.0, 1.08 * highest)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#e8ecef", linewidth=0.7)


# Colours on images and on white; they differ in lightness, too.
_TRUTH, _PREDICTED, _JOINED, _EDGE = "#ffffff", "#36b5ff", "#ffe14d", "#10181f"
_TRUTH_ON_WHITE, _PREDICTED_ON_WHITE = "#9aa5ad", "#0080c8"

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


def limbs(keypoint_names: Sequence[str]) -> list[list[int]]:
    """Return the numbers of the keypoints that a line joins.

    Example:
        >>> limbs(["hip", "nose", "neck", "tail_base"])
        [[2, 0], [0, 3]]
    """
    known = set(keypoint_names)
    return [[*map(keypoint_names.index, pair)] for pair in _LIMBS if known.issuperset(pair)]


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
    # With few frames, one may have several ranks: it gets the name of the last one.
    frames = {int(order[round(share * (len(order) - 1))]): name for name, share in _SHARES.items()}
    return {name: frame for frame, name in frames.items()}


def draw_views(predicted: Predicted, held_out: HeldOut) -> Figure:
    """Draw a row for each frame, from good to worst, and a column for each view.

    Args:
        predicted: the predictions of all views.
        held_out: the frames, with the truth.
    """
    distances = distances_between(predicted.keypoints, held_out.keypoints)
    frames = chosen_frames(distances)
    views = held_out.project.view_names
    panels = _panels(len(frames), len(views), between=(0.02, 0.13))
    for row, (rank, frame) in zip(panels, frames.items(), strict=True):
        row[0].set_title(
            rank.capitalize(), loc="left", fontsize=14, fontweight="bold", color=style.INK
        )
        for view, axes in enumerate(row):
            _draw_view(axes, predicted, held_out, frame, view)
            text = f"{views[view]}   {error_of(distances[frame, view]).mean:.1f} px"
            axes.set_title(text, loc="right", fontsize=11, color=style.INK)
    # On a grey as dark as the images.
    _add_legend(panels[0, 0], facecolor="#59646d", framealpha=1.0, labelcolor="white")
    return panels[0, 0].figure


def _draw_view(axes: Axes, predicted: Predicted, held_out: HeldOut, frame: int, view: int) -> None:
    from matplotlib.patheffects import Normal, Stroke

    image = held_out.image(frame, view)
    height, width = image.shape[:2]
    axes.imshow(image, interpolation="bicubic")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
    found, true = predicted.keypoints[frame, view], held_out.keypoints[frame, view]
    look: dict[str, Any] = {
        "path_effects": [Stroke(linewidth=3.6, foreground=_EDGE, alpha=0.75), Normal()]
    }
    for pair in limbs(held_out.project.keypoint_names):
        axes.plot(*found[pair].T, color=_PREDICTED, linewidth=1.8, **look)
    for miss in np.stack([found, true], axis=1):
        axes.plot(*miss.T, color=_TRUTH, linewidth=1.0)
    look |= {"linestyle": "", "markeredgewidth": 1.8}
    joined = predicted.reprojected[frame, view]
    visibility = held_out.visibility[frame, view]
    ring: dict[str, Any] = {"color": _TRUTH, "markersize": 11, "fillstyle": "none"}
    ring |= {"linestyle": "", "markeredgewidth": 2.2}
    label = "predicted in this view"
    axes.plot(*found.T, "o", color=_PREDICTED, markersize=5, label=label, **look)
    axes.plot(*true[visibility == VISIBLE].T, "o", label="truth, visible", **ring)
    axes.plot(*true[visibility == OCCLUDED].T, "s", label="truth, occluded", **ring)
    label = "all views joined in 3D, seen from here"
    axes.plot(*joined.T, "x", color=_JOINED, markersize=7, label=label, **look)


# Elevation and azimuth of who looks at the animal, degrees; it looks along the x axis.
_SIDES = {
    "from its right": (6.0, -90.0),
    "from above": (90.0, -90.0),
    "from its right and ahead": (26.0, -42.0),
}
_AROUND = 12.0


def draw_poses(predicted: Predicted, held_out: HeldOut) -> Figure:
    """Draw a row for each frame, from good to bad, and a column for each side.

    Args:
        predicted: the predictions of all views.
        held_out: the frames, with the truth.
    """
    distances = distances_between(predicted.points, held_out.points)
    frames = chosen_frames(distances)
    names = held_out.project.keypoint_names
    panels = _panels(len(frames), len(_SIDES), subplot_kw={"projection": "3d"})
    for row, (rank, frame) in zip(panels, frames.items(), strict=True):
        found, true = _turned(predicted.points[frame], held_out.points[frame], names)
        for axes, (side, (elevation, azimuth)) in zip(row, _SIDES.items(), strict=True):
            axes.view_init(elevation, azimuth)
            axes.set_proj_type("ortho")
            axes.set_title(side, fontsize=10, color=style.INK)
            _draw_pose(axes, found, true, names)
        text = f"{rank.capitalize()}: {error_of(distances[frame]).mean:.1f} mm off"
        look = {"fontsize": 13, "fontweight": "bold", "color": style.INK}
        row[0].text2D(0.0, 1.1, text, transform=row[0].transAxes, **look)
    _add_legend(panels[0, 0], frameon=False, labelcolor=style.INK)
    return panels[0, 0].figure


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
) -> None:
    low, high = true.min(axis=0) - _AROUND, true.max(axis=0) + _AROUND
    low[2] = 0.0
    # What lies far outside would be drawn over the other panels.
    is_near = ((found >= low - _AROUND) & (found <= high + _AROUND)).all(axis=-1, keepdims=True)
    shown = np.where(is_near, found, np.nan)
    for pair in limbs(names):
        axes.plot(*true[pair].T, color=_TRUTH_ON_WHITE, linewidth=2.6)
        axes.plot(*shown[pair].T, color=_PREDICTED_ON_WHITE, linewidth=1.8)
    for number, miss in enumerate(np.stack([shown, true], axis=1)):
        label = "_" if number else "how far off"
        axes.plot(*miss.T, color=style.ALARM, linewidth=1.1, label=label)
    axes.plot(*true.T, "o", color=_TRUTH_ON_WHITE, markerfacecolor="white", label="truth")
    axes.plot(
        *shown.T, "o", color=_PREDICTED_ON_WHITE, markersize=4.5, label="predicted, all views"
    )
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set(xticks=[], yticks=[], zticks=[])
    axes.set_box_aspect(high - low, zoom=1.3)
    axes.set_axis_off()


# Inches; at 100 pixels an inch an image of 128 px is shown three times as large.
_PANEL, _MARGIN, _LEGEND = 3.84, 0.12, 0.95


def _panels(num_rows: int, num_columns: int, **more: Any) -> Any:
    """Return the axes of a figure, by row and column, with room for a legend at its top."""
    between = more.pop("between", (0.0, 0.16))
    width = _PANEL * num_columns * (1.0 + between[0]) + 2 * _MARGIN
    height = _PANEL * num_rows * (1.0 + between[1]) + _LEGEND
    margins = {"left": _MARGIN, "right": _MARGIN, "top": _LEGEND, "bottom": _MARGIN}
    figure = style.new_figure(width, height, **margins, between=between)
    return figure.subplots(num_rows, num_columns, squeeze=False, **more)


def _add_legend(axes: Axes, **look: Any) -> None:
    """Put the legend of one panel at the top of its figure."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(
        handles, labels, loc="upper left", ncols=len(labels), fontsize=12, edgecolor="none", **look
    )
