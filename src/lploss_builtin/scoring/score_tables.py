"""The tidy tables: one row for each file, frame, loss and keypoint."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from lploss_builtin.dependencies import require
from lploss_builtin.scoring.loss_scores import LossScores

COLUMNS = ("file", "frame", "keypoint", "loss", "value", "valid")
_PURPOSE = "to write tables of scores"


def write_tables(
    stem: Path, scores: Sequence[LossScores], frames_are_numbers: bool, max_frames: int
) -> None:
    """Write the tables of one file, which are joined by `join_tables`.

    Values that are NaN are written as not valid, without a number.

    Args:
        stem: path of the tables, without suffix.
        scores: the values of each loss.
        frames_are_numbers: whether every file of the scoring has numbers of frames.
        max_frames: how many frames are converted at once.
    """
    pa = require("pyarrow", "score", _PURPOSE)
    csv = require("pyarrow.csv", "score", _PURPOSE)
    parquet = require("pyarrow.parquet", "score", _PURPOSE)
    file = scores[0].file
    elements = [(own.loss.name, name) for own in scores for name in own.loss.element_names]
    losses, loss_of = _numbered([loss for loss, _ in elements])
    keypoints, keypoint_of = _numbered([name for _, name in elements])
    text = pa.dictionary(pa.int32(), pa.string())
    frame_type = pa.int64() if frames_are_numbers else pa.string()
    types = (text, frame_type, text, text, pa.float32(), pa.bool_())
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    is_simple = not any(set(text) & set(',"\r\n') for text in (file, *losses, *keypoints))
    options = csv.WriteOptions(
        include_header=False,
        # "needed" quotes every text.
        quoting_style="none" if frames_are_numbers and is_simple else "needed",
    )

    def texts(which: Shaped[np.ndarray, "rows"], names: list[str]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(which, pa.int32()), pa.array(names))

    with (
        parquet.ParquetWriter(_parquet(stem), schema) as parquet_writer,
        csv.CSVWriter(_csv(stem), schema, write_options=options) as csv_writer,
    ):
        for start in range(0, len(scores[0].values), max_frames):
            rows = slice(start, start + max_frames)
            values = np.concatenate([own.values[rows].astype(np.float32) for own in scores], axis=1)
            frames = scores[0].table.frames[rows]
            if not frames_are_numbers:
                frames = frames.astype(str).astype(object)
            num_frames, num_elements = values.shape
            valid = ~np.isnan(values).reshape(-1)
            columns = (
                texts(np.zeros(values.size, dtype=np.int32), [file]),
                pa.array(np.repeat(frames, num_elements), frame_type),
                texts(np.tile(keypoint_of, num_frames), keypoints),
                texts(np.tile(loss_of, num_frames), losses),
                pa.array(values.reshape(-1), mask=~valid),
                pa.array(valid),
            )
            table = pa.Table.from_arrays(list(columns), schema=schema)
            parquet_writer.write_table(table)
            csv_writer.write(table)


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
