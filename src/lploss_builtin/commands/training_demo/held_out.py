"""The frames that no training has seen, and what is true of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import Float64, UInt8

from lploss import load_config
from lploss_builtin.data.keypoint_columns import LEVELS
from lploss_builtin.data.labelled_frames import LabelledFrames
from lploss_builtin.data.labelled_project import LabelledProject, read_project
from lploss_builtin.data.rig.project import RigProject
from lploss_builtin.ops.geometry import Cameras


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """The frames of the session that is held out.

    Attributes:
        frames: the frames, as a model sees them.
        keypoints: px in the original images; NaN where a keypoint is outside of the image.
        visibility: 0 outside of the image, 1 occluded, 2 visible.
        points: where the keypoints are in the world, mm.
        cameras: those of the session.
        mean_pose: mean of the labels of the other sessions, px.
    """

    frames: LabelledFrames
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"]
    visibility: UInt8[np.ndarray, "frames views num_keypoints"]
    points: Float64[np.ndarray, "frames num_keypoints 3"]
    cameras: Cameras
    mean_pose: Float64[np.ndarray, "views num_keypoints 2"]

    @property
    def project(self) -> LabelledProject:
        """The labels of the frames."""
        return self.frames.project

    def image(self, frame: int, view: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return an image as it lies on the disk."""
        from PIL import Image

        with Image.open(self.project.images[frame][view]) as file:
            return np.asarray(file.convert("RGB"))


def read_held_out(made: RigProject) -> HeldOut:
    """Read the held-out frames of a project."""
    config = load_config(made.config)
    size = config.data.image_resize_dims
    trained = read_project(config)
    files = [str(path.relative_to(made.folder)) for path in made.test_labels.values()]
    project = read_project(config, csv_files=files)
    cameras = project.cameras or {}
    return HeldOut(
        LabelledFrames(project, (size.height, size.width)),
        project.keypoints,
        project.visibility,
        _read_truth(made.truth, project.frames),
        cameras[project.sessions[0]],
        np.nanmean(trained.keypoints, axis=0),
    )


def _read_truth(
    path: Path, frames: tuple[str, ...]
) -> Float64[np.ndarray, "frames num_keypoints 3"]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row[0]: row[1:] for row in list(csv.reader(file))[len(LEVELS) :]}
    values = np.array([rows[frame] for frame in frames], dtype=np.float64)
    return rearrange(values, "frames (num_keypoints xyz) -> frames num_keypoints xyz", xyz=3)
