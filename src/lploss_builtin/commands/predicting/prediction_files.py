"""Files of predictions, written row by row: CSV with three header rows."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from lploss_builtin.commands.predicting.frame_predictions import FramePredictions
from lploss_builtin.commands.predicting.points_in_space import PointsInSpace
from lploss_builtin.commands.predicting.recording import Recording
from lploss_builtin.data.keypoint_columns import header_rows

_COORDS = ("x", "y", "likelihood")
_COORDS_3D = ("x", "y", "z", "error")


class PredictionFiles:
    """The open files of a recording: one for each view, and one of points in space.

    The layout is that of DeepLabCut and Lightning Pose: the rows scorer, bodyparts and coords,
    then a row for each frame with the path of its image. In space a frame is called after its
    image in the first view; ``error`` is the mean reprojection error, px.

    Args:
        folder: where the files go.
        recording: whose they are.
        scorer: what stands in the first row.
        keypoint_names: names of the keypoints.
    """

    def __init__(
        self, folder: Path, recording: Recording, scorer: str, keypoint_names: Sequence[str]
    ) -> None:
        self._recording = recording
        self._views = [
            _Table(folder / own.file, scorer, keypoint_names, _COORDS) for own in recording.views
        ]
        file_3d = recording.file_3d
        self._in_space = (
            _Table(folder / file_3d, scorer, keypoint_names, _COORDS_3D) if file_3d else None
        )

    def close(self) -> None:
        """Finish the files."""
        for table in (*self._views, *([self._in_space] if self._in_space else [])):
            table.close()

    def write(self, found: FramePredictions, in_space: PointsInSpace | None) -> None:
        """Write the rows of some frames."""
        frames = found.index.tolist()
        for number, (table, images) in enumerate(
            zip(self._views, self._recording.views, strict=True)
        ):
            rows = torch.cat(
                [found.keypoints[:, number], found.confidences[:, number, :, None]], dim=-1
            )
            table.write([images.names[frame] for frame in frames], rows)
        if self._in_space is not None and in_space is not None:
            rows = torch.cat([in_space.points, in_space.errors[..., None]], dim=-1)
            names = self._recording.views[0].names
            self._in_space.write([names[frame] for frame in frames], rows)


class _Table:
    """A file of keypoints that is being written."""

    def __init__(
        self, path: Path, scorer: str, keypoint_names: Sequence[str], coords: Sequence[str]
    ) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerows(header_rows(scorer, keypoint_names, coords))

    def write(
        self, names: Sequence[str], rows: Float64[Tensor, "frames num_keypoints coords"]
    ) -> None:
        for name, values in zip(names, rows.flatten(1).tolist(), strict=True):
            self._writer.writerow([name, *map(_text, values)])

    def close(self) -> None:
        self._file.close()


def _text(value: float) -> str:
    """Return a number with all digits that a model can know; nothing where it is missing."""
    return format(value, ".9g") if math.isfinite(value) else ""
