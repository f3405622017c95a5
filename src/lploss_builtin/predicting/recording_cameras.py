"""The cameras of recordings, where some are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lploss.errors import ArgumentValueError, DataError, did_you_mean
from lploss_builtin.data.cameras.calibration import find_calibration, read_calibration
from lploss_builtin.data.findings import Findings
from lploss_builtin.data.frames.images import read_image_sizes
from lploss_builtin.data.project.project_cameras import check_image_sizes
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.predicting.find_recordings import Recording, ViewImages


def with_given_cameras(recordings: Iterable[Recording], calibration: Path) -> tuple[Recording, ...]:
    """Return the recordings with the cameras of one calibration.

    Raises:
        ArgumentValueError: a recording has a single view.
        DataError: the calibration cannot be used, or its cameras are not those of the views.
    """
    found = []
    for recording in recordings:
        if len(recording.views) < 2:
            raise only_one_view(recording.name, recording.views[0].view)
        cameras = {
            session: _cameras(recording, calibration, session)
            for session in dict.fromkeys(recording.sessions)
        }
        found.append(replace(recording, cameras=cameras))
    return tuple(found)


def with_found_cameras(
    recordings: Iterable[Recording],
    data_folder: Path | None = None,
    calibration_of_data: Path | None = None,
) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    """Return the recordings of several views with the cameras that are found for their sessions.

    They are looked for beside the images, then in the folder of the project that the model was
    trained with.

    Args:
        recordings: what is predicted.
        data_folder: folder of that project.
        calibration_of_data: a calibration of all its sessions that its config names.

    Returns:
        The recordings, and notes on calibrations that cannot be used.
    """
    found, notes = [], []
    for recording in recordings:
        cameras: dict[str, Cameras] = {}
        folders = [own.folder for own in recording.views] + ([data_folder] if data_folder else [])
        for session in dict.fromkeys(recording.sessions):
            path = find_calibration_in(folders, session) or calibration_of_data
            if path is None or len(recording.views) < 2:
                continue
            try:
                cameras[session] = _cameras(recording, path, session)
            except DataError as error:
                notes.append(f"{session}: no points in space: {error}")
        found.append(replace(recording, cameras=cameras))
    return tuple(found), tuple(notes)


def _cameras(recording: Recording, path: Path, session: str) -> Cameras:
    """Return the cameras of a session, checked against the first image of each view."""
    frames = [number for number, own in enumerate(recording.sessions) if own == session]
    first = [_first_image(own, frames) for own in recording.views]
    images = [own.path(frame) for own, frame in zip(recording.views, first, strict=True)]
    sizes = read_image_sizes(images)
    return cameras_of_views(
        path,
        session,
        [own.view for own in recording.views],
        images,
        [
            _original_size(own, frame, sizes[image])
            for own, frame, image in zip(recording.views, first, images, strict=True)
        ],
        [own.are_cut_out for own in recording.views],
    )


def cameras_of_views(
    path: Path,
    session: str,
    views: Sequence[str],
    images: Sequence[Path],
    sizes: Sequence[tuple[float, float]],
    are_cut_out: Sequence[bool],
) -> Cameras:
    """Return the cameras of some views, checked against their images.

    Args:
        path: the calibration.
        session: whose it is.
        views: names of the views.
        images: an image, or the video, of each view.
        sizes: height and width of each, px; of one that was cut out of a larger frame the least
            that this frame has. 0 where it is not known.
        are_cut_out: whether each was cut out of larger frames.

    Raises:
        DataError: the calibration cannot be used, or its cameras are not those of the views.
    """
    cameras = read_calibration(path)
    names = cameras.names or ()
    for view in views:
        if view not in names:
            raise DataError(
                f"{path}: there is no camera {view!r}.{did_you_mean(view, names)} Its cameras are "
                f"{', '.join(names)}"
            )
    cameras = cameras.select(views)
    findings = Findings()
    check_image_sizes(
        {session: cameras},
        [session],
        [images],
        np.array([sizes], dtype=np.float64),
        are_cut_out,
        findings,
    )
    if problems := findings.problems():
        raise DataError(problems)
    return cameras


def only_one_view(name: str, view: str) -> ArgumentValueError:
    """Return the error for a calibration that is given for a single view."""
    return ArgumentValueError(
        f"{name}: a calibration is of use only where there are several views, got "
        f"{view or 'one without a name'}. Leave out --calibration."
    )


def find_calibration_in(folders: Sequence[Path], session: str) -> Path | None:
    """Return the calibration of a session in the first of some folders that has one."""
    for folder in dict.fromkeys(folders):
        try:
            return find_calibration(folder, session)
        except DataError:
            continue
    return None


def _first_image(own: ViewImages, frames: Sequence[int]) -> int:
    """Return the first of the frames whose image is there; the very first where none is."""
    listed = (frame for frame in frames if frame not in own.unlisted)
    return next((frame for frame in listed if own.path(frame).is_file()), frames[0])


def _original_size(
    own: ViewImages, frame: int, size: tuple[int, int] | DataError | None
) -> tuple[float, float]:
    """Return height and width of the original image, or the least that it has; 0: not known."""
    if own.are_cut_out and own.boxes is not None:
        x, y, height, width = np.nan_to_num(own.boxes[frame]).tolist()
        return y + height, x + width
    return size if isinstance(size, tuple) else (0.0, 0.0)
