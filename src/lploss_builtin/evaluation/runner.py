"""Evaluates a training on labelled frames and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lploss.config import plain
from lploss.errors import LplossError, first_line
from lploss.registry import Registry, default_registry
from lploss.specs import LossSpec
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.evaluation.eval_section import EvalTasks, eval_tasks
from lploss_builtin.evaluation.evaluation import MetricRow, TrainingEvaluation, write_rows
from lploss_builtin.evaluation.finished_steps import FinishedSteps, stamps
from lploss_builtin.evaluation.labelled_frames import (
    EvaluatedFrames,
    FramesToEvaluate,
    evaluate_frames,
    frames_of_training,
    further_session,
    labels_of_training,
)
from lploss_builtin.evaluation.videos import (
    FOLDER,
    LABELLED,
    draw_predictions,
    evaluate_videos,
)
from lploss_builtin.output import whole_file
from lploss_builtin.predicting.recording_plan import file_hash
from lploss_builtin.predicting.runner import Progress
from lploss_builtin.training.run import TrainingRun

#: File in the folder of the training with mean and median of each metric.
TABLE = "labelled_metrics.csv"


def evaluate_training(
    run: TrainingRun,
    tasks: EvalTasks | None = None,
    *,
    overwrite: bool = False,
    registry: Registry = default_registry,
    progress: Progress | None = None,
) -> TrainingEvaluation:
    """Evaluate the best weights of a training, and write predictions and metrics into its folder.

    All labelled frames are predicted: ``predictions.csv``, or one file per view, holds x, y,
    likelihood and the part that each frame belongs to. The metric files beside it hold the value
    per frame and keypoint of each loss that needs only predictions and labels of single frames.
    Mean and median of each metric are in ``labelled_metrics.csv``. Labels of a further session, in
    ``<label file>_new.csv``, are evaluated likewise. Videos are predicted and drawn as section
    ``eval`` of the config says.

    Steps that an earlier evaluation has finished are kept, if they are from the same weights,
    config, labels, calibrations, losses and videos. If a step fails, the result names it, and the
    other steps are done.

    Args:
        run: the training.
        tasks: what `eval_tasks` returned; ``None``: read from the config of the training.
        overwrite: whether to repeat finished steps.
        registry: where the losses are looked up.
        progress: called while videos are predicted.

    Raises:
        ConfigError: the folder does not contain a training, or section ``eval`` is invalid.
    """
    config = run.config
    if tasks is None:
        tasks = eval_tasks(config)
    steps = FinishedSteps(run.folder, _inputs(run, config, registry), overwrite=overwrite)
    failed: list[str] = []
    evaluated: list[EvaluatedFrames] = []
    labels: PoseTable | None = None
    with _naming("the labelled frames", failed.append):
        frames = frames_of_training(config)
        labels = labels_of_training(config, frames.project)
        evaluate = partial(_evaluate_frames, run, config, steps, labels, registry)
        evaluated.append(evaluate("labelled frames", frames))
        with _naming("the labelled frames of the further session", failed.append):
            if (further := further_session(config)) is not None:
                step = "labelled frames of the further session"
                evaluated.append(evaluate(step, further))
    rows = tuple(row for frames in evaluated for row in frames.rows)
    files: list[Path] = [file for frames in evaluated for file in frames.files]
    if rows:
        table = run.folder / TABLE
        values = [asdict(row) for row in rows]
        if steps.finished(TABLE, values) is None:
            with whole_file(table) as beside:
                write_rows(beside, rows)
            steps.finish(TABLE, [table], "", values)
        files.append(table)
    notes = [note for frames in evaluated for note in frames.notes]
    with _naming(f"the videos in {tasks.videos}", failed.append):
        videos = evaluate_videos(run, tasks, labels, steps, registry, progress, overwrite=overwrite)
        files += videos.files
        notes += videos.notes
        failed += videos.failed
    if (to_plot := tasks.to_plot) is not None:
        with _naming("eval.pred_csv_files_to_plot", failed.append):
            folder = run.folder / (tasks.predictions or FOLDER) / LABELLED
            step = "eval.pred_csv_files_to_plot"
            sources = [stamps([to_plot.source.path, *to_plot.files]), asdict(tasks.style)]
            if steps.finished(step, sources) is None:
                drawn = draw_predictions(to_plot, folder, tasks.style)
                steps.finish(step, drawn, "", sources)
            files += steps.files(step)
    described = {*plain(config.losses), *(plain(config.model.losses_to_use) or [])}
    left_out = {name: why for frames in evaluated for name, why in frames.left_out.items()}
    notes += [
        f"no metric of the loss {name!r}: {why}"
        for name, why in left_out.items()
        # Inputs that single frames cannot provide are no surprise.
        if name in described and not why.startswith("needs ")
    ]
    return TrainingEvaluation(
        run.folder,
        rows,
        tuple(files),
        left_out,
        tuple(notes),
        tuple(failed),
        tuple(step for step in steps.kept if step != TABLE),
    )


def _inputs(run: TrainingRun, config: DictConfig, registry: Registry) -> dict[str, Any]:
    """Return everything that each step of the evaluation depends on."""
    content = plain(config)
    data = content["data"]
    return {
        "lploss": version("lploss"),
        "weights": file_hash(run.checkpoint()),
        "config": {name: content[name] for name in content if name not in ("eval", "callbacks")},
        "losses": [entry.qualified_name for entry in registry.entries(LossSpec)],
        "labels": stamps(
            path
            for name in ("csv_file", "bbox_file", "camera_params_file")
            for file in _listed(data[name])
            for path in (
                Path(data["data_dir"] or "", file),
                Path(data["data_dir"] or "", file).with_stem(f"{Path(file).stem}_new"),
            )
        ),
    }


def _listed(files: Any) -> list[str]:
    return [str(file) for file in (files if isinstance(files, list) else [files]) if file]


def _evaluate_frames(
    run: TrainingRun,
    config: DictConfig,
    steps: FinishedSteps,
    labels: PoseTable,
    registry: Registry,
    step: str,
    frames: FramesToEvaluate,
) -> EvaluatedFrames:
    """Evaluate labelled frames, or return the results of an earlier evaluation."""
    rigs = frames.project.cameras or {}
    sources = [{session: cameras.to_lists() for session, cameras in rigs.items()}]
    note = steps.finished(step, sources)
    if note is not None:
        rows = tuple(MetricRow(**row) for row in note["rows"])
        return EvaluatedFrames(rows, steps.files(step), note["left_out"], tuple(note["notes"]))
    evaluated = evaluate_frames(run.model(), config, frames, labels, run.folder, registry)
    note = {
        "rows": [asdict(row) for row in evaluated.rows],
        "notes": evaluated.notes,
        "left_out": dict(evaluated.left_out),
    }
    steps.finish(step, evaluated.files, note, sources)
    return evaluated


@contextmanager
def _naming(part: str, failed: Callable[[str], None]) -> Iterator[None]:
    """Report a part that fails instead of raising: the training itself is complete."""
    try:
        yield
    except Exception as error:
        failed(f"{part}: {error if isinstance(error, LplossError) else first_line(error)}")
