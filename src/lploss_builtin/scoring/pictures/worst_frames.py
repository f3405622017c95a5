"""The worst frames of one loss: the pose in one view or in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64, UInt8

from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_views
from lploss_builtin.scoring.loss_scores import NUM_WORST_FRAMES, LossScores
from lploss_builtin.scoring.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


_NUM_COLUMNS = 3
_WIDTH, _HEIGHT = 2.9, 2.4
_GAP, _VIEW_GAP, _ROW_GAP = 0.4, 0.42, 0.72
_LEGEND_LINE, _LEGEND_COLUMN = 0.2, 1.1
# Around a pose, as a share of its size; a window is at least so wide, px.
_MARGIN, _NARROWEST = 0.25, 60.0
# Where the window of a pose takes this share of an image, all of the image is shown.
_MOST = 0.7
# The others agree without a view if they are off by less than this share of what they are else.
_CLEARLY = 1 / 3


def worst_poses(
    scores: LossScores,
    file: str,
    keypoint_names: Sequence[str],
    images: Mapping[int, UInt8[np.ndarray, "height width 3"]],
) -> Figure:
    """Draw the poses, the worst keypoint marked; the frames that it looks back at as a faint line.

    Args:
        scores: of one file.
        file: short name of the file.
        keypoint_names: names of the keypoints, in order.
        images: video frames by number, as far as there are any.
    """
    num_rows = -(-(NUM_WORST_FRAMES + 1) // _NUM_COLUMNS)
    if images:
        height, width = next(iter(images.values())).shape[:2]
        low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
    else:
        points = scores.table.points.reshape(-1, 2)
        low, high = np.fmin.reduce(points), np.fmax.reduce(points)
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
    style.title(figure, scores.loss.name, file, "worst frames")
    panels = figure.subplots(num_rows, _NUM_COLUMNS).flatten()
    rows = zip(scores.worst_rows, scores.row.worst_frames, strict=True)
    for axes, (row, worst) in zip(panels, rows, strict=False):
        axes.set_title(
            f"frame {style.short(worst.frame)}\n{worst.keypoint}  {style.number(worst.value)}",
            loc="left",
            fontsize=9,
            color=style.INK,
        )
        image = images.get(worst.frame) if isinstance(worst.frame, int) else None
        if image is not None:
            axes.imshow(image)
        _draw_poses(axes, scores.poses(row), over_image=image is not None)
        if worst.keypoint in keypoint_names:
            _mark(axes, scores.poses(row)[-1:, keypoint_names.index(worst.keypoint)])
        _show_part(axes, low, high)
    for axes in panels[len(scores.worst_rows) :]:
        axes.set_axis_off()
    _draw_legend(panels[-1], keypoint_names, bool(scores.loss.num_previous_frames))
    return figure


def _draw_poses(
    axes: Axes, poses: Float64[np.ndarray, "frames num_keypoints 2"], *, over_image: bool
) -> None:
    edge = "white" if over_image else style.INK
    path = "white" if over_image else style.FAINT
    for number, points in enumerate(poses.swapaxes(0, 1)):
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


def _draw_legend(axes: Axes, keypoint_names: Sequence[str], looks_back: bool) -> None:
    _legend_of_keypoints(axes, keypoint_names)
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


def worst_views(
    scores: LossScores,
    file: str,
    names: PoseNames,
    cameras: Cameras,
    images: Sequence[Mapping[int, UInt8[np.ndarray, "height width 3"]]],
) -> Figure:
    """Draw a row for each frame and a column for each view, as near as the pose allows.

    A line joins each keypoint to where all views together put it; of a loss that looks back, to
    where it was before. Above each view stand the longest such line, and how far off the worst
    keypoint is in the other views if this one has no say: the wrong view is the one without which
    the others agree, and red where that is clear.

    Args:
        scores: of one recording.
        file: short name of the recording.
        names: of the keypoints and views.
        cameras: of the views.
        images: for each view the frames of its video by number; or none.
    """
    num_rows, num_views = len(scores.worst_rows), len(names.views)
    width = 0.5 + num_views * (_WIDTH + _VIEW_GAP)
    num_columns = int(width / _LEGEND_COLUMN)
    num_lines = -(-(len(names.keypoints) + 3) // num_columns)
    legend = 0.25 + num_lines * _LEGEND_LINE
    figure = style.new_figure(
        width,
        0.35 + num_rows * (_HEIGHT + _ROW_GAP) + 0.3 + legend,
        left=0.5,
        top=0.35 + _ROW_GAP,
        bottom=0.3 + legend,
        between=(_VIEW_GAP / _WIDTH, _ROW_GAP / _HEIGHT),
    )
    style.title(figure, scores.loss.name, file, "worst frames")
    looks_back = bool(scores.loss.num_previous_frames)
    for panels, row, found in zip(
        figure.subplots(num_rows, num_views, squeeze=False),
        scores.worst_rows,
        scores.row.worst_frames,
        strict=True,
    ):
        poses = rearrange(scores.poses(row), "frame (view k) xy -> view frame k xy", view=num_views)
        pose = poses[:, -1]
        weights = scores.confidences(row)
        if weights is not None:
            weights = rearrange(weights, "(view k) -> view k", view=num_views)
        together = _seen_together(pose, weights, cameras)
        group, keypoint = names.split(found.keypoint)
        about = [names.keypoints.index(keypoint)] if group else []
        without = _without_each(pose, weights, cameras, about)
        for number, axes in enumerate(panels):
            joined = poses[number, :-1] if looks_back else together[number][None]
            image = None
            if images and isinstance(found.frame, int):
                image = images[number][found.frame]
            size = cameras.image_sizes[number] if cameras.image_sizes else None
            _draw_view(axes, pose[number], joined, image, size)
            if names.views[number] in _views_of(group, names):
                _mark(axes, pose[number, about])
            subtitle, ink = names.views[number], style.FAINT
            if not looks_back:
                subtitle += _px("   up to", _longest((pose - together)[number]))
                subtitle += _px("   without it", without[number])
                if without[number] < _CLEARLY * np.fmin.reduce(np.delete(without, number)):
                    ink = style.ALARM
            _write(axes, subtitle, 3.0, 8, ink)
        value = f"{style.number(found.value)} {scores.loss.unit}".rstrip()
        heading = f"frame {style.short(found.frame)}   {found.keypoint}  {value}"
        _write(panels[0], heading, 18.0, 9.5, style.INK)
    _draw_legend_below(figure, names.keypoints, num_columns, looks_back)
    return figure


def window(
    pose: Float64[np.ndarray, "num_keypoints 2"],
    joined: Float64[np.ndarray, "frames num_keypoints 2"],
    image_size: tuple[float, float] | None,
) -> tuple[Float64[np.ndarray, "2"], Float64[np.ndarray, "2"]]:
    """Return the corners of the part of an image that shows a pose, in the shape of a panel.

    Args:
        pose: the keypoints, px.
        joined: what they are joined to, px; shown as far as it is not farther from the pose than
            the pose is large.
        image_size: width and height of the image, px, where they are known.

    Example:
        >>> pose = np.array([[100.0, 100.0], [158.0, 148.0]])
        >>> window(pose, pose[None], (640, 480))
        (array([85.5, 88. ]), array([172.5, 160. ]))
    """
    shape = np.array([1.0, _HEIGHT / _WIDTH])
    image = np.array(image_size if image_size is not None else (1.0, 1.0), dtype=np.float64)
    seen = pose[np.isfinite(pose).all(axis=-1)]
    if not len(seen):
        seen = np.stack([0 * image, image])
    low, high = seen.min(axis=0), seen.max(axis=0)
    reach = max(float((high - low).max()), _NARROWEST)
    others = joined[np.isfinite(joined).all(axis=-1)].clip(low - reach, high + reach)
    shown = np.concatenate([seen, others])
    low, high = shown.min(axis=0), shown.max(axis=0)
    centre = (low + high) / 2
    width = max(float(((high - low) / shape).max()) * (1 + 2 * _MARGIN), _NARROWEST)
    width_of_image = float((image / shape).max())
    is_inside = image_size is not None and (low >= 0).all() and (high <= image).all()
    if is_inside and width > _MOST * width_of_image:
        centre, width = image / 2, width_of_image
    return centre - width / 2 * shape, centre + width / 2 * shape


def _seen_together(
    pose: Float64[np.ndarray, "views num_keypoints 2"],
    weights: Float64[np.ndarray, "views num_keypoints"] | None,
    cameras: Cameras,
) -> Float64[np.ndarray, "views num_keypoints 2"]:
    """Return where all views together put the keypoints, as each view sees it."""
    points = triangulate_views(
        torch.from_numpy(pose)[None],
        cameras,
        None if weights is None else torch.from_numpy(weights)[None],
    )
    found: Float64[np.ndarray, "views num_keypoints 2"] = project_points(points, cameras)[0].numpy()
    return found


def _without_each(
    pose: Float64[np.ndarray, "views num_keypoints 2"],
    weights: Float64[np.ndarray, "views num_keypoints"] | None,
    cameras: Cameras,
    keypoints: list[int],
) -> Float64[np.ndarray, "views"]:
    """Return for each view how far off the others are, at most, if it has no say; px."""
    found = np.full(len(pose), np.nan)
    for view in range(len(pose)):
        others = pose.copy()
        others[view] = np.nan
        off = others - _seen_together(others, weights, cameras)
        found[view] = _longest(off[:, keypoints])
    return found


def _longest(offsets: Float64[np.ndarray, "*points 2"]) -> float:
    """Return how long the longest of some offsets is; NaN where all are unknown."""
    distances = np.linalg.norm(offsets, axis=-1)
    known = distances[np.isfinite(distances)]
    return float(known.max()) if known.size else np.nan


def _px(what: str, value: float) -> str:
    return "" if np.isnan(value) else f"{what} {style.number(value)} px"


def _views_of(group: str, names: PoseNames) -> tuple[str, ...]:
    """Return the views of a pair, or the view that it is."""
    pairs = dict(zip(names.pairs, combinations(names.views, 2), strict=True))
    return pairs.get(group, (group,))


def _draw_view(
    axes: Axes,
    pose: Float64[np.ndarray, "num_keypoints 2"],
    joined: Float64[np.ndarray, "frames num_keypoints 2"],
    image: UInt8[np.ndarray, "height width 3"] | None,
    image_size: tuple[float, float] | None,
) -> None:
    if image is not None:
        axes.imshow(image)
        image_size = (image.shape[1], image.shape[0])
    ink = style.INK if image is None else "white"
    for number, (x, y) in enumerate(pose):
        path = np.concatenate([joined[:, number], [(x, y)]])
        axes.plot(*path.T, color=ink, linewidth=0.9, zorder=2)
        axes.plot(*path[:-1].T, "x", markersize=4, markeredgewidth=0.9, color=ink, zorder=2)
        style.draw_keypoint(axes, number, x, y, ink)
    low, high = window(pose, joined, image_size)
    _show_part(axes, low, high)


def _mark(axes: Axes, points: Float64[np.ndarray, "num_marked 2"]) -> None:
    axes.plot(
        *points.T,
        "o",
        markersize=14,
        markerfacecolor="none",
        color=style.ALARM,
        markeredgewidth=1.6,
        zorder=4,
    )


def _write(axes: Axes, text: str, points_above: float, size: float, ink: str) -> None:
    axes.annotate(
        text,
        (0.0, 1.0),
        (0.0, points_above),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=size,
        color=ink,
        annotation_clip=False,
    )


def _draw_legend_below(
    figure: Figure, keypoint_names: Sequence[str], num_columns: int, looks_back: bool
) -> None:
    axes = figure.axes[0]
    handles = _legend_of_keypoints(axes, keypoint_names)
    joined = "the frame before" if looks_back else "all views together"
    handles += axes.plot([], [], "-x", color=style.INK, markersize=4, linewidth=0.9, label=joined)
    handles += axes.plot(
        [], [], "o", markersize=9, markerfacecolor="none", color=style.ALARM, label="worst"
    )
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.2 / figure.get_size_inches()[0], 0.0),
        fontsize=8,
        frameon=False,
        ncols=num_columns,
        labelcolor=style.INK,
        handletextpad=0.6,
        columnspacing=1.0,
    )


def _legend_of_keypoints(axes: Axes, keypoint_names: Sequence[str]) -> list[Line2D]:
    return [
        axes.plot(
            [], [], style.marker(number), markersize=5, color=style.colour(number), label=name
        )[0]
        for number, name in enumerate(keypoint_names)
    ]


def _show_part(axes: Axes, low: Float64[np.ndarray, "2"], high: Float64[np.ndarray, "2"]) -> None:
    axes.set_aspect("equal")
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(high[1], low[1])
    style.plain(axes)
    axes.tick_params(labelsize=7)
