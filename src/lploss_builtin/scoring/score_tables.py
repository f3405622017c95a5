"""The tidy tables: one row for each file, frame, loss and keypoint."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from lploss_builtin.dependencies import require
from lploss_builtin.scoring.scored_loss import ScoredLoss

COLUMNS = ("file", "frame", "keypoint", "loss", "value", "valid")
_PURPOSE = "to write tables of scores"


class FileTables:
    """The tables of one file, written piece by piece; they are joined by `join_tables`.

    Args:
        stem: path of the tables, without suffix.
        file: the file that is scored, as it was given.
        losses: the losses, in the order of their values.
        frames_are_numbers: whether every file has numbers of frames.
    """

    def __init__(
        self, stem: Path, file: str, losses: Sequence[ScoredLoss], frames_are_numbers: bool
    ) -> None:
        self._pyarrow = require("pyarrow", "score", _PURPOSE)
        self._csv = require("pyarrow.csv", "score", _PURPOSE)
        parquet = require("pyarrow.parquet", "score", _PURPOSE)
        self._file = file
        elements = [(loss.name, name) for loss in losses for name in loss.element_names]
        self._losses, self._loss_of = _numbered([loss for loss, _ in elements])
        self._keypoints, self._keypoint_of = _numbered([name for _, name in elements])
        pa = self._pyarrow
        simple = not any(
            set(text) & set(',"\r\n') for text in (file, *self._losses, *self._keypoints)
        )
        text = pa.dictionary(pa.int32(), pa.string())
        self._frame_type = pa.int64() if frames_are_numbers else pa.string()
        types = (text, self._frame_type, text, text, pa.float32(), pa.bool_())
        self._schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
        self._parquet_writer = parquet.ParquetWriter(_parquet(stem), self._schema)
        self._csv_writer = self._csv.CSVWriter(
            _csv(stem),
            self._schema,
            write_options=self._csv.WriteOptions(
                include_header=False,
                # "needed" quotes every text.
                quoting_style="none" if frames_are_numbers and simple else "needed",
            ),
        )

    def add(
        self,
        frames: Shaped[np.ndarray, "frames"],
        values: Float64[np.ndarray, "frames elements_of_all_losses"],
    ) -> None:
        """Append frames; values that are NaN are written as not valid, without a number."""
        pa = self._pyarrow
        num_frames, num_elements = values.shape

        def texts(which: Shaped[np.ndarray, "rows"], names: list[str]) -> Any:
            return pa.DictionaryArray.from_arrays(pa.array(which, pa.int32()), pa.array(names))

        valid = ~np.isnan(values).reshape(-1)
        if self._frame_type == pa.string():
            frames = frames.astype(str).astype(object)
        columns = (
            texts(np.zeros(values.size, dtype=np.int32), [self._file]),
            pa.array(np.repeat(frames, num_elements), self._frame_type),
            texts(np.tile(self._keypoint_of, num_frames), self._keypoints),
            texts(np.tile(self._loss_of, num_frames), self._losses),
            pa.array(values.reshape(-1).astype(np.float32), mask=~valid),
            pa.array(valid),
        )
        table = pa.Table.from_arrays(list(columns), schema=self._schema)
        self._parquet_writer.write_table(table)
        self._csv_writer.write(table)

    def close(self) -> None:
        """Finish the tables."""
        self._parquet_writer.close()
        self._csv_writer.close()


def join_tables(stems: Sequence[Path], folder: Path) -> None:
    """Join the tables of all files to ``scores.parquet`` and ``scores.csv``; the parts go.

    Args:
        stems: paths of the tables, without suffix.
        folder: where to.
    """
    parquet = require("pyarrow.parquet", "score", _PURPOSE)
    schema = parquet.read_schema(_parquet(stems[0]))
    with parquet.ParquetWriter(folder / "scores.parquet", schema) as writer:
        for stem in stems:
            with parquet.ParquetFile(_parquet(stem)) as file:
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group))
    with (folder / "scores.csv").open("wb") as joined:
        joined.write(",".join(COLUMNS).encode() + b"\n")
        for stem in stems:
            with _csv(stem).open("rb") as rows:
                shutil.copyfileobj(rows, joined)
            _parquet(stem).unlink()
            _csv(stem).unlink()


def _parquet(stem: Path) -> Path:
    return stem.with_suffix(".parquet")


def _csv(stem: Path) -> Path:
    return stem.with_suffix(".csv")


def _numbered(names: Sequence[str]) -> tuple[list[str], Shaped[np.ndarray, "names"]]:
    """Return the different names, and the number of each name among them."""
    different = list(dict.fromkeys(names))
    number = {name: at for at, name in enumerate(different)}
    return different, np.array([number[name] for name in names], dtype=np.int32)
