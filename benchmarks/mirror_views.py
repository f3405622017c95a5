"""The views that a frame with a mirror holds, as files of a project of several views.

Each view has a label file and a file of boxes of its own. All name the same images, which stay
where they are: each view is cropped from them when they are read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import Float64
from PIL import Image

from lploss.errors import DataError
from lploss_builtin.data.poses.reading import read_poses


@dataclass(frozen=True, slots=True)
class View:
    """A part of the frame, over its whole width.

    Attributes:
        name: of the view.
        suffix: the end of the names of its keypoints.
        first_row: its first row of pixels.
        end_row: the row of pixels after its last; ``None``: it ends with the frame.
    """

    name: str
    suffix: str
    first_row: int
    end_row: int | None


@dataclass(frozen=True, slots=True)
class ViewFiles:
    """The files of all views, in their order.

    Attributes:
        labels: label files.
        boxes: files of boxes.
    """

    labels: tuple[Path, ...]
    boxes: tuple[Path, ...]


def write_views(label_file: Path, views: Sequence[View], out: Path) -> ViewFiles:
    """Write the labels and the boxes of each view.

    All views get the same keypoints: one that a view does not show is not labelled in it.

    Args:
        label_file: labels of the whole frames, beside the images that it names.
        views: the views.
        out: folder for the files.

    Raises:
        DataError: a keypoint is of no view, or a label lies outside of its view.
    """
    table = read_poses(label_file)
    images = [str(frame) for frame in table.frames]
    points = rearrange(table.points, "f 1 k xy -> k f xy")
    columns = dict(zip(table.keypoints, points, strict=True))
    of_views = [[n for n in columns if n.endswith(view.suffix)] for view in views]
    if unseen := set(columns).difference(*of_views):
        raise DataError(f"{label_file}: keypoints of no view: {', '.join(sorted(unseen))}")
    names = dict.fromkeys(
        name.removesuffix(view.suffix)
        for view, own in zip(views, of_views, strict=True)
        for name in own
    )
    unlabelled = np.full((len(images), 2), np.nan)
    out.mkdir(parents=True, exist_ok=True)
    files = ViewFiles(
        tuple(out / f"labels_{view.name}.csv" for view in views),
        tuple(out / f"boxes_{view.name}.csv" for view in views),
    )
    for view, labels, boxes in zip(views, files.labels, files.boxes, strict=True):
        seen = [columns.get(f"{name}{view.suffix}", unlabelled) for name in names]
        keypoints = np.stack(seen, axis=1)
        box = np.array([_box(label_file.parent / image, view) for image in images])
        _check_inside(keypoints, box, view, images)
        _write_labels(labels, images, list(names), keypoints)
        _write(
            boxes,
            [
                ["", "x", "y", "h", "w"],
                *([i, *b] for i, b in zip(images, box.tolist(), strict=True)),
            ],
        )
    return files


def _box(image: Path, view: View) -> tuple[int, int, int, int]:
    with Image.open(image) as file:
        width, height = file.size
    end = height if view.end_row is None else view.end_row
    return 0, view.first_row, end - view.first_row, width


def _check_inside(
    keypoints: Float64[np.ndarray, "frames num_keypoints 2"],
    box: np.ndarray,
    view: View,
    images: Sequence[str],
) -> None:
    low = box[:, None, :2]
    high = low + box[:, None, :1:-1]
    # NaN is outside of nothing.
    is_outside = ((keypoints < low) | (keypoints > high)).any(axis=(1, 2))
    if is_outside.any():
        image = images[int(is_outside.argmax())]
        raise DataError(f"{image}: a label of view {view.name!r} lies outside of it")


def _write_labels(
    path: Path,
    images: Sequence[str],
    names: Sequence[str],
    keypoints: Float64[np.ndarray, "frames num_keypoints 2"],
) -> None:
    rows = rearrange(keypoints, "f k xy -> f (k xy)").tolist()
    cells = (["" if np.isnan(value) else value for value in row] for row in rows)
    header = [
        ["scorer", *["labels"] * (2 * len(names))],
        ["bodyparts", *(name for name in names for _ in "xy")],
        ["coords", *["x", "y"] * len(names)],
    ]
    _write(path, [*header, *([i, *row] for i, row in zip(images, cells, strict=True))])


def _write(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
