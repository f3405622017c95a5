"""A small rig of calibrated cameras, and the files that a lab would have of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np

from tests.lploss_builtin.data.keypoint_tables import write_predictions

NAMES = ("nose", "neck", "tail")
IMAGE_SIZE = (640, 480)
MATRIX = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
DISTORTIONS = np.array([-0.2, 0.05, 0.001, 0.0, 0.0])


class Camera(NamedTuple):
    """As OpenCV takes it: a Rodrigues vector and a translation, world to camera."""

    rotation: np.ndarray
    translation: np.ndarray
    matrix: np.ndarray = MATRIX
    distortions: np.ndarray = DISTORTIONS

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where it sees points, of axes (frames, keypoints, 2)."""
        given = self.rotation, self.translation, self.matrix, self.distortions
        seen, _ = cv2.projectPoints(points.reshape(-1, 3), *given)
        return seen.reshape(*points.shape[:2], 2)


VIEWS = {
    "Left-1": Camera(np.array([0.0, -0.6, 0.0]), np.array([0.0, 0.0, 9.0])),
    "Right-2": Camera(np.array([0.0, 0.7, 0.1]), np.array([0.2, 0.0, 10.0])),
    "Top": Camera(np.array([-1.2, 0.0, 0.0]), np.array([0.0, 0.1, 9.5])),
}


def points_in_space(num_frames: int, seed: int = 0) -> np.ndarray:
    """Three keypoints that wander about the origin, of axes (frames, keypoints, 3)."""
    rng = np.random.default_rng(seed)
    body = np.array([[0.8, 0.0, 0.0], [0.4, 0.1, 0.1], [-0.8, 0.0, 0.2]])
    return body + rng.normal(0, 0.05, (num_frames, 1, 3)).cumsum(axis=0)


def project(points: np.ndarray) -> dict[str, np.ndarray]:
    """Return where each camera sees points."""
    return {view: camera.project(points) for view, camera in VIEWS.items()}


def reprojection_error(
    views: Mapping[str, np.ndarray], cameras: Mapping[str, Camera] = MappingProxyType(VIEWS)
) -> np.ndarray:
    """Distance, px, from the reprojection of the DLT by all views; (frames, views, keypoints).

    By OpenCV and a singular value decomposition: nothing of it is this project's. The world has its
    origin in the centre of the cameras, and their spread as its unit.
    """
    rotations = [cv2.Rodrigues(cameras[view].rotation)[0] for view in views]
    translations = [cameras[view].translation for view in views]
    places = -np.stack([r.T @ t for r, t in zip(rotations, translations, strict=True)])
    centre = places.mean(axis=0)
    size = np.sqrt(np.square(places - centre).sum(axis=1).mean())
    equations = []
    for (view, keypoints), rotation, translation in zip(
        views.items(), rotations, translations, strict=True
    ):
        camera = cameras[view]
        pose = np.column_stack([rotation, (rotation @ centre + translation) / size])
        rays = cv2.undistortPoints(keypoints.reshape(-1, 1, 2), camera.matrix, camera.distortions)
        for direction, row in zip(rays[:, 0].T, pose[:2], strict=True):
            equations.append(direction[:, None] * pose[2] - row)
    found = np.linalg.svd(np.stack(equations, axis=1))[2][:, -1]
    points = centre + size * found[:, :3] / found[:, 3:]
    points = points.reshape(*next(iter(views.values())).shape[:2], 3)
    return np.stack(
        [
            np.linalg.norm(cameras[view].project(points) - keypoints, axis=-1)
            for view, keypoints in views.items()
        ],
        axis=1,
    )


def write_calibration(path: Path) -> Path:
    tables = [
        f'[cam_{number}]\nname = "{name}"\nsize = {list(IMAGE_SIZE)}\nmatrix = {MATRIX.tolist()}\n'
        f"distortions = {DISTORTIONS.tolist()}\nrotation = {camera.rotation.tolist()}\n"
        f"translation = {camera.translation.tolist()}\n"
        for number, (name, camera) in enumerate(VIEWS.items())
    ]
    path.write_text("\n".join(tables))
    return path


def write_views(
    folder: Path,
    views: Mapping[str, np.ndarray],
    stem: str = "walk_{}.csv",
    index: Mapping[str, object] | None = None,
    likelihood: float | None = 1.0,
) -> dict[str, Path]:
    """Write a file for each view, named after it in another spelling."""
    return {
        view: write_predictions(
            folder / stem.format(view.lower().replace("-", "")),
            keypoints,
            NAMES,
            None if index is None else index[view],
            likelihood,
        )
        for view, keypoints in views.items()
    }
