"""Reading the bounding boxes of one view, and checking them against its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from lploss.errors import DataError, did_you_mean
from lploss.reading import check_file, reading
from lploss_builtin.data.findings import UNUSABLE_FILES, Findings, Kind
from lploss_builtin.dependencies import require

_COLUMNS = ("x", "y", "h", "w")
# Of a box that was computed, its two edges may not add up to the very width of the image.
_TOLERANCE = 1e-3

_NO_BOX = Kind(
    "Frames without a bounding box",
    "A file of boxes needs a row for each image of the view's label file, with x, y, h and w.",
)
_NO_SIZE = Kind("Bounding boxes of no size", "Height and width must be above 0.")
_OUTSIDE = Kind(
    "Bounding boxes that reach out of the image",
    "A box is x, y, height and width, px, within its image. Where the images are the boxes, cut "
    "out before, each image must have the very size of its box.",
)


def read_boxes(path: Path) -> Mapping[str, Float64[np.ndarray, "4"]]:
    """Read a file of boxes: a CSV with the path of each image and the columns x, y, h, w.

    Returns:
        For each image x, y, height and width of its box, px; NaN where a number is missing.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds something that is no number.
    """
    pandas = require("pandas", "train", "to read bounding boxes")
    check_file(path)
    with reading(path, "as a file of bounding boxes"):
        table = pandas.read_csv(path, index_col=0, dtype=dict.fromkeys(_COLUMNS, "float64"))
    if lacking := [column for column in _COLUMNS if column not in table.columns]:
        found = ", ".join(map(str, table.columns)) or "none"
        hint = did_you_mean(lacking[0], map(str, table.columns))
        raise DataError(
            f"{path}: there is no column {lacking[0]!r}.{hint} A file of bounding boxes has the "
            f"columns {', '.join(_COLUMNS)} after that of the images, got {found}"
        )
    images = [str(image).replace("\\", "/") for image in table.index]
    if len(set(images)) < len(images):
        twice = next(image for image in images if images.count(image) > 1)
        raise DataError(f"{path}: {twice} stands there twice. Keep one row for each image.")
    return dict(zip(images, table[list(_COLUMNS)].to_numpy(), strict=True))


def boxes_of(
    path: Path,
    images: Sequence[str],
    image_sizes: Int64[np.ndarray, "frames 2"],
    findings: Findings,
) -> tuple[Float64[np.ndarray, "frames 4"], bool] | None:
    """Return the boxes of a view's images.

    Args:
        path: the file of boxes.
        images: path of each frame's image, as in the view's label file.
        image_sizes: height and width of each image, px; 0 where they are not known, and the box
            cannot be checked.
        findings: where problems go.

    Returns:
        x, y, height and width of each box, px, and whether the images are the boxes, cut out of
        larger frames before; ``None`` where the file cannot be used or lacks boxes.
    """
    try:
        found = read_boxes(path)
    except DataError as error:
        findings.add(UNUSABLE_FILES, [str(error)])
        return None
    boxes = np.array([found.get(image, np.full(4, np.nan)) for image in images]).reshape(-1, 4)
    is_there = np.isfinite(boxes).all(axis=1)
    findings.add(_NO_BOX, [f"{path}: {images[i]}" for i in np.flatnonzero(~is_there).tolist()])
    x, y, height, width = boxes.T
    has_size = (height > 0) & (width > 0)
    findings.add(_NO_SIZE, _cases(path, images, boxes, is_there & ~has_size))
    is_known = is_there & (image_sizes > 0).all(axis=1)
    is_image = np.all(boxes[:, 2:] == image_sizes, axis=1)
    is_elsewhere = is_known & ((x != 0) | (y != 0))
    are_cut_out = bool(is_image[is_known].all()) and bool(is_elsewhere.any())
    if not are_cut_out:
        bottom, right = (image_sizes + _TOLERANCE).T
        is_outside = (np.minimum(x, y) < -_TOLERANCE) | (y + height > bottom) | (x + width > right)
        cases = _cases(path, images, boxes, is_known & has_size & is_outside, image_sizes)
        findings.add(_OUTSIDE, cases)
    return (boxes, are_cut_out) if is_there.all() else None


def _cases(
    path: Path,
    images: Sequence[str],
    boxes: np.ndarray,
    chosen: np.ndarray,
    image_sizes: np.ndarray | None = None,
) -> list[str]:
    cases = []
    for frame in np.flatnonzero(chosen).tolist():
        numbers = ", ".join(
            f"{name} {value:g}" for name, value in zip(_COLUMNS, boxes[frame], strict=True)
        )
        case = f"{path}: {images[frame]}: {numbers}"
        if image_sizes is not None:
            case += f", the image has height {image_sizes[frame, 0]}, width {image_sizes[frame, 1]}"
        cases.append(case)
    return cases
