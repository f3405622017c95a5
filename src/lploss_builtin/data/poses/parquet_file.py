"""Keypoint files as Parquet, as pandas writes a table with three levels of columns."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Shaped

from lploss.errors import DataError, first_line
from lploss.reading import reading
from lploss_builtin.data.poses.columns import (
    LEVELS,
    frame_numbers,
    image_paths,
    parse_columns,
    several_animals,
)
from lploss_builtin.data.poses.source import Block, KeypointSource
from lploss_builtin.data.poses.table import KeypointHeader
from lploss_builtin.dependencies import require

_MOST_FRAMES = 2**31
_LONGEST_NAME = 10_000


class ParquetSource(KeypointSource):
    """A Parquet file whose columns are named by scorer, bodyparts and coords.

    Raises:
        DataError: it is no Parquet file, or one of other columns, or holds no frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pyarrow = require("pyarrow", "score", "to read Parquet files")
        self._parquet = require("pyarrow.parquet", "score", "to read Parquet files")
        with self._open() as file:
            schema = file.schema_arrow
            num_frames = file.metadata.num_rows
            index = _index_columns(path, schema)
            self._index = [name for name in index if isinstance(name, str)]
            ranges = [found for found in index if isinstance(found, dict)]
            self._start, self._step = _range(path, ranges[0]) if ranges else (0, 1)
            names = [name for name in schema.names if name not in self._index]
            self.columns = parse_columns(path, [_levels(path, name) for name in names])
            self._names = [names[position] for position in self.columns.used]
            for position, name in zip(self.columns.used, self._names, strict=True):
                self._check_type(schema.field(name).type, position)
            if num_frames == 0:
                raise DataError(f"{path}: there are no frames")
            first = next(file.iter_batches(batch_size=1, columns=self._index or None))
        self.header = KeypointHeader(
            path,
            self.columns.keypoint_names,
            self.columns.confidences is not None,
            not self._index or self._numbers_of_frames(first, 0) is not None,
        )

    def _blocks(self, max_frames: int) -> Iterator[Block]:
        start = 0
        with self._open() as file:
            for batch in file.iter_batches(max_frames, columns=[*self._index, *self._names]):
                yield (
                    self._frames(batch, start),
                    *self.columns.split(
                        np.stack(
                            [
                                batch.column(name)
                                .cast(self._pyarrow.float64())
                                .to_numpy(zero_copy_only=False)
                                for name in self._names
                            ],
                            axis=1,
                        )
                    ),
                )
                start += batch.num_rows

    def _open(self) -> Any:
        with reading(self.path, "as Parquet"):
            return self._parquet.ParquetFile(self.path)

    def _check_type(self, kind: Any, position: int) -> None:
        types = self._pyarrow.types
        if not (types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind)):
            label = self.columns.label(position)
            raise DataError(f"{self.path}, {label}: expected numbers, got a column of {kind}")

    def _numbers_of_frames(self, batch: Any, start: int) -> Shaped[np.ndarray, "frames"] | None:
        if len(self._index) != 1:
            return None
        return frame_numbers(
            batch.column(self._index[0]).to_pylist(),
            lambda row: f"{self.path}, row {start + row + 1}",
        )

    def _frames(self, batch: Any, start: int) -> Shaped[np.ndarray, "frames"]:
        if not self._index:
            return np.arange(start, start + batch.num_rows) * self._step + self._start
        if not self.header.frames_are_numbers:
            return image_paths([batch.column(name).to_pylist() for name in self._index])
        frames = self._numbers_of_frames(batch, start)
        if frames is None:
            raise DataError(
                f"{self.path}, rows {start + 1} to {start + batch.num_rows}: the index must hold "
                "the numbers of frames, as it does in the first row"
            )
        return frames


def _index_columns(path: Path, schema: Any) -> list[Any]:
    """Return how pandas stored the index: names of columns, or ranges."""
    try:
        return list((schema.pandas_metadata or {})["index_columns"])
    except KeyError:
        return []
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: its pandas metadata cannot be read: {first_line(error)}. The file may be "
            "damaged."
        ) from error


def _range(path: Path, index: dict[str, Any]) -> tuple[int, int]:
    start, step = index.get("start"), index.get("step")
    for value in (start, step):
        if not isinstance(value, int) or abs(value) > _MOST_FRAMES:
            raise DataError(
                f"{path}: its index is a range with start {start!r} and step {step!r}, expected "
                f"whole numbers up to {_MOST_FRAMES}. The file may be damaged."
            )
    return cast(int, start), cast(int, step)


def _levels(path: Path, name: str) -> tuple[str, str, str]:
    try:
        # Parsing a text takes a hundred times its length in memory.
        levels = ast.literal_eval(name) if len(name) < _LONGEST_NAME else name[:100]
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        levels = name
    if isinstance(levels, tuple) and len(levels) == len(LEVELS) + 1:
        raise several_animals(path)
    if not isinstance(levels, tuple) or len(levels) != len(LEVELS):
        raise DataError(
            f"{path}: expected columns of three levels (scorer, bodyparts, coords) as pandas "
            f"writes them, got the column {name[:100]!r}"
        )
    scorer, bodypart, coord = map(str, levels)
    return scorer, bodypart, coord
