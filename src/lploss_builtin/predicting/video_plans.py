"""Plans of how to predict videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lploss.errors import DataError
from lploss_builtin.data.cameras.session_names import session_and_view
from lploss_builtin.data.cameras.view_names import simplified
from lploss_builtin.data.frames.video_recordings import VideoRecording, find_video_recordings
from lploss_builtin.predicting.crops import Box, box_of_videos, files_by_view
from lploss_builtin.predicting.find_recordings import Recording, wanted_views
from lploss_builtin.predicting.recording_cameras import (
    cameras_of_views,
    find_calibration_in,
    only_one_view,
)
from lploss_builtin.predicting.recording_plan import RecordingPlan, names_of_files


def notes_on_views(
    plans: Iterable[RecordingPlan], videos: Iterable[Path], view_names: Sequence[str]
) -> list[str]:
    """Return notes on recordings that are predicted from some views of the model only.

    Args:
        plans: of the recordings.
        videos: all that were given, those that cannot be read included.
        view_names: the model's views.
    """
    given = {session_and_view(path, view_names) for path in videos} if view_names else set()
    lacking: dict[str, list[str]] = {}
    for plan in plans:
        views_left_out = [view for view in view_names if view not in plan.views]
        broken = [view for view in views_left_out if (plan.name, view) in given]
        absent = [view for view in views_left_out if view not in broken]
        for views, why in (
            (absent, "of which there is no video"),
            (broken, "whose video cannot be read"),
        ):
            if views:
                lacking.setdefault(f"{', '.join(views)}, {why}", []).append(plan.name)
    return _notes(lacking)


def notes_on_images(recordings: Iterable[Recording], view_names: Sequence[str]) -> list[str]:
    """Return notes on recordings of images that are predicted from some views only.

    Args:
        recordings: what is predicted.
        view_names: the model's views.
    """
    lacking: dict[str, list[str]] = {}
    for recording in recordings:
        there = {own.view for own in recording.views}
        if absent := [view for view in view_names if view not in there]:
            what = f"{', '.join(absent)}, of which there are no images"
            lacking.setdefault(what, []).append(recording.name)
    return _notes(lacking)


def _notes(lacking: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{', '.join(names)}: predicted without {what}" for what, names in lacking.items()]


def note_on_cameras(plans: Sequence[RecordingPlan], calibrated: Iterable[str]) -> str:
    """Return a note on recordings of which there is no calibration, as there is of others.

    Args:
        plans: of the recordings.
        calibrated: names of those that have a calibration, also one that cannot be used.

    Returns:
        The note; empty where all are alike.
    """
    known = set(calibrated)
    with_cameras = [plan.name for plan in plans if plan.cameras is not None]
    without = [plan.name for plan in plans if plan.name not in known and len(plan.views) > 1]
    if not with_cameras or not without:
        return ""
    return (
        f"{', '.join(without)}: no points in space: there is no calibration, as there is of "
        f"{with_cameras[0]}"
    )


@dataclass(frozen=True, slots=True)
class PlannedVideos:
    """Which videos are to be predicted.

    Attributes:
        plans: of each recording.
        failed: a line for each file or recording that cannot be predicted.
        notes: what else to know.
    """

    plans: tuple[RecordingPlan, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CameraPlaces:
    """Where the cameras of recordings are.

    Attributes:
        given: the calibration of all recordings.
        data_folder: folder of the project that the model was trained with; looked through after
            the folders of the videos.
        of_data: a calibration of all sessions that its config names.
    """

    given: Path | None = None
    data_folder: Path | None = None
    of_data: Path | None = None


def plan_recordings(
    pattern: RecordingPlan,
    videos: Sequence[Path],
    view_names: Sequence[str],
    *,
    chosen: Sequence[str] | None = None,
    cameras: CameraPlaces | None = None,
    bbox_files: Sequence[Path] = (),
) -> PlannedVideos:
    """Plan how to predict the recordings in some videos.

    Args:
        pattern: a plan with what all recordings share.
        videos: the files; those of several views tell session and view by their names.
        view_names: the model's views; empty where it has one view without a name.
        chosen: which of the views to use; all that are there unless given.
        cameras: where cameras are looked for, beside the folders of the videos.
        bbox_files: a file of bounding boxes for each view.

    Raises:
        ArgumentValueError: a chosen view is none of the model's, it cannot be told which box is
            of which view, or a calibration is given for a single view.
        DataError: a given calibration, or a box, cannot be used; or two recordings would be
            written to the same file.
    """
    wanted = wanted_views(view_names, chosen)
    found = find_video_recordings(
        list(videos), view_names, wanted or None, allow_missing_views=chosen is None
    )
    views = list(dict.fromkeys(view for own in found.recordings for view in own.views))
    boxes = _boxes(bbox_files, views)
    plans, failed, notes = [], list(found.left_out), list(found.notes)
    calibrated: list[str] = []
    for recording in found.recordings:
        if pattern.keep_going:
            recording, more = _with_all_frames(recording)
            # Instead of the note that only the first ones are used.
            differ = f"{recording.name}: its views differ in their number of frames: "
            notes = [note for note in notes if not note.startswith(differ)]
            notes += [more] if more else []
        plan = replace(
            pattern,
            name=recording.name,
            views=recording.views,
            sources=recording.sources,
            files=tuple(names_of_files(recording.name, recording.views, recording.sources)),
            num_frames=recording.num_frames,
        )
        try:
            plan = _with_boxes(plan, boxes)
        except DataError as error:
            failed.append(f"{recording.name}: {error}")
            continue
        plan, more = _with_cameras(plan, cameras or CameraPlaces())
        if more or plan.cameras is not None:
            calibrated.append(plan.name)
        notes += [more] if more else []
        plans.append(plan)
    _check_files(plans)
    if chosen is None:
        notes += notes_on_views(plans, videos, view_names)
    if more := note_on_cameras(plans, calibrated):
        notes.append(more)
    return PlannedVideos(tuple(plans), tuple(failed), tuple(notes))


def _with_all_frames(recording: VideoRecording) -> tuple[VideoRecording, str]:
    """Return the recording with the frames that only some views have, and a note on them."""
    lengths = [source.num_frames for source in recording.sources]
    if len(set(lengths)) == 1:
        return recording, ""
    listed = ", ".join(
        f"{view} {length}" for view, length in zip(recording.views, lengths, strict=True)
    )
    return replace(recording, num_frames=max(lengths)), (
        f"{recording.name}: its views differ in their number of frames: {listed}. The last frames "
        "are predicted from the views that have them"
    )


def _boxes(files: Sequence[Path], views: Sequence[str]) -> dict[str, Box]:
    if not files or not views:
        return {}
    return {view: box_of_videos(file) for view, file in files_by_view(files, views).items()}


def _with_boxes(plan: RecordingPlan, boxes: dict[str, Box]) -> RecordingPlan:
    if not boxes:
        return plan
    own = [
        boxes[view].within(source) for view, source in zip(plan.views, plan.sources, strict=True)
    ]
    return replace(
        plan, crops=tuple(crop for crop, _ in own), offsets=tuple(offset for _, offset in own)
    )


def _with_cameras(plan: RecordingPlan, places: CameraPlaces) -> tuple[RecordingPlan, str]:
    """Return the plan with the cameras of its views, and a note where they cannot be used."""
    if places.given is not None:
        if len(plan.views) < 2:
            raise only_one_view(plan.name, plan.views[0])
        return _calibrated(plan, places.given), ""
    path = find_calibration_in(_folders(plan, places.data_folder), plan.name) or places.of_data
    if path is None or len(plan.views) < 2:
        return plan, ""
    try:
        return _calibrated(plan, path), ""
    except DataError as error:
        return plan, f"{plan.name}: no points in space: {error}"


def _folders(plan: RecordingPlan, data_folder: Path | None) -> list[Path]:
    """Return where a calibration may be: beside the videos, and in the folder around that."""
    folders = []
    for view, source in zip(plan.views, plan.sources, strict=True):
        folder = source.path.absolute().parent
        # Of a bare view, the folder is the session.
        if simplified(source.path.stem) == simplified(view):
            folders.append(folder)
            folder = folder.parent
        folders += [folder, folder.parent]
    return folders + ([data_folder] if data_folder else [])


def _calibrated(plan: RecordingPlan, path: Path) -> RecordingPlan:
    offsets = plan.offsets or ((0.0, 0.0),) * len(plan.sources)
    sizes = [
        (y + source.height, x + source.width)
        for (x, y), source in zip(offsets, plan.sources, strict=True)
    ]
    cameras = cameras_of_views(
        path,
        plan.name,
        plan.views,
        [source.path for source in plan.sources],
        sizes,
        [offset != (0.0, 0.0) for offset in offsets],
    )
    return replace(plan, cameras=cameras)


def _check_files(plans: Iterable[RecordingPlan]) -> None:
    of_files: dict[str, RecordingPlan] = {}
    for plan in plans:
        for file in (*plan.all_files, *plan.video_files):
            earlier = of_files.setdefault(file, plan)
            if earlier is not plan:
                raise DataError(
                    f"{earlier.sources[0].path} and {plan.sources[0].path} would both be written "
                    f"to {file}. Predict them one after the other, each with an --out of its own."
                )
