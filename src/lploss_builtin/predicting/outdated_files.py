"""Files of earlier predictions that would no longer fit to those beside them."""

from __future__ import annotations

from collections.abc import Iterable

from lploss.errors import ArgumentValueError
from lploss_builtin.predicting.recording_plan import (
    RecordingPlan,
    name_of_labelled_video,
)
from lploss_builtin.predicting.recording_state import STATE_FOLDER, RecordingState


def check_nothing_is_outdated(plans: Iterable[RecordingPlan]) -> None:
    """Check that no files of other views, or of cameras, would stay beside the new ones.

    Raises:
        ArgumentValueError: some would; the message names them.
    """
    lines = []
    for plan in plans:
        found = RecordingState(plan.out, plan.name).outdated(plan.all_files)
        if found is None or plan.overwrite:
            continue
        before, now = (", ".join(filter(None, views)) for views in (found.views, plan.views))
        told = f" from {before}, and is now to be from {now}" if before != now else ""
        lines.append(
            f"{plan.name} was predicted before{told}: {', '.join(found.files)} would stay there "
            "and no longer fit"
        )
    if lines:
        raise ArgumentValueError(
            "\n".join(lines) + "\nName another folder by --out, or remove what is outdated by "
            "--overwrite."
        )


def outdated_files(plan: RecordingPlan, state: RecordingState) -> tuple[str, ...]:
    """Return the files that no longer fit once a recording is predicted.

    These are the files of its earlier predictions that are not replaced, and the labelled videos
    of all of them that are not drawn anew.
    """
    found = state.outdated(plan.all_files)
    files = () if found is None else found.files
    videos = dict.fromkeys(name_of_labelled_video(file) for file in (*plan.files, *files))
    drawn = [
        name
        for name in videos
        if name not in plan.video_files and (plan.out / STATE_FOLDER / f"{name}.json").is_file()
    ]
    return (*files, *drawn)
