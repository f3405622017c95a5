"""How far predictions are from the truth."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from lploss_builtin.commands.training_demo.held_out import HeldOut
from lploss_builtin.commands.training_demo.predictors import Predicted

_ALL = "all"
_VISIBILITIES = {_ALL: (1, 2), "visible": (2,), "occluded": (1,)}


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


@dataclass(frozen=True, slots=True)
class FailedCamera:
    """How far off the network is where a camera is missing.

    Attributes:
        view: the camera; empty where none is missing.
        others: px, in the views that are left.
        unseen: px, where the others say that the missing camera would see the keypoints.
        in_space: mm, where the views that are left together put the keypoints.
    """

    view: str
    others: Error
    unseen: Error
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


def pixel_distances(
    predicted: Predicted, held_out: HeldOut
) -> Float64[np.ndarray, "frames views num_keypoints"]:
    """Return how far predictions are from the labels, px; NaN where there is no label."""
    found: Float64[np.ndarray, "frames views num_keypoints"] = np.linalg.norm(
        predicted.keypoints - held_out.keypoints, axis=-1
    )
    return found


def distances_in_space(
    predicted: Predicted, held_out: HeldOut
) -> Float64[np.ndarray, "frames num_keypoints"]:
    """Return how far the joined predictions of all views are from the truth, mm."""
    found: Float64[np.ndarray, "frames num_keypoints"] = np.linalg.norm(
        predicted.points - held_out.points, axis=-1
    )
    return found


def errors_of(predicted: Predicted, held_out: HeldOut) -> Errors:
    """Return how far off a predictor is."""
    distances = pixel_distances(predicted, held_out)
    of_pixels = {
        name: error_of(distances, np.isin(held_out.visibility, values))
        for name, values in _VISIBILITIES.items()
    }
    in_space = error_of(distances_in_space(predicted, held_out))
    return Errors(predicted.name, **of_pixels, in_space=in_space)


def failed_camera(predicted: Predicted, held_out: HeldOut, view: int | None) -> FailedCamera:
    """Return how far off predictions without a camera are.

    Args:
        predicted: made without the camera.
        held_out: the truth.
        view: number of the camera; ``None``: none is missing.
    """
    names = held_out.project.view_names
    left = [number for number in range(len(names)) if number != view]
    others = np.linalg.norm(predicted.keypoints - held_out.keypoints[:, left], axis=-1)
    unseen = np.linalg.norm(predicted.reprojected - held_out.keypoints, axis=-1)
    return FailedCamera(
        "" if view is None else names[view],
        error_of(others),
        error_of(unseen if view is None else unseen[:, view]),
        error_of(distances_in_space(predicted, held_out)),
    )


def write_errors(path: Path, predictors: Sequence[Predicted], held_out: HeldOut) -> None:
    """Write how far off each predictor is in each view, of each keypoint, visible and occluded.

    The columns are ``predictor, view, keypoint, visibility, num, mean_px, median_px``; ``all``
    stands for all views, all keypoints, or both visible and occluded.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        head = ("predictor", "view", "keypoint", "visibility", "num", "mean_px", "median_px")
        writer.writerow(head)
        for predicted in predictors:
            for row in _rows(predicted, held_out):
                writer.writerow((predicted.name, *row))


def write_errors_in_space(path: Path, predictors: Sequence[Predicted], held_out: HeldOut) -> None:
    """Write how far off each predictor is in space, of each keypoint.

    The columns are ``predictor, keypoint, num, mean_mm, median_mm``.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("predictor", "keypoint", "num", "mean_mm", "median_mm"))
        for predicted in predictors:
            distances = distances_in_space(predicted, held_out)
            for keypoint, columns in _parts(held_out.project.keypoint_names):
                error = error_of(distances[:, columns])
                writer.writerow((predicted.name, keypoint, *_cells(error)))


def _rows(predicted: Predicted, held_out: HeldOut) -> Iterator[tuple[str | int, ...]]:
    distances, project = pixel_distances(predicted, held_out), held_out.project
    for view, views in _parts(project.view_names):
        for keypoint, keypoints in _parts(project.keypoint_names):
            for visibility, values in _VISIBILITIES.items():
                counts = np.isin(held_out.visibility[:, views, keypoints], values)
                error = error_of(distances[:, views, keypoints], counts)
                yield view, keypoint, visibility, *_cells(error)


def _parts(names: Sequence[str]) -> Iterator[tuple[str, slice]]:
    """Yield all, and then each by itself."""
    yield _ALL, slice(None)
    for number, name in enumerate(names):
        yield name, slice(number, number + 1)


def _cells(error: Error) -> tuple[int, str, str]:
    """Return the cells of a row; empty where there is nothing to take a mean of."""
    if not error.num:
        return 0, "", ""
    return error.num, f"{error.mean:.4f}", f"{error.median:.4f}"
