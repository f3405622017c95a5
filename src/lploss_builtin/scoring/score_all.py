"""Scoring all recordings, here or spread over processes or machines."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

from lploss_builtin.scoring.recording import Progress, Recording
from lploss_builtin.scoring.score_recording import (
    RecordingScores,
    RecordingToScore,
    ScoringPlan,
    score_recording,
)
from lploss_builtin.spreading import Outcome, spread


def score_all(
    plan: ScoringPlan,
    tasks: Sequence[RecordingToScore],
    processes: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Generator[Outcome[RecordingScores]]:
    """Score recordings; yield what was found, in their order.

    Args:
        plan: what is the same for all.
        tasks: the recordings.
        processes: of this machine; see `spread`.
        scheduler: of a Dask cluster, which does it instead.
        progress: called while it goes on; with processes or a cluster, when a recording is done.

    Yields:
        How the scoring of each recording ended.
    """
    names = [task.recording.name for task in tasks]
    if scheduler is not None:
        # The workers were started in other folders.
        tasks = [replace(task, recording=_from_anywhere(task.recording)) for task in tasks]
    function = partial(score_recording, plan)
    if scheduler is None and min(processes, len(tasks)) <= 1:
        return spread(partial(function, progress=progress), tasks, names=names, processes=processes)

    def note(outcome: Outcome[RecordingScores]) -> None:
        if progress is not None:
            num_frames = 0 if outcome.error is not None else outcome.result.num_frames
            progress(names[outcome.number], num_frames)

    return spread(
        function,
        tasks,
        names=names,
        processes=processes,
        scheduler=scheduler,
        folder=plan.folder,
        progress=note if progress is not None else None,
    )


def _from_anywhere(recording: Recording) -> Recording:
    """Return a recording whose files are found from any folder."""
    files = recording.files
    return replace(
        recording,
        files={view: _absolute(file) for view, file in files.items()}
        if isinstance(files, Mapping)
        else _absolute(files),
        videos=tuple(map(_absolute, recording.videos)),
    )


def _absolute(path: str | PathLike[str]) -> str:
    return str(Path(path).absolute())
