"""Keypoint files as Parquet, as pandas writes a table with three levels of columns."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Shaped

from lploss.errors import DataError, first_line
from lploss.reading import reading
from lploss_builtin.data.poses.columns import (
    ALL_LEVELS,
    LEVELS,
    frame_numbers,
    image_paths,
    not_a_number,
    parse_columns,
)
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.dependencies import require

_MOST_FRAMES = 2**31
_LONGEST_NAME = 10_000


def read_parquet(path: Path, max_frames: int | None = None) -> PoseTable:
    """Read a Parquet file whose columns are named by scorer, bodyparts and coords.

    Args:
        path: the file.
        max_frames: how many frames to read; ``None`` for all.

    Raises:
        DataError: it is no Parquet file, or one of other columns, or holds no frames.
    """
    pyarrow = require("pyarrow", "score", "to read Parquet files")
    parquet = require("pyarrow.parquet", "score", "to read Parquet files")
    with reading(path, "as Parquet"):
        opened = parquet.ParquetFile(path)
    with opened as file:
        schema = file.schema_arrow
        index = _index_columns(path, schema)
        index_names = [name for name in index if isinstance(name, str)]
        ranges = [found for found in index if isinstance(found, dict)]
        start, step = _range(path, ranges[0]) if ranges else (0, 1)
        names = [name for name in schema.names if name not in index_names]
        columns = parse_columns(path, _levels(path, names))
        used = [names[position] for position in columns.used]
        for position, name in zip(columns.used, used, strict=True):
            kind, types = schema.field(name).type, pyarrow.types
            if not (types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind)):
                label = columns.label(position)
                raise DataError(f"{path}, {label}: expected numbers, got a column of {kind}")
        if file.metadata.num_rows == 0:
            raise DataError(f"{path}: there are no frames")
        if max_frames is None:
            table = file.read(columns=[*index_names, *used])
        else:
            table = next(file.iter_batches(max_frames, columns=[*index_names, *used]))
    numbers = np.empty((table.num_rows, len(used)))
    for place, name in enumerate(used):
        column = table.column(name).cast(pyarrow.float64())
        numbers[:, place] = column.to_numpy(**_COPY if max_frames else {})
    if index_names:
        frames = _frames(path, [table.column(name).to_pylist() for name in index_names])
    else:
        frames = np.arange(table.num_rows) * step + start
    return columns.table(path, frames, numbers)


# A batch is copied only on demand, a table always.
_COPY = {"zero_copy_only": False}


def _frames(path: Path, index: list[list[Any]]) -> Shaped[np.ndarray, "frames"]:
    def numbers(entries: list[Any]) -> Shaped[np.ndarray, "frames"] | None:
        return frame_numbers(entries, lambda row: f"{path}, row {row + 1}")

    if len(index) != 1 or numbers(index[0][:1]) is None:
        return image_paths(index)
    frames = numbers(index[0])
    if frames is None:
        raise not_a_number(path, 0, len(index[0]))
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


def _levels(path: Path, names: list[str]) -> list[tuple[str, ...]]:
    """Return the levels of each column, of which all columns have the same number."""
    found: list[tuple[str, ...]] = []
    for name in names:
        try:
            # Parsing a text takes a hundred times its length in memory.
            levels = ast.literal_eval(name) if len(name) < _LONGEST_NAME else name[:100]
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            levels = name
        allowed = {len(found[0])} if found else {len(LEVELS), len(ALL_LEVELS)}
        if not isinstance(levels, tuple) or len(levels) not in allowed:
            raise DataError(
                f"{path}: expected columns of three levels (scorer, bodyparts, coords) as pandas "
                f"writes them, got the column {name[:100]!r}"
            )
        found.append(tuple(map(str, levels)))
    return found
