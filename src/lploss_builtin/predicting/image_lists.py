"""The images that a CSV names in its first column: label files, predictions, or a bare list."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from lploss.errors import DataError
from lploss.reading import check_file, reading
from lploss_builtin.data.frames.image_folders import is_image
from lploss_builtin.data.poses.columns import LEVELS

# That of files with several animals, which have the same images in their first column.
_HEADER = (*LEVELS, "individuals")


def listed_images(path: Path) -> tuple[str, ...]:
    """Return the path of each image, as the file has it, with ``/`` between its parts.

    The other columns are not read. There may be the three header rows of label files, one header
    row, or none.

    Raises:
        DataError: the file cannot be read, or names no images.
    """
    check_file(path)
    with reading(path, "as CSV"), path.open(newline="", encoding="utf-8-sig") as file:
        images = tuple(_images(path, file))
    if not images:
        raise DataError(f"{path} names no images. Expected a path in the first cell of each row")
    return images


def _images(path: Path, text: Iterable[str]) -> Iterator[str]:
    rows = csv.reader(text)
    header: list[list[str]] = []
    num_rows = 0
    for row in filter(any, rows):
        num_rows += 1
        if row[0].strip() in _HEADER and len(header) == num_rows - 1:
            header.append(row)
            continue
        # Older label files of DeepLabCut have three index columns, of which two have no header.
        num_columns = 1
        while header and num_columns < len(row) and not any(own[num_columns] for own in header):
            num_columns += 1
        image = "/".join(row[:num_columns]).replace("\\", "/").strip()
        if is_image(image):
            yield image
        elif num_rows > 1:
            raise DataError(
                f"{path}, line {rows.line_num}: expected the path of an image in the first cell, "
                f"got {image!r}"
            )
