"""Notes on what single recordings lack: views, and cameras."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lploss_builtin.data.cameras.session_names import session_and_view
from lploss_builtin.predicting.recording import Recording
from lploss_builtin.predicting.recording_plan import RecordingPlan


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
