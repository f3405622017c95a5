"""Reading predictions and labels, whatever tool they come from.

===============  ============================================================================
``.csv``         DeepLabCut and Lightning Pose: header rows scorer, bodyparts, coords
``.h5``          tables of DeepLabCut, of the same three levels; analysis files of SLEAP
``.parquet``     as pandas writes a table of the same three levels
``.slp``         SLEAP, where sleap-io is installed
===============  ============================================================================

Coordinates are in px. Files may hold several individuals: on a level ``individuals`` after the
scorer, as DeepLabCut writes it, or as tracks of SLEAP. A keypoint whose column ``visible`` holds 0
is missing.

Likelihoods are brought into the range from 0 to 1. A point without one gets 1: a person has
corrected it, or its model gives none. Likelihoods outside the range by at most 0.1, such as those
that SLEAP interpolates, become 0 or 1. If a likelihood is further outside, the point cannot be
trusted: its coordinates and its likelihood become missing. Notes count both cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Shaped

from lploss.errors import DataError
from lploss.reading import check_file, reading
from lploss_builtin.data.cameras.view_names import session_of, side_by_side
from lploss_builtin.data.poses.csv_file import read_csv
from lploss_builtin.data.poses.hdf_file import read_hdf
from lploss_builtin.data.poses.parquet_file import read_parquet
from lploss_builtin.data.poses.sleap_file import read_sleap
from lploss_builtin.data.poses.table import PoseHeader, PoseNames, PoseTable, name_differences

#: A file; or, for each view of a recording, its file.
PoseFiles: TypeAlias = str | PathLike[str] | Mapping[str, str | PathLike[str]]

_READERS: dict[str, Callable[[Path, int | None], PoseTable]] = {
    ".csv": read_csv,
    ".h5": read_hdf,
    ".hdf5": read_hdf,
    ".parquet": read_parquet,
    ".slp": read_sleap,
}
# How far outside 0 to 1 a likelihood may be: interpolated peaks of SLEAP reach 1.02 and more.
_TOLERANCE = 0.1
_SAME_FRAMES = "The files of a recording's views must hold the same frames in the same order."


def read_header(files: PoseFiles) -> PoseHeader:
    """Read and check what a file, or the files of several views, say up to the first frame.

    Raises:
        DataError: the file is missing, or no file of poses; or the views do not hold the same
            keypoints and individuals, or frames of different kinds.
        MissingDependencyError: the format needs a package that is not installed.
    """
    tables = _tables(files, max_frames=1)
    first = next(iter(tables.values()))
    return PoseHeader(
        _path_of(tables),
        first.keypoints,
        all(table.confidences is not None for table in tables.values()),
        first.frames_are_numbers,
        tuple(tables) if isinstance(files, Mapping) else (),
        first.individuals,
    )


def read_poses(files: PoseFiles) -> PoseTable:
    r"""Read a whole file, or those of several views.

    The table of several views holds all keypoints of the first view, then of the second, and so on,
    called ``view/keypoint``. Where frames are images, each view has a folder of its own,
    ``labeled-data/<session>_<view>``; the frame is then called ``<session>/<image>``.

    Args:
        files: a file of predictions or labels, or one for each view.

    Returns:
        All its frames.

    Raises:
        DataError: the file is missing or malformed, which the message names with line and keypoint;
            or the views do not belong together.
        MissingDependencyError: the format needs a package that is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels.csv")
        >>> _ = path.write_text(
        ...     "scorer,rick,rick\nbodyparts,nose,nose\ncoords,x,y\nimg0.png,1.5,2\n"
        ... )
        >>> table = read_poses(path)
        >>> table.keypoints, table.frames, table.points.tolist()
        (('nose',), array(['img0.png'], dtype=object), [[[[1.5, 2.0]]]])
    """
    tables = _tables(files)
    return _side_by_side(tables) if isinstance(files, Mapping) else next(iter(tables.values()))


def _tables(files: PoseFiles, max_frames: int | None = None) -> dict[str, PoseTable]:
    """Read the file of each view; they hold the same keypoints and individuals, in one order."""
    views = files if isinstance(files, Mapping) else {"": files}
    tables = {view: _read(Path(path), max_frames) for view, path in views.items()}
    first = next(iter(tables.values()))
    for view, table in tables.items():
        for what, names, expected in (
            ("keypoints", table.keypoints, first.keypoints),
            ("individuals", table.individuals, first.individuals),
        ):
            if differences := name_differences(names, expected):
                raise DataError(
                    f"{table.path}: its {what} are not those of {first.path}: {differences}. "
                    f"The views of a recording must hold the same {what}."
                )
        if table.frames_are_numbers != first.frames_are_numbers:
            kinds = {True: "numbers", False: "images"}
            raise DataError(
                f"{table.path}: its frames are {kinds[table.frames_are_numbers]}, those of "
                f"{first.path} are {kinds[first.frames_are_numbers]}. {_SAME_FRAMES}"
            )
        tables[view] = table.select(first.keypoints).select_individuals(first.individuals)
    return tables


def _read(path: Path, max_frames: int | None) -> PoseTable:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(
            f"{path}: keypoint files end in {', '.join(_READERS)}, not in {path.suffix!r}"
        )
    check_file(path)
    with reading(path):
        return _with_checked_likelihoods(_READERS[suffix](path, max_frames))


def _with_checked_likelihoods(table: PoseTable) -> PoseTable:
    """Return the table with likelihoods from 0 to 1, and a note on those that were not."""
    if table.confidences is None:
        return table
    confidences = table.confidences
    is_there = np.isfinite(table.points).all(axis=-1)
    # NaN is neither outside nor inside.
    is_outside = is_there & ((confidences < 0.0) | (confidences > 1.0))
    is_far = (confidences < -_TOLERANCE) | (confidences > 1.0 + _TOLERANCE)
    is_unusable = is_there & is_far
    parts = []
    if clipped := _counts(table, is_outside & ~is_unusable):
        parts.append(f"Those within {_TOLERANCE} of it were set to 0 or 1: {clipped}.")
    if unusable := _counts(table, is_unusable):
        parts.append(
            f"Points whose likelihood is further outside count as missing: {unusable}. Correct "
            "the file; divide likelihoods in percent by 100."
        )
    confidences = np.where(is_unusable, np.nan, np.clip(confidences, 0.0, 1.0))
    confidences[is_there & ~is_unusable & np.isnan(confidences)] = 1.0
    table.points[is_unusable] = np.nan
    notes = (" ".join([f"{table.path}: likelihoods must be from 0 to 1.", *parts]),)
    return replace(table, confidences=confidences, notes=notes if parts else ())


def _counts(table: PoseTable, chosen: Bool[np.ndarray, "frames individuals num_keypoints"]) -> str:
    """Return how many points of each keypoint are chosen, in words."""
    return ", ".join(
        f"{number} of {(f'{individual}/{keypoint}' if individual else keypoint)!r}"
        for individual, numbers in zip(table.individuals, chosen.sum(axis=0), strict=True)
        for keypoint, number in zip(table.keypoints, numbers.tolist(), strict=True)
        if number
    )


def _path_of(tables: Mapping[str, PoseTable]) -> Path:
    return Path(side_by_side([str(table.path) for table in tables.values()]))


def _side_by_side(views: Mapping[str, PoseTable]) -> PoseTable:
    """Return the views of a recording as one table."""
    tables = list(views.values())
    shortest = min(tables, key=lambda table: len(table.frames))
    num_frames = len(shortest.frames)
    frames = _common_frames(views, num_frames)
    for table in tables:
        if len(table.frames) > num_frames:
            raise DataError(
                f"{shortest.path} ends after {num_frames} frames, {table.path} goes on with "
                f"frame {table.frames[num_frames]}. {_SAME_FRAMES}"
            )
    confidences = [table.confidences for table in tables if table.confidences is not None]
    return PoseTable(
        np.concatenate([table.points for table in tables], axis=2),
        np.concatenate(confidences, axis=2) if len(confidences) == len(tables) else None,
        None,
        frames,
        tables[0].individuals,
        PoseNames(tables[0].keypoints, tuple(views)).flat,
        _path_of(views),
        tuple(note for table in tables for note in table.notes),
    )


def _common_frames(views: Mapping[str, PoseTable], num: int) -> Shaped[np.ndarray, "frames"]:
    """Return the first frames by names that all views share."""
    tables = list(views.values())
    first = tables[0].frames[:num]
    if all(np.array_equal(table.frames[:num], first) for table in tables):
        return first
    frames = [_frames(view, table)[:num] for view, table in views.items()]
    for table, own in zip(tables, frames, strict=True):
        different = np.flatnonzero(own != frames[0])
        if different.size:
            at = int(different[0])
            raise DataError(
                f"{table.path}: row {at + 1} is frame {table.frames[at]}, in {tables[0].path} it "
                f"is frame {first[at]}. {_SAME_FRAMES}"
            )
    return frames[0]


def _frames(view: str, table: PoseTable) -> Shaped[np.ndarray, "frames"]:
    if table.frames_are_numbers:
        return table.frames
    names = np.empty(len(table.frames), dtype=object)
    for row, frame in enumerate(table.frames):
        try:
            names[row] = f"{session_of(frame, [view])}/{PurePosixPath(frame).name}"
        except DataError as error:
            raise DataError(
                f"{table.path}: its images are not those of the other views, and which belong "
                f"together cannot be told: {error}"
            ) from error
    return names
