"""Keypoint files as HDF5: tables of DeepLabCut, and analysis files of SLEAP.

pandas and PyTables describe a table partly by Python pickles, and run whatever code those contain
when they read a file. h5py, which is used here, returns pickles as plain bytes. The only ones that
are needed, the column names of tables in the format ``table``, are decoded by `_unpickled`, which
can build numbers, text, tuples and lists, and nothing else. Columns of pickled objects are refused.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from lploss.errors import DataError
from lploss_builtin.data.poses.columns import (
    ALL_LEVELS,
    LEVELS,
    PoseColumns,
    frame_numbers,
    image_paths,
    not_a_number,
    parse_columns,
)
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.dependencies import require

_NEITHER = "expected one table as pandas writes it, or the tracks of a SLEAP analysis file"
_PICKLED = (
    "the values are pickled Python objects, which are not read because unpickling can run code. "
    "Convert the column to numbers and write the file again, or save it as CSV."
)
_OTHER_FORMATS = {
    "instances": "is a SLEAP project: let its name end in .slp",
    "_NCProperties": "is a netCDF file, which is not supported. Save the predictions as CSV.",
}
# Deflate compresses by a factor of 1032 at most; only a damaged file claims to hold more.
_COMPRESSION_LIMIT = 1100


def read_hdf(path: Path, max_frames: int | None = None) -> PoseTable:
    """Read an HDF5 file: a table, or the tracks of SLEAP, by what the file holds.

    Args:
        path: the file.
        max_frames: how many frames to read; ``None`` for all.

    Raises:
        DataError: it is no HDF5 file, holds neither a table nor tracks, or is malformed.
    """
    with _open(path) as file:
        if "tracks" in file and "node_names" in file:
            return _read_tracks(path, file, max_frames)
        for mark, message in _OTHER_FORMATS.items():
            if mark in file or mark in file.attrs:
                raise DataError(f"{path} {message}")
        return _read_table(path, file, max_frames)


def _open(path: Path) -> Any:
    h5py = require("h5py", "score", "to read HDF5 files")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno is not None:  # the system refuses the file, whatever its content
            raise
        raise DataError(f"{path} cannot be read as HDF5. It may have been cut off.") from error


def _read_table(path: Path, file: Any, max_frames: int | None) -> PoseTable:
    """Read a table that pandas has written, with three or four levels of columns."""
    table = _table(path, file)
    num_levels = len(table.columns[0]) if table.columns else 0
    if num_levels not in (len(LEVELS), len(ALL_LEVELS)):
        raise DataError(
            f"{path}: expected columns of three levels (scorer, bodyparts, coords), "
            f"got {num_levels}"
        )
    columns = parse_columns(path, table.columns)
    if table.num_frames == 0:
        raise DataError(f"{path}: there are no frames")
    stop = min(max_frames or table.num_frames, table.num_frames)
    index = table.entries(0, stop)

    def frame_numbers_of(entries: list[Any]) -> Int64[np.ndarray, "frames"] | None:
        return frame_numbers(entries, lambda row: f"{path}, row {row + 1}")

    frames: Shaped[np.ndarray, "frames"] | None
    if len(index) == 1 and frame_numbers_of(index[0][:1]) is not None:
        frames = frame_numbers_of(index[0])
        if frames is None:
            raise not_a_number(path, 0, stop)
    else:
        frames = image_paths(index)
    return columns.table(path, frames, _numbers(path, table, columns, stop, index))


def _numbers(
    path: Path, table: _Table, columns: PoseColumns, stop: int, index: Sequence[list[Any]]
) -> Float64[np.ndarray, "frames columns"]:
    places = {position: place for place, position in enumerate(columns.used)}
    numbers = np.full((stop, len(places)), np.nan)
    for block in table.blocks:
        chosen = [i for i, position in enumerate(block.positions) if position in places]
        if not chosen:
            continue
        if block.unusable:
            label = columns.label(block.positions[chosen[0]])
            raise DataError(f"{path}, {label}: {block.unusable}")
        rows = block.rows(0, stop)[:, chosen]
        for i, values in zip(chosen, rows.T, strict=True):
            position = block.positions[i]
            try:
                numbers[:, places[position]] = values
            except ValueError as error:
                row = next(row for row, cell in enumerate(values) if not _is_number(cell))
                raise DataError(
                    f"{path}, frame {index[-1][row]}, {columns.label(position)}: "
                    f"expected a number, got {_text(values[row])!r}"
                ) from error
    return numbers


class _Block(NamedTuple):
    """Some columns of a table, which have the same type.

    Attributes:
        dataset: holds a row per frame.
        field: name of their field, if the dataset holds other columns as well.
        positions: position of each of them among the columns of the table.
        unusable: why the values cannot be read as numbers; empty if they can.
        is_transposed: whether the dataset has a row per column of the table instead.
    """

    dataset: Any
    field: str | None
    positions: tuple[int, ...]
    unusable: str
    is_transposed: bool = False

    def rows(self, start: int, stop: int) -> Shaped[np.ndarray, "frames columns"]:
        if self.is_transposed:
            return np.asarray(self.dataset[:, start:stop]).T
        rows = self.dataset[start:stop]
        return np.asarray(rows if self.field is None else rows[self.field]).reshape(len(rows), -1)


class _Table(NamedTuple):
    """A table of pandas in a file.

    Attributes:
        columns: the names of each column, one per level.
        num_frames: number of rows.
        entries: returns the entries of the index from a start to a stop, one list per level.
        blocks: the values.
    """

    columns: list[tuple[str, ...]]
    num_frames: int
    entries: Callable[[int, int], list[list[Any]]]
    blocks: list[_Block]


def _table(path: Path, file: Any) -> _Table:
    groups: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if "pandas_type" in item.attrs:
            groups[f"/{name}"] = item

    file.visititems(visit)
    if len(groups) != 1:
        found = f"{len(groups)}: {', '.join(groups)}" if groups else "none"
        raise DataError(f"{path}: {_NEITHER}; found {found}")
    [(key, group)] = groups.items()
    kind = _text(_attribute(path, group, "pandas_type"))
    if kind == "frame":
        return _fixed_table(path, group)
    if kind == "frame_table":
        return _appendable_table(path, group)
    raise DataError(f"{path}: {_NEITHER}; {key} holds a {kind!r} of pandas")


def _fixed_table(path: Path, group: Any) -> _Table:
    """Return a table in the format ``fixed``: each block has a dataset for names and values."""
    columns = _column_names(path, group, "axis0")
    index, num_frames = _axis(path, group, "axis1")
    positions = {column: position for position, column in enumerate(columns)}
    blocks = []
    for number in range(int(_attribute(path, group, "nblocks"))):
        chosen = _column_names(path, group, f"block{number}_items")
        values = _dataset(path, group, f"block{number}_values")
        is_transposed = not _attribute(path, values, "transposed", False)
        unusable = _why_unusable(values.dtype, _text(_attribute(path, values, "value_type", "")))
        shape = values.shape[::-1] if is_transposed else values.shape
        if num_frames and not unusable and shape != (num_frames, len(chosen)):
            raise DataError(
                f"{path}: a block of {len(chosen)} columns and {num_frames} rows has values of "
                f"the shape {shape}. The file may be damaged."
            )
        at = tuple(positions[column] for column in chosen)
        blocks.append(_Block(values, None, at, unusable, is_transposed))
    return _Table(columns, num_frames, index, blocks)


def _appendable_table(path: Path, group: Any) -> _Table:
    """Return a table in the format ``table``: one dataset, with a field per block."""
    rows = _dataset(path, group, "table")
    columns = [
        column
        for _, axis in _unpickled(path, _attribute(path, group, "non_index_axes"))
        for column in _texts(axis)
    ]
    positions = {column: position for position, column in enumerate(columns)}
    blocks = []
    for field in rows.dtype.names or ():
        if field == "index":
            continue
        stored = _text(_attribute(path, rows, f"{field}_dtype", ""))
        at = [
            positions[c] for c in _texts(_unpickled(path, _attribute(path, rows, f"{field}_kind")))
        ]
        unusable = _why_unusable(rows.dtype[field].base, stored)
        blocks.append(_Block(rows, field, tuple(at), unusable))
    kind = _text(_attribute(path, rows, "index_kind"))

    def index(start: int, stop: int) -> list[list[Any]]:
        return [_entries(path, rows[start:stop]["index"], kind)]

    return _Table(columns, len(rows), index, blocks)


def _column_names(path: Path, group: Any, name: str) -> list[tuple[str, ...]]:
    index, number = _axis(path, group, name)
    return list(zip(*(map(str, level) for level in index(0, number)), strict=True))


def _axis(path: Path, group: Any, name: str) -> tuple[Callable[[int, int], list[list[Any]]], int]:
    """Return the entries along an axis of a table in the format ``fixed``, and their number."""
    if _text(_attribute(path, group, f"{name}_variety")) != "multi":
        entries = _dataset(path, group, name)
        kind = _text(_attribute(path, entries, "kind"))
        # For an empty axis pandas writes one row, and an attribute that gives the true shape.
        number = 0 if "shape" in entries.attrs else len(entries)
        return lambda start, stop: [_entries(path, entries[start:stop], kind)], number
    levels, codes = [], []
    for level in range(int(_attribute(path, group, f"{name}_nlevels"))):
        entries = _dataset(path, group, f"{name}_level{level}")
        is_empty = "shape" in entries.attrs
        levels.append(
            [] if is_empty else _entries(path, entries[:], _text(_attribute(path, entries, "kind")))
        )
        codes.append(_dataset(path, group, f"{name}_label{level}"))

    def index(start: int, stop: int) -> list[list[Any]]:
        return [
            ["nan" if code < 0 else entries[code] for code in labels[start:stop].tolist()]
            for entries, labels in zip(levels, codes, strict=True)
        ]

    return index, 0 if "shape" in codes[0].attrs else len(codes[0])


def _entries(path: Path, values: Any, kind: str) -> list[Any]:
    """Return the entries of an index, which are numbers or text."""
    if kind not in ("integer", "float", "string") or values.dtype.kind not in "iufS":
        raise DataError(
            f"{path}: the index or the names of columns are of the type {kind!r}, expected "
            "numbers or text. Convert them and write the file again, or save it as CSV."
        )
    entries = values.tolist()
    return [entry.decode() for entry in entries] if kind == "string" else entries


def _why_unusable(dtype: np.dtype[Any], stored: str) -> str:
    """Return why values cannot be read as numbers, from how they are stored."""
    if dtype.kind == "O":
        return _PICKLED
    if dtype.kind not in "iufbS" or stored.startswith(_NO_NUMBERS):
        return f"expected numbers, got a column of the type {stored or dtype}"
    return ""


_NO_NUMBERS = ("datetime", "timedelta", "period")


def _dataset(path: Path, group: Any, name: str) -> Any:
    """Return a dataset whose values are in this file, and that is not too large for it.

    Links to other files, and datasets whose values are in other files, could lead anywhere.
    """
    h5py = require("h5py", "score", "to read HDF5 files")
    dataset = None
    if isinstance(group.get(name, getlink=True), h5py.HardLink):
        dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise DataError(f"{path}: there is no dataset {name!r} in {group.name}")
    size = path.stat().st_size
    if dataset.nbytes > _COMPRESSION_LIMIT * size:
        raise DataError(
            f"{path}: {dataset.name} claims to hold {dataset.nbytes} bytes, which is impossible in "
            f"a file of {size} bytes. The file may be damaged."
        )
    return dataset


def _attribute(path: Path, item: Any, name: str, default: Any = None) -> Any:
    """Return an attribute; it is an error if it does not exist and has no default."""
    if name not in item.attrs and default is not None:
        return default
    if item.attrs.get_id(name).dtype.kind == "O":
        check_heaps(path)
    return item.attrs[name]


def check_heaps(path: Path) -> None:
    """Check the heaps of an HDF5 file, which hold its text of variable length.

    The HDF5 library may never return from a damaged heap.

    Raises:
        DataError: a heap is damaged.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(_HEAP)
        while start >= 0:
            if not _is_whole_heap(data, start):
                raise DataError(f"{path} cannot be read as HDF5: its text is damaged")
            start = data.find(_HEAP, start + 1)


_HEAP = b"GCOL\x01"


def _is_whole_heap(data: mmap.mmap, start: int) -> bool:
    """Walk through a heap: 16 bytes of header, then objects with 16 bytes of header each."""
    if start + 16 > len(data):
        return False
    place, stop = start + 16, start + int.from_bytes(data[start + 8 : start + 16], "little")
    if stop > len(data):
        return False
    while place + 16 <= stop:
        number = int.from_bytes(data[place : place + 2], "little")
        size = int.from_bytes(data[place + 8 : place + 16], "little")
        # Number 0 is free space, whose size includes the header; others fill up 8 bytes.
        step = 16 + -(-size // 8) * 8 if number else size
        if step < 16 or place + step > stop:
            return False
        place += step
    return True


def _text(value: Any) -> str:
    """Return an attribute or an entry as text; an empty attribute of HDF5 has no value."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else ""


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _texts(names: Any) -> list[tuple[str, ...]]:
    """Return the names of columns from what was pickled: tuples of text or numbers."""
    columns = [tuple(name) if isinstance(name, tuple | list) else (name,) for name in names]
    for column in columns:
        for name in column:
            if not isinstance(name, str | int | float):
                raise ValueError(f"a column name is of the type {type(name).__name__}")
    return [tuple(map(str, column)) for column in columns]


def _unpickled(path: Path, value: Any) -> Any:
    """Decode a pickle of numbers, text, tuples and lists, without running anything in it.

    Raises:
        DataError: it holds anything else.
    """
    data = value.tobytes() if isinstance(value, np.void) else value
    if not isinstance(data, bytes):
        raise DataError(f"{path}: the names of its columns are not stored as pandas stores them")
    for operation, argument, _ in pickletools.genops(data):
        # Space for a memo is reserved up to its greatest number.
        is_memo = operation.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if operation.name not in _HARMLESS or (is_memo and (argument or 0) > len(data)):
            raise DataError(
                f"{path}: the names of its columns are a pickle that holds more than text and "
                f"numbers ({operation.name}), which is not read because unpickling can run code. "
                "Save the table as CSV."
            )
    return pickle.loads(data)


# Of the operations of a pickle, those that cannot call or import anything.
_HARMLESS = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK"),
        *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
        *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    }
)


def _read_tracks(path: Path, file: Any, max_frames: int | None) -> PoseTable:
    """Read an analysis file of SLEAP: ``tracks`` of axes ``tracks, 2, nodes, frames``."""
    names = _texts_in(path, file, "node_names")
    tracks = _dataset(path, file, "tracks")
    shape, has_scores = tracks.shape, "point_scores" in file
    if has_scores:
        scores = _dataset(path, file, "point_scores").shape
        if scores != (*shape[:1], *shape[2:]):
            raise DataError(
                f"{path}: point_scores have the shape {scores}, tracks have {shape}. The "
                "file may be damaged."
            )
    if len(shape) != 4 or shape[1:3] != (2, len(names)):
        raise DataError(
            f"{path}: expected tracks of axes (tracks, 2, nodes, frames) with {len(names)} "
            f"nodes, as SLEAP writes them, got the shape {shape}"
        )
    num_tracks, stop = shape[0], min(max_frames or shape[3], shape[3])
    if num_tracks == 0 or stop == 0:
        raise DataError(f"{path}: there are no frames")
    individuals: tuple[str, ...] = ("",)
    if num_tracks > 1:
        individuals = tuple(f"track_{number}" for number in range(num_tracks))
        if "track_names" in file:
            individuals = _texts_in(path, file, "track_names")
        if len(set(individuals)) != num_tracks:
            raise DataError(
                f"{path}: track_names must be {num_tracks} different names, one for each track; "
                f"got {', '.join(map(repr, individuals))}"
            )
    points = np.asarray(tracks[:, :, :, :stop], dtype=np.float64)
    confidences = None
    if has_scores:
        values = _dataset(path, file, "point_scores")[:, :, :stop]
        confidences = np.asarray(values, dtype=np.float64)
        confidences = np.ascontiguousarray(confidences.transpose(2, 0, 1))
    return PoseTable(
        np.ascontiguousarray(points.transpose(3, 0, 2, 1)),
        confidences,
        None,
        np.arange(stop),
        individuals,
        names,
        path,
    )


def _texts_in(path: Path, file: Any, name: str) -> tuple[str, ...]:
    """Return the entries of a dataset of text."""
    dataset = _dataset(path, file, name)
    if dataset.dtype.kind == "O":
        check_heaps(path)
    entries = dataset[:].tolist()
    if not all(isinstance(entry, bytes | str) for entry in entries):
        raise DataError(f"{path}: expected text in {name}, got {entries[0]!r}")
    return tuple(map(_text, entries))
