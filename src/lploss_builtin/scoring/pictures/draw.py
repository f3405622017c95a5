"""All pictures of one recording, with the values over time and their distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from lploss.errors import DataError
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.scoring.loss_scores import LossScores
from lploss_builtin.scoring.pictures import style
from lploss_builtin.scoring.pictures.worst_frames import worst_poses, worst_views
from lploss_builtin.scoring.recording import Recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST_COLUMNS, _MOST_POINTS = 3, 4000
# In inches; of all rows together, however many there are.
_WIDTH_OF_COLUMN, _TALLEST = 4.2, 300.0


def over_time(scores: LossScores, file: str, pose_names: PoseNames) -> Figure:
    """Draw the values over time, with epsilon and the worst frames; a column for each view.

    Args:
        scores: of one file.
        file: short name of the file.
        pose_names: names of the keypoints, in order; a keypoint has one colour in all views.
    """
    loss, frames = scores.loss, scores.table.frames
    points, frames_per_point = _peaks(scores.values)
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
    are_consecutive = frames.dtype.kind == "i" and bool((np.diff(frames) == 1).all())
    start = int(frames[0]) if are_consecutive else 0
    x = start + np.arange(len(points)) * frames_per_point
    top = float(np.nanmax(points, initial=0.0))
    visible = loss.epsilon[(loss.epsilon > 0) & (loss.epsilon <= 2 * top)]
    top = max(top, float(visible.max(initial=0.0))) or 1.0
    for number, (axes, name) in enumerate(zip(all_axes, names, strict=True)):
        style.plain(axes)
        values, epsilon = points[:, number], loss.epsilon[number]
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
    for row, worst in zip(scores.worst_rows, scores.row.worst_frames, strict=True):
        at = start + row
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
    unit = "frame" if are_consecutive else "frames of the file, counted from 0"
    if frames_per_point > 1:
        unit += f" (a point is the greatest value of {frames_per_point} frames)"
    for axes in blocks[-num_columns:, -1]:
        axes.set_xlabel(unit, fontsize=9, color=style.INK)
        axes.tick_params(labelbottom=True)
    legend = [
        f"circles: worst frames: {_some([str(worst.frame) for worst in scores.row.worst_frames])}"
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


def _peaks(
    values: Float[np.ndarray, "frames elements"],
) -> tuple[Float[np.ndarray, "points elements"], int]:
    """Return at most so many points that can be told apart: each is the greatest of its frames.

    Returns:
        The points, and the number of frames per point.
    """
    step = 1
    while len(values) > step * _MOST_POINTS:
        step *= 2
    return np.fmax.reduceat(values, np.arange(0, len(values), step), axis=0), step


def _root(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.sqrt(np.maximum(values, 0.0))


def _some(texts: list[str]) -> str:
    return ", ".join(text if len(text) < 20 else f"...{text[-16:]}" for text in texts) or "none"


_NUM_BARS = 80


def distribution(scores: LossScores, file: str) -> Figure:
    """Draw how often which value occurs, counts on a logarithmic scale, with epsilon.

    Args:
        scores: of one file.
        file: short name of the file.
    """
    loss, row = scores.loss, scores.row
    figure = style.new_figure(7.5, 3.6)
    axes = figure.subplots()
    style.plain(axes)
    values = scores.values[np.isfinite(scores.values)]
    edges = np.linspace(0.0, float(values.max(initial=0.0)) or 1.0, _NUM_BARS + 1)
    heights, _ = np.histogram(values, edges)
    epsilon = loss.one_epsilon
    above = np.zeros(_NUM_BARS, dtype=bool) if epsilon is None else edges[:-1] >= epsilon
    axes.bar(
        edges[:-1],
        heights,
        width=np.diff(edges),
        align="edge",
        color=np.where(above, style.ALARM, "#7d9bb5").tolist(),
        edgecolor="white",
        linewidth=0.3,
    )
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(float(heights.max()), 1.0) * 6)
    axes.set_xlim(0.0, edges[-1] * 1.02)
    words: dict[str, Any] = {
        "transform": axes.get_xaxis_transform(),
        "va": "top",
        "fontsize": 8,
        "zorder": 5,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    }
    marks = (("median", row.median), ("95 %", row.percentile_95), ("99 %", row.percentile_99))
    for level, (text, value) in zip((0.98, 0.90, 0.82), marks, strict=True):
        if np.isfinite(value):
            axes.axvline(value, ymax=level, color=style.INK, linewidth=0.7, alpha=0.6)
            axes.text(
                value,
                level,
                f" {text} {style.number(value)}",
                color=style.INK,
                **words,
            )
    rest = f"{row.valid:,} values"
    if epsilon is None:
        rest += f", {100 * row.share_above_epsilon:.3g} % above their epsilon, one a keypoint"
    elif row.valid:
        rest += f", {100 * row.share_above_epsilon:.3g} % above epsilon {style.number(epsilon)}"
        if 0 < epsilon <= edges[-1]:
            axes.axvline(epsilon, color=style.ALARM, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.text(
                epsilon,
                0.74,
                f" epsilon {style.number(epsilon)} {loss.unit}",
                color=style.ALARM,
                **words,
            )
    style.title(figure, loss.name, file, rest)
    axes.set_xlabel(f"value, {loss.unit}" if loss.unit else "value", fontsize=9, color=style.INK)
    axes.set_ylabel("number of values", fontsize=9, color=style.INK)
    return figure


def draw_pictures(
    folder: Path,
    name: str,
    recording: Recording,
    scores: Sequence[LossScores],
    names: PoseNames,
    cameras: Cameras | None,
) -> None:
    """Draw, for each loss, the values over time, their distribution, and the worst poses.

    Args:
        folder: the folder to draw into.
        name: short name of the recording.
        recording: the recording.
        scores: the values of each loss in it.
        names: names of the keypoints, in order.
        cameras: the cameras of the views, if there are several views.

    Raises:
        DataError: a video is not the one of these predictions, or a frame cannot be read.
    """
    worst = {entry.frame for own in scores for entry in own.row.worst_frames}
    numbers = sorted(frame for frame in worst if isinstance(frame, int))
    frames = scores[0].table.frames
    images = [_images(recording.name, frames, numbers, video) for video in recording.videos]
    for own in scores:
        if not own.worst_rows:
            continue  # nothing is valid
        loss = own.loss.name
        style.save(over_time(own, name, names), folder / f"{loss}_over_time.png")
        style.save(distribution(own, name), folder / f"{loss}_distribution.png")
        style.save(
            worst_poses(own, name, names.flat, images[0] if images else {})
            if cameras is None
            else worst_views(own, name, names, cameras, images),
            folder / f"{loss}_worst_frames.png",
        )


def _images(
    name: str,
    frames: Shaped[np.ndarray, "frames"],
    numbers: Sequence[int],
    video: str | PathLike[str],
) -> Mapping[int, UInt8[np.ndarray, "height width 3"]]:
    """Return frames of a video by number, after checking that it has all frames of a recording."""
    if frames.dtype.kind != "i":
        raise DataError(
            f"{name}: its frames are images, so the video {video} cannot be laid under them. "
            "Score the file without a video."
        )
    source = frame_source(Path(video))
    if source.num_frames <= frames.max():
        raise DataError(
            f"the video {video} has {source.num_frames} frames, {name} goes up to frame "
            f"{frames.max()} (frames count from 0). Give the video that was predicted."
        )
    with FrameReader(source) as reader:
        return {number: reader.read(number, number + 1)[0] for number in numbers}
