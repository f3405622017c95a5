"""Files of predictions, written row by row, and what an interrupted run left in them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64

from lploss.errors import DataError, first_line
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.poses.columns import header_rows, write_rows
from lploss_builtin.dependencies import require
from lploss_builtin.output import write_text
from lploss_builtin.predicting.cameras import PointsInSpace
from lploss_builtin.predicting.frame_predictions import FramePredictions

_COORDS = ("x", "y", "likelihood")
_COORDS_3D = ("x", "y", "z", "error")


class PredictionFiles:
    """The open files of a recording: one for each view, and one of points in space.

    The layout is that of DeepLabCut and Lightning Pose: the rows scorer, bodyparts and coords,
    then a row for each frame with the path of its image, or its number. In space a frame is
    called after its image in the first view; ``error`` is the mean reprojection error, px.

    Args:
        folder: where the files go.
        files: name of the file of each view.
        file_3d: name of that of the points in space, where cameras are known.
        scorer: what stands in the first row.
        keypoint_names: names of the keypoints.
        append: whether the files are there, with their headers, and go on.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        file_3d: str | None,
        scorer: str,
        keypoint_names: Sequence[str],
        *,
        append: bool = False,
    ) -> None:
        headers = prediction_headers(len(files), scorer, keypoint_names)
        self._tables = []
        for name, header in zip((*files, file_3d), headers, strict=True):
            if name is not None:
                path = folder / name
                file = path.open("a" if append else "w", newline="", encoding="utf-8")
                if not append:
                    csv.writer(file, lineterminator="\n").writerows(header)
                self._tables.append(file)

    def close(self) -> None:
        """Finish the files."""
        for file in self._tables:
            file.close()

    def write(
        self,
        names: Sequence[Sequence[str]],
        found: FramePredictions,
        in_space: PointsInSpace | None,
    ) -> None:
        """Write the rows of some frames; they stay when this process is killed.

        Args:
            names: for each view what the frames are called there.
            found: where the keypoints are.
            in_space: where they are in space.
        """
        tables = list(torch.cat([found.keypoints, found.confidences[..., None]], dim=-1).unbind(1))
        if in_space is not None:
            tables.append(torch.cat([in_space.points, in_space.errors[..., None]], dim=-1))
        for file, frames, table in zip(self._tables, (*names, names[0]), tables, strict=False):
            write_rows(file, frames, table.numpy())
            file.flush()


def prediction_headers(
    num_views: int, scorer: str, keypoint_names: Sequence[str]
) -> list[list[list[str]]]:
    """Return the three header rows of the file of each view, and last of that in space."""
    return [header_rows(scorer, keypoint_names, _COORDS)] * num_views + [
        header_rows(scorer, keypoint_names, _COORDS_3D)
    ]


def num_complete_rows(
    path: Path, header: Sequence[Sequence[str]], row_name: Callable[[int], str] = str
) -> int:
    r"""Return how many rows a file of predictions of consecutive frames holds, from frame 0 on.

    The first row that is cut off, or of another frame, ends them. A file with another header has
    none.

    Args:
        path: the file.
        header: its header rows.
        row_name: returns what a frame is called in its row.

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
                start = _encoded([[row_name(number)]])[:-1] + b","
                is_whole = line.endswith(b"\n") and line.startswith(start)
                if not is_whole or line.count(b",", len(start)) != num_commas - 1:
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


def read_rows(
    path: Path, header: Sequence[Sequence[str]], num_rows: int, num_coords: int
) -> Float64[np.ndarray, "frames num_keypoints coords"]:
    """Return the numbers in the first rows of a file; NaN where a cell is empty.

    Raises:
        DataError: the file ends before, or is damaged.
    """
    pandas = require("pandas", "train", "to read CSV")
    try:
        table = pandas.read_csv(
            path,
            header=None,
            skiprows=len(header),
            nrows=num_rows,
            usecols=range(1, len(header[0])),
            dtype=np.float64,
        )
        if len(table) < num_rows:
            raise ValueError(f"it has {len(table)} rows, expected {num_rows}")
    except ValueError as error:
        raise DataError(
            f"{path}, which holds the predictions so far, is damaged ({first_line(error)}). Delete "
            f"{path.parent} to predict the recording from its start."
        ) from error
    numbers: Float64[np.ndarray, "frames num_keypoints coords"] = table.to_numpy()
    return numbers.reshape(num_rows, -1, num_coords)


def _encoded(header: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(header)
    return text.getvalue().encode("utf-8")


_FILE = "unread.jsonl"


class UnreadFrames:
    """The frames that could not be read, kept in a file beside what was predicted.

    Args:
        folder: of what is being predicted.
        sources: the video, or the images, of each view.
    """

    def __init__(self, folder: Path, sources: Sequence[FrameSource]) -> None:
        self._path, self._sources = folder / _FILE, sources
        #: Number of the view, of the first frame, and after the last.
        self._ranges: list[tuple[int, int, int]] = []
        if self._path.is_file():
            try:
                lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
                self._ranges = [self._range(own) for own in lines if own.endswith("\n")]
            except (OSError, ValueError, RecursionError) as error:
                raise DataError(
                    f"{self._path}, which lists frames that could not be read, is damaged "
                    f"({first_line(error)}). Delete {folder} to predict the recording from its "
                    "start."
                ) from error

    def _range(self, line: str) -> tuple[int, int, int]:
        content = json.loads(line)
        if isinstance(content, list) and [type(number) for number in content] == [int] * 3:
            view, first, stop = content
            if 0 <= view < len(self._sources) and 0 <= first < stop:
                return view, first, stop
        raise ValueError(f"{line.strip()[:100]!r} is not a view, a first and a last frame")

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def keep_before(self, stop: int) -> None:
        """Forget the frames from one on: they are read once more."""
        self._ranges = [(v, first, min(last, stop)) for v, first, last in self._ranges]
        self._ranges = [own for own in self._ranges if own[1] < own[2]]
        if self._path.is_file():
            write_text(self._path, _lines(self._ranges))

    def add(self, start: int, is_read: Bool[np.ndarray, "frames views"]) -> None:
        """Add those of some consecutive frames that could not be read."""
        new = []
        for view, own in enumerate(is_read.T):
            edges = np.flatnonzero(np.diff(np.concatenate([[True], own, [True]]).astype(np.int8)))
            new += [(view, start + int(a), start + int(b)) for a, b in edges.reshape(-1, 2)]
        self._ranges += new
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_lines(new))

    def lines(self) -> tuple[str, ...]:
        """Return in words what could not be read, a line for each image, or stretch of frames."""
        found = []
        lost = [(frame, view) for view, *own in self._ranges for frame in range(*own)]
        for frame, view in sorted(lost):
            if (source := self._sources[view]).names is not None:
                found.append(str(FrameReader(source, (1, 1)).error(frame, frame)))
        for view, source in enumerate(self._sources):
            if source.names is not None:
                continue
            for first, stop in _joined([own[1:] for own in self._ranges if own[0] == view]):
                if first < source.num_frames:
                    end = min(stop, source.num_frames)
                    found.append(f"{source.path}: {_frames(first, end)} cannot be decoded")
                if stop > source.num_frames:
                    begin = max(first, source.num_frames)
                    found.append(
                        f"{source.path}: it ends before {_frames(begin, stop)}, which other views "
                        "have"
                    )
        return tuple(found)


def _lines(ranges: Sequence[tuple[int, int, int]]) -> str:
    return "".join(f"{json.dumps(own)}\n" for own in ranges)


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, stop in ranges:
        if joined and joined[-1][1] == first:
            first = joined.pop()[0]
        joined.append((first, stop))
    return joined


def _frames(first: int, stop: int) -> str:
    return f"frame {first}" if stop - first == 1 else f"frames {first} to {stop - 1}"
