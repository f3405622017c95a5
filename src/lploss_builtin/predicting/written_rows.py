"""What an interrupted prediction has written already."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from lploss.errors import DataError, first_line

_ROWS_AT_ONCE = 4096


def num_complete_rows(path: Path, header: Sequence[Sequence[str]]) -> int:
    r"""Return how many rows a file of predictions of consecutive frames holds, from frame 0 on.

    The first row that is cut off, or of another frame, ends them. A file with another header has
    none.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "walk.csv")
        >>> _ = path.write_text("coords,x,y\n0,1.5,2\n1,,\n2,1.2")
        >>> num_complete_rows(path, [["coords", "x", "y"]])
        2
    """
    num_commas = len(header[0]) - 1
    try:
        with path.open("rb") as file:
            if file.read(len(_encoded(header))) != _encoded(header):
                return 0
            number = 0
            for line in file:
                is_whole = line.endswith(b"\n") and line.count(b",") == num_commas
                if not (is_whole and line.startswith(b"%d," % number)):
                    break
                number += 1
            return number
    except FileNotFoundError:
        return 0


def cut_off_after(path: Path, header: Sequence[Sequence[str]], num_rows: int) -> None:
    """Take away all that stands behind the first rows of a file."""
    with path.open("rb+") as file:
        for _ in range(len(header) + num_rows):
            file.readline()
        file.truncate(file.tell())


def iter_rows(
    path: Path, header: Sequence[Sequence[str]], num_rows: int, num_coords: int
) -> Iterator[Float64[np.ndarray, "frames num_keypoints coords"]]:
    """Yield the numbers in the first rows of a file, piece by piece; NaN where a cell is empty.

    Raises:
        DataError: the file ends before, or is damaged.
    """
    try:
        yield from _rows(path, header, num_rows, num_coords)
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path}, which holds the predictions so far, is damaged ({first_line(error)}). Delete "
            f"{path.parent} to predict the recording from its start."
        ) from error


def _rows(
    path: Path, header: Sequence[Sequence[str]], num_rows: int, num_coords: int
) -> Iterator[Float64[np.ndarray, "frames num_keypoints coords"]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        for _ in header:
            next(rows)
        for start in range(0, num_rows, _ROWS_AT_ONCE):
            wanted = min(_ROWS_AT_ONCE, num_rows - start)
            cells = [row[1:] for _, row in zip(range(wanted), rows, strict=False)]
            if len(cells) < wanted:
                raise ValueError(f"it has {start + len(cells)} rows, expected {num_rows}")
            numbers = np.array([[float(cell or math.nan) for cell in row] for row in cells])
            yield numbers.reshape(wanted, -1, num_coords)


def _encoded(header: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(header)
    return text.getvalue().encode("utf-8")
