"""Measures how far predictions of the held-out session are from the ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float64, UInt8
from torch import nn

from lploss import load_config
from lploss_builtin.data.project.label_files import OCCLUDED, VISIBLE
from lploss_builtin.data.project.labelled_frames import LabelledFrames
from lploss_builtin.data.project.labelled_project import LabelledProject, read_project
from lploss_builtin.data.rig.project import RigProject
from lploss_builtin.dependencies import require
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_views
from lploss_builtin.predicting import predict_frames


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
    pandas = require("pandas", "train", "to read CSV")
    values = pandas.read_csv(path, header=[0, 1, 2], index_col=0).loc[list(frames)].to_numpy()
    return rearrange(values, "frames (num_keypoints xyz) -> frames num_keypoints xyz", xyz=3)


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """Where the keypoints are said to be.

    Attributes:
        name: who says so.
        keypoints: px in the original images, of each view by itself.
        points: where these views together put the keypoints in the world, mm.
        reprojected: where all cameras of the rig, used or not, see these, px.
    """

    name: str
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"]
    points: Float64[np.ndarray, "frames num_keypoints 3"]
    reprojected: Float64[np.ndarray, "frames all_views num_keypoints 2"]


def predicted_by(
    name: str, model: nn.Module, held_out: HeldOut, views: Sequence[int] | None = None
) -> Predicted:
    """Predict the held-out frames with a model.

    Args:
        name: of the model.
        model: the model.
        held_out: the frames.
        views: numbers of the cameras that have not failed; all unless given.
    """
    chosen = list(range(held_out.project.num_views)) if views is None else list(views)
    frames = [
        {**frame, "images": frame["images"][chosen], "affine": frame["affine"][chosen]}
        for frame in map(held_out.frames.__getitem__, range(len(held_out.frames)))
    ]
    found = list(predict_frames(model, frames, views=chosen))
    keypoints = torch.cat([batch.keypoints for batch in found])
    confidences = torch.cat([batch.confidences for batch in found])
    return _in_space(name, keypoints, confidences, held_out.cameras, chosen)


def mean_pose(name: str, held_out: HeldOut) -> Predicted:
    """Say in each view what is the mean of the labels, whatever the image shows."""
    pose = torch.from_numpy(held_out.mean_pose)
    keypoints = pose.expand(len(held_out.frames), *pose.shape)
    views = list(range(held_out.project.num_views))
    return _in_space(name, keypoints, None, held_out.cameras, views)


def _in_space(
    name: str,
    keypoints: torch.Tensor,
    confidences: torch.Tensor | None,
    cameras: Cameras,
    views: list[int],
) -> Predicted:
    points = triangulate_views(keypoints, cameras.select(views), confidences)
    reprojected = project_points(points, cameras)
    return Predicted(name, keypoints.numpy(), points.numpy(), reprojected.numpy())


_ALL = "all"
_VISIBILITIES = {_ALL: (OCCLUDED, VISIBLE), "visible": (VISIBLE,), "occluded": (OCCLUDED,)}


class Error(NamedTuple):
    """Distances between predictions and the truth.

    Attributes:
        num: how many there are.
        mean: px or mm; NaN where there are none.
        median: the same.
    """

    num: int
    mean: float
    median: float


@dataclass(frozen=True, slots=True)
class Errors:
    """How far off a predictor is.

    Attributes:
        name: of the predictor.
        all: px, in all views, of all keypoints inside of the images.
        visible: of these, the ones that can be seen.
        occluded: of these, the ones that something hides.
        in_space: mm, where the views together put the keypoints.
    """

    name: str
    all: Error
    visible: Error
    occluded: Error
    in_space: Error


def error_of(
    distances: Float64[np.ndarray, "..."], counts: Bool[np.ndarray, "..."] | None = None
) -> Error:
    """Return mean and median of the distances that count and are known.

    Example:
        >>> error_of(np.array([1.0, 2.0, 6.0, np.nan]))
        Error(num=3, mean=3.0, median=2.0)
    """
    chosen = distances if counts is None else distances[counts]
    known = chosen[np.isfinite(chosen)]
    if not known.size:
        return Error(0, np.nan, np.nan)
    return Error(known.size, float(known.mean()), float(np.median(known)))


def distances_between(
    found: Float64[np.ndarray, "*points coords"], true: Float64[np.ndarray, "*points coords"]
) -> Float64[np.ndarray, "*points"]:
    """Return how far points are from the truth; NaN where either is not known.

    Example:
        >>> distances_between(np.array([[3.0, 4.0], [1.0, np.nan]]), np.zeros((2, 2)))
        array([ 5., nan])
    """
    lengths: Float64[np.ndarray, "*points"] = np.linalg.norm(found - true, axis=-1)
    return lengths


def errors_by_part(predicted: Predicted, held_out: HeldOut) -> dict[tuple[str, str, str], Error]:
    """Return how far off a predictor is, px, by view, keypoint and visibility.

    The visibility is ``visible`` or ``occluded``; ``all`` stands for all views, all keypoints, or
    both visible and occluded.
    """
    project = held_out.project
    distances = distances_between(predicted.keypoints, held_out.keypoints)
    return {
        (view, keypoint, visibility): error_of(
            distances[:, views, keypoints],
            np.isin(held_out.visibility[:, views, keypoints], values),
        )
        for view, views in _parts(project.view_names)
        for keypoint, keypoints in _parts(project.keypoint_names)
        for visibility, values in _VISIBILITIES.items()
    }


def errors_of(predicted: Predicted, held_out: HeldOut) -> Errors:
    """Return how far off a predictor is."""
    parts = errors_by_part(predicted, held_out)
    of_pixels = {name: parts[_ALL, _ALL, name] for name in _VISIBILITIES}
    in_space = error_of(distances_between(predicted.points, held_out.points))
    return Errors(predicted.name, **of_pixels, in_space=in_space)


def failed_camera(
    predicted: Predicted, held_out: HeldOut, view: int | None
) -> tuple[Error, Error, Error]:
    """Return how far off predictions without a camera are.

    Args:
        predicted: made without the camera.
        held_out: the truth.
        view: number of the camera; ``None``: none is missing.

    Returns:
        The errors in the views that are left, px; where the others say that the missing camera
        would see the keypoints, px; and in space, mm.
    """
    left = [number for number in range(held_out.project.num_views) if number != view]
    unseen = distances_between(predicted.reprojected, held_out.keypoints)
    return (
        error_of(distances_between(predicted.keypoints, held_out.keypoints[:, left])),
        error_of(unseen if view is None else unseen[:, view]),
        error_of(distances_between(predicted.points, held_out.points)),
    )


def write_errors(path: Path, predictors: Sequence[Predicted], held_out: HeldOut) -> None:
    """Write how far off each predictor is in each view, of each keypoint, visible and occluded.

    The columns are ``predictor, view, keypoint, visibility, num, mean_px, median_px``; see
    `errors_by_part`.
    """
    errors = {
        (predicted.name, *part): error
        for predicted in predictors
        for part, error in errors_by_part(predicted, held_out).items()
    }
    _write(path, errors, ("predictor", "view", "keypoint", "visibility"), "px")


def write_errors_in_space(path: Path, predictors: Sequence[Predicted], held_out: HeldOut) -> None:
    """Write how far off each predictor is in space, of each keypoint.

    The columns are ``predictor, keypoint, num, mean_mm, median_mm``.
    """
    errors = {
        (predicted.name, keypoint): error_of(
            distances_between(predicted.points, held_out.points)[:, columns]
        )
        for predicted in predictors
        for keypoint, columns in _parts(held_out.project.keypoint_names)
    }
    _write(path, errors, ("predictor", "keypoint"), "mm")


def _write(path: Path, errors: Mapping[Any, Error], names: Sequence[str], unit: str) -> None:
    pandas = require("pandas", "train", "to write CSV")
    columns = [*names, "num", f"mean_{unit}", f"median_{unit}"]
    table = pandas.DataFrame([(*key, *error) for key, error in errors.items()], columns=columns)
    table.to_csv(path, index=False, float_format="%.4f")


def _parts(names: Sequence[str]) -> Iterator[tuple[str, slice]]:
    """Yield all, and then each by itself."""
    yield _ALL, slice(None)
    for number, name in enumerate(names):
        yield name, slice(number, number + 1)
