"""The cameras of recordings, and the points in space that several views see together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from lploss.errors import ArgumentValueError, DataError, did_you_mean
from lploss_builtin.data.cameras.calibration import find_calibration, read_calibration
from lploss_builtin.data.cameras.view_names import simplified
from lploss_builtin.data.findings import Findings
from lploss_builtin.data.frames.images import read_image_sizes
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.project.project_cameras import check_image_sizes
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_views
from lploss_builtin.predicting.recording_plan import Recording


def with_cameras(
    recording: Recording,
    given: Path | None = None,
    data_folder: Path | None = None,
    of_data: Path | None = None,
) -> tuple[Recording, tuple[str, ...]]:
    """Return a recording of several views with the cameras of its sessions.

    Args:
        recording: what is predicted.
        given: the calibration of all recordings; else cameras are looked for beside the frames.
        data_folder: folder of the project that the model was trained with; looked through next.
        of_data: a calibration of all sessions that its config names.

    Returns:
        The recording, and notes on calibrations that cannot be used.

    Raises:
        ArgumentValueError: a calibration is given, and the recording has a single view.
        DataError: the given calibration cannot be used, or its cameras are not those of the views.
    """
    if len(recording.views) < 2:
        if given is not None:
            raise ArgumentValueError(
                f"{recording.name}: a calibration is of use only where there are several views, "
                f"got {recording.views[0] or 'one without a name'}. Leave out --calibration."
            )
        return recording, ()
    cameras: dict[str, Cameras] = {}
    notes = []
    folders = _folders(recording) + ([data_folder] if data_folder else [])
    for session in dict.fromkeys(recording.sessions or (recording.name,)):
        path = given or _calibration_in(folders, session) or of_data
        if path is None:
            continue
        try:
            cameras[session] = _cameras(recording, path, session)
        except DataError as error:
            if given is not None:
                raise
            notes.append(f"{session}: no points in space: {error}")
    return replace(recording, cameras=cameras), tuple(notes)


def _folders(recording: Recording) -> list[Path]:
    """Return where a calibration may be.

    Of images that is where their paths start; of videos beside them, and in the folder around that.
    """
    folders = []
    for view, source in zip(recording.views, recording.sources, strict=True):
        if source.folder is not None:
            folders.append(source.folder)
            continue
        folder = source.path.absolute().parent
        # Of a bare view, the folder is the session.
        if simplified(source.path.stem) == simplified(view):
            folders.append(folder)
            folder = folder.parent
        folders += [folder, folder.parent]
    return folders


def _calibration_in(folders: Sequence[Path], session: str) -> Path | None:
    """Return the calibration of a session in the first of some folders that has one."""
    for folder in dict.fromkeys(folders):
        try:
            return find_calibration(folder, session)
        except DataError:
            continue
    return None


def _cameras(recording: Recording, path: Path, session: str) -> Cameras:
    """Return the cameras of a session, checked against the first frame of each view.

    Raises:
        DataError: the calibration cannot be used, or its cameras are not those of the views.
    """
    cameras = read_calibration(path)
    names = cameras.names or ()
    for view in recording.views:
        if view not in names:
            raise DataError(
                f"{path}: there is no camera {view!r}.{did_you_mean(view, names)} Its cameras are "
                f"{', '.join(names)}"
            )
    cameras = cameras.select(recording.views)
    frames = [number for number, own in enumerate(recording.sessions) if own == session] or [0]
    first = [(source, _first_image(source, frames)) for source in recording.sources]
    findings = Findings()
    check_image_sizes(
        {session: cameras},
        [session],
        [[source.image(frame) for source, frame in first]],
        np.array([[_original_size(source, frame) for source, frame in first]], dtype=np.float64),
        [source.are_cut_out for source, _ in first],
        findings,
    )
    if problems := findings.problems():
        raise DataError(problems)
    return cameras


def _first_image(source: FrameSource, frames: Sequence[int]) -> int:
    """Return the first of the frames whose image is there; the very first where none is."""
    listed = (frame for frame in frames if frame not in source.unlisted)
    return next((frame for frame in listed if source.image(frame).is_file()), frames[0])


def _original_size(source: FrameSource, frame: int) -> tuple[float, float]:
    """Return height and width of the original image, or the least that it has; 0: not known."""
    if source.are_cut_out and source.boxes is not None:
        x, y, height, width = np.nan_to_num(source.boxes[frame % len(source.boxes)]).tolist()
        return y + height, x + width
    if source.height:
        return source.height, source.width
    size = read_image_sizes([source.image(frame)])[source.image(frame)]
    return size if isinstance(size, tuple) else (0.0, 0.0)


def note_on_cameras(recordings: Sequence[Recording], calibrated: Iterable[str]) -> str:
    """Return a note on recordings of which there is no calibration, as there is of others.

    Args:
        recordings: the recordings.
        calibrated: names of those that have a calibration, also one that cannot be used.

    Returns:
        The note; empty where all are alike.
    """
    known = set(calibrated)
    with_cameras = [own.name for own in recordings if own.cameras]
    without = [own.name for own in recordings if own.name not in known and len(own.views) > 1]
    if not with_cameras or not without:
        return ""
    return (
        f"{', '.join(without)}: no points in space: there is no calibration, as there is of "
        f"{with_cameras[0]}"
    )


class PointsInSpace(NamedTuple):
    """Where keypoints are in space.

    Attributes:
        points: in the unit of the calibration; NaN where nothing is known.
        errors: how far the predictions are from there, mean of the views, px.
    """

    points: Float64[Tensor, "frames num_keypoints 3"]
    errors: Float64[Tensor, "frames num_keypoints"]


def points_in_space(
    keypoints: Float64[Tensor, "frames views num_keypoints 2"],
    confidences: Float64[Tensor, "frames views num_keypoints"],
    sessions: Sequence[str],
    cameras: Mapping[str, Cameras],
) -> PointsInSpace:
    """Return where all views together put the keypoints, each weighted by its confidence.

    Args:
        keypoints: px in the images of the cameras.
        confidences: 0 to 1; of a model that cannot tell, whose are NaN, all views count alike.
        sessions: session of each frame.
        cameras: those of each session that is calibrated.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> poses = torch.eye(3, 4).repeat(2, 1, 1)
        >>> poses[1, 0, 3] = -1.0
        >>> cameras = Cameras(pinhole.expand(2, 3, 3), poses).to(torch.float64)
        >>> keypoints = torch.tensor([[[[320.0, 240.0]], [[220.0, 240.0]]]]).double()
        >>> found = points_in_space(keypoints, torch.ones(1, 2, 1).double(), ["a"], {"a": cameras})
        >>> found.points.round(decimals=3).abs()
        tensor([[[0., 0., 5.]]], dtype=torch.float64)
    """
    frames, _, num_keypoints, _ = keypoints.shape
    points = keypoints.new_full((frames, num_keypoints, 3), math.nan)
    errors = keypoints.new_full((frames, num_keypoints), math.nan)
    cannot_tell = confidences.isnan() & keypoints.isfinite().all(dim=-1)
    weights = torch.where(cannot_tell, 1.0, confidences)
    for session in dict.fromkeys(sessions):
        if session not in cameras:
            continue
        own = torch.tensor([other == session for other in sessions])
        found = triangulate_views(keypoints[own], cameras[session], weights[own])
        seen = project_points(found, cameras[session])
        distances = torch.linalg.vector_norm(seen - keypoints[own], dim=-1)
        points[own], errors[own] = found, distances.nanmean(dim=1)
    return PointsInSpace(points, errors)
