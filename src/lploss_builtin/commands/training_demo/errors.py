"""How far predictions are from the truth."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from lploss_builtin.commands.training_demo.held_out import HeldOut
from lploss_builtin.commands.training_demo.predictors import Predicted
from lploss_builtin.data.label_files import OCCLUDED, VISIBLE

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


def failed_camera(predicted: Predicted, held_out: HeldOut, view: int | None) -> FailedCamera:
    """Return how far off predictions without a camera are.

    Args:
        predicted: made without the camera.
        held_out: the truth.
        view: number of the camera; ``None``: none is missing.
    """
    names = held_out.project.view_names
    left = [number for number in range(len(names)) if number != view]
    unseen = distances_between(predicted.reprojected, held_out.keypoints)
    return FailedCamera(
        "" if view is None else names[view],
        error_of(distances_between(predicted.keypoints, held_out.keypoints[:, left])),
        error_of(unseen if view is None else unseen[:, view]),
        error_of(distances_between(predicted.points, held_out.points)),
    )


def write_errors(path: Path, predictors: Sequence[Predicted], held_out: HeldOut) -> None:
    """Write how far off each predictor is in each view, of each keypoint, visible and occluded.

    The columns are ``predictor, view, keypoint, visibility, num, mean_px, median_px``; see
    `errors_by_part`.
    """
    rows = (
        (predicted.name, *part, *_cells(error))
        for predicted in predictors
        for part, error in errors_by_part(predicted, held_out).items()
    )
    head = ("predictor", "view", "keypoint", "visibility", "num", "mean_px", "median_px")
    _write(path, head, rows)


def write_errors_in_space(path: Path, predictors: Sequence[Predicted], held_out: HeldOut) -> None:
    """Write how far off each predictor is in space, of each keypoint.

    The columns are ``predictor, keypoint, num, mean_mm, median_mm``.
    """
    rows = (
        (predicted.name, keypoint, *_cells(error_of(distances[:, columns])))
        for predicted in predictors
        for distances in [distances_between(predicted.points, held_out.points)]
        for keypoint, columns in _parts(held_out.project.keypoint_names)
    )
    _write(path, ("predictor", "keypoint", "num", "mean_mm", "median_mm"), rows)


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


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
