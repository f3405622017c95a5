"""Pose files as CSV with three header rows, or four where individuals have names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from lploss.errors import DataError
from lploss_builtin.data.poses.columns import (
    ALL_LEVELS,
    LEVELS,
    frame_numbers,
    image_paths,
    parse_columns,
)
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.dependencies import require

_MISSING = ("", "NaN", "nan", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "<NA>")

_LINES_AT_ONCE = 65536

#: A line of the file as text, and its number as a text editor counts.
_Line = tuple[int, str]


def read_csv(path: Path, max_frames: int | None = None) -> PoseTable:
    """Read a CSV file of DeepLabCut or Lightning Pose.

    Args:
        path: the file.
        max_frames: how many frames to read; ``None`` for all.

    Raises:
        DataError: the file does not start with the header rows and a frame, or is malformed.
    """
    return _CsvFile(path).read(max_frames)


class _CsvFile:
    """A file while it is read: `_lines` yields what is not blank."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, max_frames: int | None) -> PoseTable:
        with self.path.open("rb") as file:
            lines = self._lines(file)
            header = list(islice(lines, len(LEVELS)))
            if not header:
                raise DataError(f"{self.path} is empty. {_EXPECTED}")
            rows = [[cell.strip() for cell in self._cells(line)] for line in header]
            levels: tuple[str, ...] = LEVELS
            if len(rows) > 1 and rows[1][0] == ALL_LEVELS[1]:
                levels = ALL_LEVELS
                header += islice(lines, 1)
                rows += [[cell.strip() for cell in self._cells(line)] for line in header[3:]]
            self._check_levels(header, rows, levels)
            self.num_columns, self.num_index_columns = len(rows[0]), _num_index_columns(rows)
            self.columns = parse_columns(
                self.path,
                list(zip(*[row[self.num_index_columns :] for row in rows], strict=True)),
                first=self.num_index_columns + 1,
            )
            rows_left = islice(lines, max_frames)
            frames: list[Shaped[np.ndarray, "frames"]] = []
            numbers: list[Float64[np.ndarray, "frames columns"]] = []
            # Lines take several times the memory of their numbers.
            while chunk := list(islice(rows_left, _LINES_AT_ONCE)):
                for line in chunk:
                    self._check_width(line)
                numbers.append(self._numbers(chunk))
                frames.append(self._frames(chunk, frames[0] if frames else None))
        if not frames:
            raise DataError(f"{self.path}: there are no frames after the {len(levels)} header rows")
        return self.columns.table(self.path, np.concatenate(frames), np.concatenate(numbers))

    def _lines(self, file: io.BufferedReader) -> Iterator[_Line]:
        """Yield the lines that hold something."""
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{self.path}, line {number}: the file is no UTF-8 text (byte "
                    f"{error.start + 1} of the line is 0x{raw[error.start]:02x}). Save it as "
                    "UTF-8."
                ) from error
            text = text.strip("\r\n")
            if "\r" in text:
                raise DataError(
                    f"{self.path}, line {number}: there is a carriage return within the line. Save "
                    "the file with the line ends of Unix or Windows."
                )
            if text:
                yield number, text

    def _cells(self, line: _Line) -> list[str]:
        number, text = line
        try:
            return next(csv.reader([text]))
        except csv.Error as error:
            raise DataError(
                f"{self.path}, line {number}: the line cannot be split into cells: {error}. The "
                "file may be damaged here."
            ) from error

    def _check_levels(
        self, header: list[_Line], rows: list[list[str]], levels: Sequence[str]
    ) -> None:
        for (number, _), row, level in zip(header, rows, levels, strict=False):
            for separator, called in ((";", "semicolons"), ("\t", "tabs")):
                if row[0].startswith(level + separator):
                    raise DataError(
                        f"{self.path}, line {number}: the columns are separated by {called}, "
                        "expected commas. Save the file with commas, and with a decimal point."
                    )
            if row[0] != level:
                raise DataError(
                    f"{self.path}, line {number}: expected the header row {level!r}, got a row "
                    f"that starts with {row[0]!r}. {_EXPECTED}"
                )
        if len(rows) < len(levels):
            raise DataError(
                f"{self.path}, line {header[-1][0]}: the file ends after this line. {_EXPECTED}"
            )
        for (number, _), row in zip(header, rows, strict=True):
            if len(row) != len(rows[0]):
                raise self._ragged(number, len(row), len(rows[0]))

    def _check_width(self, line: _Line) -> None:
        number, text = line
        width = text.count(",") + 1
        if width != self.num_columns and '"' in text:
            width = len(self._cells(line))
        if width != self.num_columns:
            raise self._ragged(number, width, self.num_columns)

    def _ragged(self, number: int, came: int, expected: int) -> DataError:
        return DataError(
            f"{self.path}, line {number}: expected {expected} columns as in line 1, got {came}. "
            "The file may have been cut off here, or uses a decimal comma."
        )

    def _index(self, chunk: list[_Line]) -> list[list[str]]:
        """Return, for each index column, the entries of all frames."""
        num = self.num_index_columns
        starts = [
            self._cells(line)[:num] if '"' in line[1] else line[1].split(",", num)[:num]
            for line in chunk
        ]
        return [list(level) for level in zip(*starts, strict=True)]

    def _frames(
        self, chunk: list[_Line], first: Shaped[np.ndarray, "first_frames"] | None
    ) -> Shaped[np.ndarray, "frames"]:
        """Return the frames of some rows, of the kind of the first row of the file."""
        index = self._index(chunk)
        if first is None:
            start = [level[:1] for level in index]
            are_numbers = len(index) == 1 and self._frame_numbers(chunk, start[0]) is not None
        else:
            are_numbers = first.dtype.kind == "i"
        if not are_numbers:
            return image_paths(index)
        frames = self._frame_numbers(chunk, index[0])
        if frames is None:
            number, text = next(
                (line[0], text)
                for line, text in zip(chunk, index[0], strict=True)
                if self._frame_numbers([line], [text]) is None
            )
            raise DataError(
                f"{self.path}, line {number}, column 1: expected the number of a frame as in the "
                f"first one, got {text!r}"
            )
        return frames

    def _frame_numbers(
        self, chunk: list[_Line], texts: list[str]
    ) -> Int64[np.ndarray, "frames"] | None:
        return frame_numbers(texts, lambda row: f"{self.path}, line {chunk[row][0]}, column 1")

    def _numbers(self, chunk: list[_Line]) -> Float64[np.ndarray, "frames columns"]:
        pandas = require("pandas", "score", "to read keypoint files")
        positions = [self.num_index_columns + position for position in self.columns.used]
        try:
            frame = pandas.read_csv(
                io.StringIO("\n".join(text for _, text in chunk)),
                header=None,
                names=range(self.num_columns),
                usecols=positions,
                index_col=False,
                dtype="float64",
                na_values=list(_MISSING),
                keep_default_na=False,
                skip_blank_lines=False,
            )
        except ValueError as error:
            raise self._no_number(chunk, error) from error
        numbers: Float64[np.ndarray, "frames columns"] = frame[positions].to_numpy()
        return numbers

    def _no_number(self, chunk: list[_Line], error: ValueError) -> DataError:
        for line in chunk:
            cells = self._cells(line)
            for position in self.columns.used:
                cell = cells[self.num_index_columns + position]
                if not _is_number(cell):
                    return DataError(
                        f"{self.path}, line {line[0]}, {self.columns.label(position)}: expected a "
                        f"number, or nothing where it is missing, got {cell!r}"
                    )
        return DataError(f"{self.path}, lines {chunk[0][0]} to {chunk[-1][0]}: {error}")


_EXPECTED = (
    "Keypoint files start with three header rows: scorer, bodyparts, coords; then follows one row "
    "for each frame."
)


def _num_index_columns(rows: list[list[str]]) -> int:
    """Older label files of DeepLabCut have three index columns, of which two have no header."""
    num = 1
    while num < len(rows[0]) and not any(row[num] for row in rows):
        num += 1
    return num


def _is_number(cell: str) -> bool:
    if cell.strip() in _MISSING:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
