"""Files of predictions, written row by row: CSV with three header rows."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from lploss_builtin.data.poses.columns import header_rows
from lploss_builtin.predicting.frame_predictions import FramePredictions
from lploss_builtin.predicting.points_in_space import PointsInSpace

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
        self._views = [
            _Table(folder / file, header, append)
            for file, header in zip(files, headers, strict=False)
        ]
        self._in_space = _Table(folder / file_3d, headers[-1], append) if file_3d else None

    def close(self) -> None:
        """Finish the files."""
        for table in (*self._views, *([self._in_space] if self._in_space else [])):
            table.close()

    def write(
        self,
        names: Sequence[Sequence[str]],
        found: FramePredictions,
        in_space: PointsInSpace | None,
    ) -> None:
        """Write the rows of some frames.

        Args:
            names: for each view what the frames are called there.
            found: where the keypoints are.
            in_space: where they are in space.
        """
        for number, (table, of_view) in enumerate(zip(self._views, names, strict=True)):
            rows = torch.cat(
                [found.keypoints[:, number], found.confidences[:, number, :, None]], dim=-1
            )
            table.write(of_view, rows)
        if self._in_space is not None and in_space is not None:
            rows = torch.cat([in_space.points, in_space.errors[..., None]], dim=-1)
            self._in_space.write(names[0], rows)

    def flush(self) -> None:
        """Hand all rows to the system, so that they stay when this process is killed."""
        for table in (*self._views, *([self._in_space] if self._in_space else [])):
            table.flush()


def prediction_headers(
    num_views: int, scorer: str, keypoint_names: Sequence[str]
) -> list[list[list[str]]]:
    """Return the three header rows of the file of each view, and last of that in space."""
    return [header_rows(scorer, keypoint_names, _COORDS)] * num_views + [
        header_rows(scorer, keypoint_names, _COORDS_3D)
    ]


class _Table:
    """A file of keypoints that is being written."""

    def __init__(self, path: Path, header: Sequence[Sequence[str]], append: bool) -> None:
        self._file = path.open("a" if append else "w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not append:
            self._writer.writerows(header)

    def write(
        self, names: Sequence[str], rows: Float64[Tensor, "frames num_keypoints coords"]
    ) -> None:
        for name, values in zip(names, rows.flatten(1).tolist(), strict=True):
            self._writer.writerow([name, *map(_text, values)])

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _text(value: float) -> str:
    """Return a number with all digits that a model can know; nothing where it is missing."""
    return format(value, ".9g") if math.isfinite(value) else ""
