"""Where a trained model sees the keypoints of all labelled frames."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from lploss_builtin.data.poses.columns import header_rows
from lploss_builtin.data.project.labelled_frames import Batch, LabelledFrames
from lploss_builtin.data.project.labelled_project import LabelledProject
from lploss_builtin.predicting.frame_predictions import predict_frames

_COORDS = ("x", "y", "likelihood")
# A column of Lightning Pose: its name stands on the first level, the others are empty.
_SET = ("set", "", "")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPoses:
    """Predictions of labelled frames.

    Attributes:
        project: the frames, and their labels.
        sets: to which part each frame belongs.
        keypoints: px in the original images; NaN where an image could not be read.
        confidences: 0 to 1; NaN likewise, and where the model has none.
        unreadable: what is wrong with the frames that could not be read.
    """

    project: LabelledProject
    sets: tuple[str, ...]
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"]
    confidences: Float64[np.ndarray, "frames views num_keypoints"]
    unreadable: tuple[str, ...]

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views; one that is empty where there is one view without a name."""
        return self.project.view_names or ("",)

    def images(self, view: int) -> list[str]:
        """Return the path of each frame's image, as the label file has it."""
        folder = self.project.folder
        paths = [own[view] for own in self.project.images]
        return [
            (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
            for path in paths
        ]


def predict_labelled(
    model: nn.Module,
    frames: LabelledFrames,
    sets: Sequence[str],
    *,
    batch_size: int,
    device: torch.device,
    precision: str | None = None,
) -> LabelledPoses:
    """Predict all labelled frames.

    Args:
        model: see `predict_frames`.
        frames: the frames; those that cannot be read are left out where they keep going.
        sets: to which part each frame belongs.
        batch_size: frames that are predicted at once.
        device: where the model runs.
        precision: as Lightning spells it.
    """
    found = list(
        predict_frames(
            model,
            _WithoutUnreadable(frames),
            batch_size=batch_size,
            device=device,
            precision=precision,
        )
    )
    keypoints = torch.cat([own.keypoints for own in found]).numpy()
    gone = np.flatnonzero(np.isnan(keypoints).all(axis=(1, 2, 3))).tolist()
    problems = tuple(problem for number in gone if (problem := frames.problem_of(number)))
    confidences = torch.cat([own.confidences for own in found]).numpy()
    return LabelledPoses(frames.project, tuple(sets), keypoints, confidences, problems)


def prediction_files(folder: Path, views: Sequence[str], end: str = "") -> dict[str, Path]:
    """Return the file of predictions of each view; and, for ``""``, that of all.

    Args:
        folder: where they lie.
        views: names of the views; empty where there is one without a name.
        end: what their names end with.

    Example:
        >>> {view: path.name for view, path in prediction_files(Path(), ["left"], "_new").items()}
        {'': 'predictions_new.csv', 'left': 'predictions_left_new.csv'}
    """
    named = {view: folder / f"predictions_{view}{end}.csv" for view in views if view}
    return {"": folder / f"predictions{end}.csv", **named}


def write_predictions(
    poses: LabelledPoses, files: Mapping[str, Path], scorer: str
) -> tuple[Path, ...]:
    """Write the predictions of each view, with the part of each frame in the last column.

    Args:
        poses: the predictions.
        files: the file of each view.
        scorer: what stands in the first row.
    """
    names = poses.project.keypoint_names
    headers = [
        [*row, end] for row, end in zip(header_rows(scorer, names, _COORDS), _SET, strict=True)
    ]
    for number, view in enumerate(poses.views):
        values = np.concatenate(
            [poses.keypoints[:, number], poses.confidences[:, number, :, None]], axis=-1
        )
        with files[view].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(headers)
            for image, row, of in zip(
                poses.images(number),
                values.reshape(len(values), -1).tolist(),
                poses.sets,
                strict=True,
            ):
                writer.writerow([image, *map(_text, row), of])
    return tuple(files[view] for view in poses.views)


class _WithoutUnreadable:
    """The frames, with what could not be read said as `predict_frames` wants it."""

    def __init__(self, frames: LabelledFrames) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Batch:
        frame = self._frames[index]
        is_readable = frame.pop("is_readable", torch.tensor(True))
        return {**frame, "is_read": is_readable.expand(frame["images"].shape[0])}


def _text(value: float) -> str:
    return format(value, ".9g") if math.isfinite(value) else ""
