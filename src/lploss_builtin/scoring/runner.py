"""Scoring files of predictions: reading, evaluating, summarising, writing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from omegaconf import DictConfig

from lploss.config import load_config
from lploss.errors import (
    ArgumentValueError,
    DataError,
    PluginError,
    ProcessError,
    first_line,
)
from lploss.registry import Registry, default_registry
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.poses.reading import read_header, read_poses
from lploss_builtin.data.poses.table import PoseHeader
from lploss_builtin.dependencies import require
from lploss_builtin.output import replaced_files
from lploss_builtin.scoring.keypoint_order import (
    check_same_keypoints,
    common_order,
    labels_in_order,
    with_indices_of,
)
from lploss_builtin.scoring.loss_choice import Material, choose_losses, choose_metrics
from lploss_builtin.scoring.loss_scores import row_of_all
from lploss_builtin.scoring.metric_files import (
    METRIC_FOLDER,
    called_after,
    is_metric_file,
    place_beside,
    place_in_folder,
)
from lploss_builtin.scoring.recording import (
    Progress,
    Recording,
    Recordings,
    calibrated_views,
    holds_points_in_space,
    separate_files,
)
from lploss_builtin.scoring.score_recording import (
    RecordingScores,
    RecordingToScore,
    ScoringPlan,
    score_recording,
)
from lploss_builtin.scoring.score_tables import join_tables
from lploss_builtin.scoring.summary import (
    ScoreRow,
    ScoreSummary,
    short_names,
)
from lploss_builtin.spreading import Outcome, spread

_Path: TypeAlias = str | PathLike[str]

# Its presence means that all other files are complete.
_SUMMARY = "summary.json"

# The other recordings can be scored without this one.
_OF_ONE_RECORDING = (DataError, PluginError, ProcessError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """Options of `score_files`.

    Attributes:
        calibration: the calibrated cameras whose views the files are: see
            `lploss_builtin.data.cameras.calibration.read_calibration`.
        views: the camera of each file; without, it is told by the name of the file.
        labels: a file with labels of at least these keypoints, for losses that are fitted to
            labelled poses, and for those that compare predictions of labelled frames with them.
            With a calibration one for each view, in any order if their names tell the views,
            else in that of the files.
        config: a full config, or its path. Its ``data.keypoint_names`` say what its indices of
            keypoints stand for.
        overrides: ``"section.key=value"``, applied to the config last.
        losses: names of the losses, which must all run. Without: those in
            ``model.losses_to_use``; else, of those in the config's section ``losses``, else of
            all that are registered, those that can run; and metric files of all that can run.
        out: the folder to write to.
        videos: for the pictures: the video of each file, or one for all; of views always that
            of each.
        keep_going: score the other files where one cannot be scored.
        pictures: whether to draw.
        metric_files: whether to write metric files.
        beside: write metric files beside the predictions, instead of into the output folder.
        max_frames: how many frames are evaluated at once, at least 1.
        processes: of this machine, which score the files; see
            `lploss_builtin.spreading.spread`.
        scheduler: address of the scheduler of a Dask cluster, which scores the files instead; its
            workers must see all files and ``out`` under the same names.
    """

    calibration: _Path | None = None
    views: Sequence[str] | None = None
    labels: _Path | Sequence[_Path] | None = None
    config: _Path | Mapping[str, object] | DictConfig | None = None
    overrides: Sequence[str] = ()
    losses: Sequence[str] | None = None
    out: _Path = "lploss-score"
    videos: Sequence[_Path] = ()
    keep_going: bool = False
    pictures: bool = True
    metric_files: bool = True
    beside: bool = False
    max_frames: int = 4096
    processes: int = 1
    scheduler: str | None = None

    @property
    def label_files(self) -> list[_Path]:
        """The label files as a list."""
        if isinstance(self.labels, str | PathLike):
            return [self.labels]
        return list(self.labels or ())


def score_files(
    predictions: Sequence[_Path],
    options: ScoreOptions | None = None,
    *,
    registry: Registry = default_registry,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Evaluate losses on each frame and keypoint of files of predictions.

    The files are read and scored one after the other. Memory hardly grows with their number: the
    percentiles over all files need the values of one loss at once, 4 bytes each. Values are those
    before epsilon is taken off. They go to ``scores.parquet`` and ``scores.csv`` (columns file,
    frame, keypoint, loss, value, valid), their summary to ``summary.json``, pictures to the folder
    ``pictures``, and metric files, one
    for each loss and file of predictions, to the folder ``metric_files``: see
    `lploss_builtin.scoring.metric_files`. All are in ``out``, where nothing appears before
    everything is finished; no other folder is written to unless ``beside`` asks for it. Metric
    files, and files of points in space, are left out where they are among those given.

    The individuals of a file that holds several are scored separately; in tables, each has a file
    ``predictions.csv[name]`` of its own.

    With a calibration, the files are the views of one recording: the same frames and keypoints,
    scored together. In tables its file is one name for all of them, and its keypoints are called
    ``view/keypoint``.

    Args:
        predictions: files of predictions of the same keypoints.
        options: everything else; defaults where it is not given.
        registry: where the losses are looked up.
        progress: called while it goes on.

    Returns:
        The summary.

    Raises:
        DataError: a file cannot be used; nothing is written, unless ``keep_going``.
        ConfigError: the config cannot be used, or a loss cannot be built.
        UnknownLossError: nobody provides a loss.
        PluginError: the code of a loss fails; nothing is written, unless ``keep_going``.
        ArgumentValueError: a file is given twice, the videos are too many or too few, a name of
            a loss is empty, it cannot be told which file is which view, ``max_frames`` is less
            than 1, or ``out`` cannot be written to.
        ProcessError: the process that scored a file was killed again and again, or the cluster is
            not fit; nothing is written, unless ``keep_going`` and it is one file.
        MissingDependencyError: a package is not installed.
    """
    options = options or ScoreOptions()
    files = [str(path) for path in predictions]
    _check_arguments(files, options)
    files, videos, views, notes = _predictions_among(files, options.videos, options.views)
    for module in ("pandas", "pyarrow", "matplotlib"):
        require(module, "score", "to score files")
    if options.calibration is not None:
        given = calibrated_views(files, options.label_files, videos, options.calibration, views)
    elif views is None:
        given = separate_files(files, options.label_files, videos)
    else:
        raise ArgumentValueError(f"views, here {', '.join(views)}, need a calibration")
    headers, failed = _headers(given.recordings, options.keep_going)
    for video in dict.fromkeys(videos):
        notes += frame_source(Path(video)).notes
    plan, left_out, more_notes = _plan(given, headers, options, registry)
    notes += [*given.notes, *more_notes]
    recordings = [
        individual
        for recording in given.recordings
        if recording.name in headers
        for individual in recording.split(headers[recording.name].individuals)
    ]
    names = short_names([recording.name for recording in recordings])
    called = called_after(recordings)
    tasks = [
        RecordingToScore(
            number,
            recording,
            names[recording.name],
            called[number] if options.metric_files else None,
        )
        for number, recording in enumerate(recordings)
    ]
    out = Path(options.out)
    earlier = _earlier_files(out)
    inputs = [*files, *options.label_files, *videos, options.calibration, options.config]
    kept = [Path(own) for own in inputs if isinstance(own, str | PathLike)]
    with replaced_files(out, last=_SUMMARY) as staged, ExitStack() as stack:
        folder = staged.folder
        in_work = folder.absolute() / "in_work"
        in_work.mkdir()
        plan = replace(plan, folder=in_work, keep_values=len(tasks) > 1)
        parts: list[RecordingScores] = []
        with closing(_score_all(plan, tasks, options, progress)) as outcomes:
            for outcome in outcomes:
                if outcome.error is None:
                    parts.append(outcome.result)
                elif options.keep_going and isinstance(outcome.error, _OF_ONE_RECORDING):
                    failed[tasks[outcome.number].recording.name] = str(outcome.error)
                else:
                    raise outcome.error
        if not parts:
            raise _cannot_be_scored(failed)
        notes += [note for part in parts for note in part.notes]
        rows = [row for part in parts for row in part.rows]
        rows += [_total(parts, number) for number in range(len(plan.losses))]
        join_tables([part.tables for part in parts], folder)
        written = [file for part in parts for file in part.metric_files]
        if options.beside:
            placed, more_notes = place_beside(written, staged, out, stack, kept)
            notes += more_notes
        else:
            placed = place_in_folder(written, staged, out)
        for part in parts:
            shutil.copytree(part.files, folder, copy_function=os.replace, dirs_exist_ok=True)
        # With what processes have left that were killed.
        shutil.rmtree(in_work)
        summary = ScoreSummary(
            rows=tuple(rows),
            left_out=left_out,
            failed=failed,
            notes=tuple(notes),
            out=out,
            pictures=tuple(
                path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))
            ),
            views=tuple(row for part in parts for row in part.views),
            metric_files=tuple(placed),
        )
        (folder / _SUMMARY).write_text(summary.to_json(), encoding="utf-8")
        staged.outdated.update(earlier)
        if options.beside:
            # The metric files beside the predictions appear before the files of this folder.
            (out / _SUMMARY).unlink(missing_ok=True)
    return summary


def _plan(
    given: Recordings,
    headers: Mapping[str, PoseHeader],
    options: ScoreOptions,
    registry: Registry,
) -> tuple[ScoringPlan, Mapping[str, str], Sequence[str]]:
    """Return which losses are evaluated on what, why the others are not, and notes on labels."""
    full = load_config(options.config, options.overrides)
    names = common_order(next(iter(headers.values())), full)
    labels = None
    if given.labels is not None:
        labels = labels_in_order(read_poses(given.labels), names.flat)
    frames_are_numbers = all(header.frames_are_numbers for header in headers.values())
    material = Material(
        names,
        with_indices_of(full, names),
        labels,
        has_confidences=all(header.has_confidences for header in headers.values()),
        has_targets=labels is not None and not frames_are_numbers,
        registry=registry,
        cameras=given.cameras,
    )
    chosen, left_out = choose_losses(material, options.losses)
    metric_losses = chosen
    if options.losses is None:
        written = options.metric_files
        metric_losses, left_out = choose_metrics(material, chosen, left_out, written=written)
    plan = ScoringPlan(
        chosen,
        names,
        metric_losses,
        given.cameras,
        labels if material.has_targets else None,
        options.max_frames,
        frames_are_numbers,
        pictures=options.pictures,
    )
    plan.label_rows()  # says what is wrong with the labels
    return plan, left_out, labels.notes if labels else ()


def _score_all(
    plan: ScoringPlan,
    tasks: Sequence[RecordingToScore],
    options: ScoreOptions,
    progress: Progress | None,
) -> Generator[Outcome[RecordingScores]]:
    """Score recordings here, in processes or on a cluster; yield the outcomes in their order."""
    names = [task.recording.name for task in tasks]
    if options.scheduler is not None:
        # The workers were started in other folders.
        tasks = [replace(task, recording=task.recording.from_anywhere()) for task in tasks]
    if options.scheduler is None and min(options.processes, len(tasks)) <= 1:
        here = partial(score_recording, plan, progress=progress)
        return spread(here, tasks, names=names, processes=options.processes)

    def note(outcome: Outcome[RecordingScores]) -> None:
        if progress is not None:
            num_frames = 0 if outcome.error is not None else outcome.result.num_frames
            progress(names[outcome.number], num_frames)

    return spread(
        partial(score_recording, plan),
        tasks,
        names=names,
        processes=options.processes,
        scheduler=options.scheduler,
        folder=plan.folder,
        progress=note if progress is not None else None,
    )


def _total(parts: Sequence[RecordingScores], number: int) -> ScoreRow:
    """Return the statistics of a loss, by its number, over all recordings."""
    rows = [part.rows[number] for part in parts]
    if len(rows) == 1:
        return replace(rows[0], file=None)
    return row_of_all(rows, (part.values(number) for part in parts))


def _check_arguments(files: Sequence[str], options: ScoreOptions) -> None:
    losses = options.losses
    if not files:
        raise ArgumentValueError("give at least one file of predictions")
    spellings: dict[Path, str] = {}
    for file in files:
        earlier = spellings.setdefault(Path(file).resolve(), file)
        if earlier != file:
            raise ArgumentValueError(f"the file {earlier} is given twice, also as {file}")
        if files.count(file) > 1:
            raise ArgumentValueError(f"the file {file} is given twice")
    if options.max_frames < 1:
        raise ArgumentValueError(f"max_frames must be at least 1, got {options.max_frames}")
    if losses is not None and (not losses or "" in losses):
        raise ArgumentValueError(
            "losses must be names of losses, separated by single commas on the command line; got "
            f"{', '.join(map(repr, losses)) or 'none'}. Leave them out for what the config asks "
            "for, or all."
        )


def _predictions_among(
    files: Sequence[str], videos: Sequence[_Path], views: Sequence[str] | None
) -> tuple[list[str], Sequence[_Path], Sequence[str] | None, list[str]]:
    """Leave out what lies beside predictions, with what goes with each file; say what."""
    other = [_what_else(Path(file)) for file in files]
    notes = [
        f"{file}: left out; it {what}" for file, what in zip(files, other, strict=True) if what
    ]
    if all(other):
        raise DataError("\n".join(notes))
    keep = [number for number, what in enumerate(other) if not what]
    if len(videos) == len(files) > 1:
        videos = [videos[number] for number in keep]
    if views is not None and len(views) == len(files):
        views = [views[number] for number in keep]
    return [files[number] for number in keep], videos, views, notes


def _what_else(path: Path) -> str:
    """Return what a file is that lies beside predictions; nothing where it may be predictions."""
    if is_metric_file(path):
        return "is a metric file, not one of predictions"
    if holds_points_in_space(path):
        return "holds points in space, not the keypoints of a view"
    return ""


def _earlier_files(out: Path) -> set[str]:
    """Return the files that an earlier scoring left there, which would be taken for new ones."""
    try:
        summary = json.loads((out / _SUMMARY).read_text(encoding="utf-8"))
        listed = {*summary["pictures"]}
        listed |= {f"{METRIC_FOLDER}/{Path(path).name}" for path in summary.get("metric_files", ())}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{out / _SUMMARY}, which lists the files of an earlier scoring, is damaged "
            f"({first_line(error)}). Remove it, or name another output folder."
        ) from error
    found = {
        path.relative_to(out).as_posix()
        for folder, pattern in (("pictures", "*.png"), (METRIC_FOLDER, "*.csv"))
        for path in (out / folder).rglob(pattern)
    }
    return found & listed


def _headers(
    recordings: Sequence[Recording], keep_going: bool
) -> tuple[dict[str, PoseHeader], dict[str, str]]:
    """Return the headers of the recordings that can be used; and why the others cannot."""
    headers: dict[str, PoseHeader] = {}
    failed: dict[str, str] = {}
    for recording in recordings:
        try:
            header = read_header(recording.files)
            if headers:
                check_same_keypoints(header, next(iter(headers.values())).keypoint_names)
        except DataError as error:
            failed[recording.name] = str(error)
        else:
            headers[recording.name] = header
    if failed and not (keep_going and headers):
        raise _cannot_be_scored(failed)
    return headers, failed


def _cannot_be_scored(failed: Mapping[str, str]) -> DataError:
    if len(failed) == 1:
        return DataError(next(iter(failed.values())))
    return DataError(f"{len(failed)} files cannot be scored:\n" + "\n".join(failed.values()))
