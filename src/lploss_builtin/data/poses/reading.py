"""Reading predictions and labels, whatever tool they come from.

===============  ============================================================================
``.csv``         DeepLabCut and Lightning Pose: header rows scorer, bodyparts, coords
``.h5``          tables of DeepLabCut, of the same three levels; analysis files of SLEAP
``.parquet``     as pandas writes a table of the same three levels
``.slp``         SLEAP, where sleap-io is installed
===============  ============================================================================

Each file holds one animal; coordinates are in px. The files of several views of it, one a view,
can be read as if they were one: see `KeypointViews`. Likelihoods are checked, see `CheckedSource`,
and a keypoint whose column ``visible`` holds 0 is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lploss.errors import ArgumentValueError, DataError
from lploss.reading import check_file, reading
from lploss_builtin.data.poses.csv_file import CsvSource
from lploss_builtin.data.poses.hdf_file import open_hdf
from lploss_builtin.data.poses.parquet_file import ParquetSource
from lploss_builtin.data.poses.sleap_file import SleapSource
from lploss_builtin.data.poses.source import CheckedSource, KeypointSource
from lploss_builtin.data.poses.table import KeypointHeader, KeypointTable
from lploss_builtin.data.poses.views import KeypointViews

#: A file; or, for each view of a recording, its file.
KeypointFiles: TypeAlias = str | PathLike[str] | Mapping[str, str | PathLike[str]]

_SOURCES: dict[str, Callable[[Path], KeypointSource]] = {
    ".csv": CsvSource,
    ".h5": open_hdf,
    ".hdf5": open_hdf,
    ".parquet": ParquetSource,
    ".slp": SleapSource,
}

_READ_AT_ONCE = 65536


def read_header(files: KeypointFiles) -> KeypointHeader:
    """Read and check what a file, or the files of several views, say before the first frame.

    Raises:
        DataError: the file is missing, or no file of keypoints.
        MissingDependencyError: the format needs a package that is not installed.
    """
    return _open(files).header


def read_keypoints(files: KeypointFiles) -> KeypointTable:
    r"""Read a whole file, or those of several views.

    Args:
        files: a file of predictions or labels, or one for each view.

    Returns:
        All its frames.

    Raises:
        DataError: the file is missing or malformed; the message names line and keypoint.
        MissingDependencyError: the format needs a package that is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels.csv")
        >>> _ = path.write_text(
        ...     "scorer,rick,rick\nbodyparts,nose,nose\ncoords,x,y\nimg0.png,1.5,2\n"
        ... )
        >>> table = read_keypoints(path)
        >>> table.keypoint_names, table.frames, table.keypoints
        (('nose',), array(['img0.png'], dtype=object), array([[1.5, 2. ]]))
    """
    source = _open(files)
    frames, keypoints, confidences = zip(*source.blocks(_READ_AT_ONCE), strict=True)
    return KeypointTable(
        source.header.path,
        source.header.pose_names.flat,
        np.concatenate(frames),
        np.concatenate(keypoints),
        np.concatenate(confidences) if source.header.has_confidences else None,
        notes=source.notes,
    )


def iter_keypoints(
    files: KeypointFiles, max_frames: int, num_previous_frames: int = 0
) -> Iterator[KeypointTable]:
    """Read a file, or those of several views, piece by piece, in memory that does not grow.

    A ``.slp`` file is read as a whole.

    Args:
        files: a file of predictions or labels, or one for each view.
        max_frames: most frames of a piece, at least 1.
        num_previous_frames: how many frames of the pieces before stand again at the start of a
            piece, so that what looks at consecutive frames misses none; at least 0.

    Yields:
        Tables of at most ``max_frames`` frames, the repeated ones not counted.

    Raises:
        ArgumentValueError: ``max_frames`` or ``num_previous_frames`` is too small.
        DataError: the file is missing or malformed; the message names line and keypoint.
        MissingDependencyError: the format needs a package that is not installed.
    """
    if max_frames < 1 or num_previous_frames < 0:
        raise ArgumentValueError(
            "max_frames must be at least 1 and num_previous_frames at least 0, "
            f"got {max_frames} and {num_previous_frames}"
        )
    source = _open(files)
    kept: KeypointTable | None = None
    for frames, keypoints, confidences in source.blocks(max_frames):
        num_kept = 0
        if kept is not None:
            num_kept = min(num_previous_frames, len(kept.frames))
            before = slice(len(kept.frames) - num_kept, None)
            frames = np.concatenate([kept.frames[before], frames])
            keypoints = np.concatenate([kept.keypoints[before], keypoints])
            if confidences is not None and kept.confidences is not None:
                confidences = np.concatenate([kept.confidences[before], confidences])
        kept = KeypointTable(
            source.header.path,
            source.header.pose_names.flat,
            frames,
            keypoints,
            confidences,
            num_kept,
            source.notes,
        )
        yield kept


def _open(files: KeypointFiles) -> KeypointSource:
    if isinstance(files, Mapping):
        return KeypointViews({view: _open(path) for view, path in files.items()})
    path = Path(files)
    suffix = path.suffix.lower()
    if suffix not in _SOURCES:
        raise DataError(
            f"{path}: keypoint files end in {', '.join(_SOURCES)}, not in {path.suffix!r}"
        )
    check_file(path)
    with reading(path):
        return CheckedSource(_SOURCES[suffix](path))
