"""Keypoint files as HDF5: tables of DeepLabCut, and analysis files of SLEAP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from lploss.errors import DataError
from lploss_builtin.data.dependencies import require
from lploss_builtin.data.keypoint_columns import (
    LEVELS,
    parse_columns,
    several_animals,
)
from lploss_builtin.data.keypoint_frames import frame_numbers, image_paths
from lploss_builtin.data.keypoint_source import Block, KeypointSource
from lploss_builtin.data.keypoint_table import KeypointHeader

_PURPOSE = "to read HDF5 files"


def open_hdf(path: Path) -> KeypointSource:
    """Return the reader for an HDF5 file, by what the file holds.

    Raises:
        DataError: it is no HDF5 file, or holds neither a table nor tracks.
    """
    tables = require("tables", "score", _PURPOSE)
    try:
        file = tables.open_file(str(path), "r")
    except (OSError, tables.HDF5ExtError) as error:
        raise DataError(f"{path} cannot be read as HDF5. It may have been cut off.") from error
    with file:
        is_sleap = "/tracks" in file and "/node_names" in file
    return SleapAnalysisSource(path) if is_sleap else TableSource(path)


class TableSource(KeypointSource):
    """An HDF5 file that pandas has written, with three levels of columns.

    Raises:
        DataError: it holds no table or several, one of other columns, or no frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pandas = require("pandas", "score", _PURPOSE)
        with self._open() as store:
            keys = store.keys()
            if len(keys) != 1:
                found = f"{len(keys)}: {', '.join(keys)}" if keys else "none"
                raise DataError(
                    f"{path}: expected one table as pandas writes it, or the tracks of a SLEAP "
                    f"analysis file; found {found}"
                )
            self._key = keys[0]
            first = store.select(self._key, start=0, stop=1)
        levels = first.columns
        if levels.nlevels == len(LEVELS) + 1:
            raise several_animals(path)
        if levels.nlevels != len(LEVELS):
            raise DataError(
                f"{path}: expected columns of three levels (scorer, bodyparts, coords), "
                f"got {levels.nlevels}"
            )
        self.columns = parse_columns(path, [tuple(map(str, column)) for column in levels])
        if len(first) == 0:
            raise DataError(f"{path}: there are no frames")
        self.header = KeypointHeader(
            path,
            self.columns.keypoint_names,
            self.columns.confidences is not None,
            first.index.nlevels == 1 and self._frame_numbers(first.index, 0) is not None,
        )

    def blocks(self, max_frames: int) -> Iterator[Block]:
        """Yield the rows; see `KeypointSource.blocks`."""
        start = 0
        with self._open() as store:
            while len(rows := store.select(self._key, start=start, stop=start + max_frames)):
                yield self._frames(rows.index, start), *self.columns.split(self._numbers(rows))
                start += len(rows)

    def _open(self) -> Any:
        return self._pandas.HDFStore(self.path, mode="r")

    def _frames(self, index: Any, start: int) -> Shaped[np.ndarray, "frames"]:
        if not self.header.frames_are_numbers:
            return image_paths([index.get_level_values(n).tolist() for n in range(index.nlevels)])
        frames = self._frame_numbers(index, start)
        if frames is None:
            raise DataError(
                f"{self.path}, rows {start + 1} to {start + len(index)}: the index must hold the "
                "numbers of frames, as it does in the first row"
            )
        return frames

    def _frame_numbers(self, index: Any, start: int) -> Int64[np.ndarray, "frames"] | None:
        return frame_numbers(index.tolist(), lambda row: f"{self.path}, row {start + row + 1}")

    def _numbers(self, rows: Any) -> Float64[np.ndarray, "frames columns"]:
        columns = []
        for position in self.columns.used:
            column = rows.iloc[:, position]
            try:
                columns.append(column.to_numpy(dtype="float64"))
            except (ValueError, TypeError):
                bad = self._pandas.to_numeric(column, errors="coerce").isna() & column.notna()
                raise DataError(
                    f"{self.path}, frame {rows.index[bad][0]}, {self.columns.label(position)}: "
                    f"expected a number, got {column[bad].iloc[0]!r}"
                ) from None
        return np.stack(columns, axis=1)


class SleapAnalysisSource(KeypointSource):
    """An analysis file of SLEAP: ``tracks`` of axes ``tracks, 2, nodes, frames``.

    Raises:
        DataError: it holds several tracks, other axes, or no frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            names = tuple(np.asarray(file.root.node_names).astype(str).tolist())
            shape = file.root.tracks.shape
            has_confidences = "/point_scores" in file
        if len(shape) != 4 or shape[1:3] != (2, len(names)):
            raise DataError(
                f"{path}: expected tracks of axes (tracks, 2, nodes, frames) with {len(names)} "
                f"nodes, as SLEAP writes them, got the shape {tuple(map(int, shape))}"
            )
        if shape[0] != 1:
            raise several_tracks(path, int(shape[0]))
        if shape[3] == 0:
            raise DataError(f"{path}: there are no frames")
        self.header = KeypointHeader(path, names, has_confidences, True)

    def blocks(self, max_frames: int) -> Iterator[Block]:
        """Yield the rows; see `KeypointSource.blocks`."""
        with self._open() as file:
            num_frames = file.root.tracks.shape[3]
            for start in range(0, num_frames, max_frames):
                stop = min(start + max_frames, num_frames)
                keypoints = np.asarray(file.root.tracks[0, :, :, start:stop], dtype=np.float64)
                confidences = None
                if self.header.has_confidences:
                    scores = file.root.point_scores[0, :, start:stop]
                    confidences = np.asarray(scores, dtype=np.float64).T.copy()
                yield (
                    np.arange(start, stop),
                    keypoints.transpose(2, 1, 0).reshape(stop - start, -1),
                    confidences,
                )

    def _open(self) -> Any:
        return require("tables", "score", _PURPOSE).open_file(str(self.path), "r")


def several_tracks(path: Path, num_tracks: int) -> DataError:
    """Return the error for a SLEAP file that holds no single animal."""
    return DataError(
        f"{path} holds {num_tracks} tracks; losses look at one animal. Export each track to a "
        "file of its own."
    )
