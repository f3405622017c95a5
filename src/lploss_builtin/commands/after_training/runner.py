"""Evaluating a training when it has ended: labelled frames, and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from lploss.config import plain
from lploss.errors import LplossError, first_line
from lploss.registry import Registry, default_registry
from lploss_builtin.commands.after_training.eval_section import EvalTasks, eval_tasks
from lploss_builtin.commands.after_training.evaluation import TrainingEvaluation
from lploss_builtin.commands.after_training.labelled_sets import (
    EvaluatedFrames,
    evaluate_frames,
    labels_of_training,
    names_of_sets,
    new_project,
    split_of,
)
from lploss_builtin.commands.after_training.metric_summary import write_rows
from lploss_builtin.commands.after_training.videos import (
    FOLDER,
    LABELLED,
    draw_predictions,
    evaluate_videos,
)
from lploss_builtin.commands.predicting.runner import Progress
from lploss_builtin.data.keypoint_table import KeypointTable
from lploss_builtin.data.labelled_project import read_project
from lploss_builtin.training.run import TrainingRun

#: Of each metric its mean and median, in the folder of the training.
TABLE = "labelled_metrics.csv"


def evaluate_training(
    run: TrainingRun,
    tasks: EvalTasks | None = None,
    *,
    registry: Registry = default_registry,
    progress: Progress | None = None,
) -> TrainingEvaluation:
    """Evaluate the best weights of a training, and write what was found into its folder.

    All labelled frames are predicted: ``predictions.csv``, or one for each view, holds x, y,
    likelihood and the part that a frame belongs to. Beside it lie the metric files: of each loss
    that predictions and labels of single frames are enough for, its value for each frame and
    keypoint. Mean and median of each are in ``labelled_metrics.csv``. Labels of a further session,
    in ``<label file>_new.csv``, are evaluated likewise. Then comes what section ``eval`` of the
    config asks for.

    What cannot be done is named in the result, and hinders nothing else.

    Args:
        run: the training.
        tasks: what `eval_tasks` has said before the training; made of its config unless given.
        registry: where the losses are looked up.
        progress: called while videos are predicted.

    Raises:
        ConfigError: the folder holds no training, or what section ``eval`` asks for cannot be.
    """
    config = run.config
    if tasks is None:
        tasks = eval_tasks(config)
    failed: list[str] = []
    done: list[EvaluatedFrames] = []
    labels: KeypointTable | None = None
    with _naming("the labelled frames", failed.append):
        project = read_project(config)
        labels = labels_of_training(config, project)
        sets = names_of_sets(split_of(config, len(project.frames)), len(project.frames))
        evaluate = partial(
            evaluate_frames,
            run.model(),
            config,
            labels=labels,
            folder=run.folder,
            registry=registry,
        )
        done.append(evaluate(project, sets))
        with _naming("the labelled frames of the further session", failed.append):
            if (new := new_project(config)) is not None:
                done.append(evaluate(new, ["new"] * len(new.frames), end="_new"))
    rows = tuple(row for own in done for row in own.rows)
    files: list[Path] = [file for own in done for file in own.files]
    if rows:
        write_rows(run.folder / TABLE, rows)
        files.append(run.folder / TABLE)
    notes = [note for own in done for note in own.notes]
    with _naming(f"the videos in {tasks.videos}", failed.append):
        videos = evaluate_videos(run, tasks, labels, registry, progress)
        files += videos.files
        notes += videos.notes
        failed += videos.failed
    if tasks.to_plot is not None:
        with _naming("eval.pred_csv_files_to_plot", failed.append):
            folder = run.folder / (tasks.predictions or FOLDER) / LABELLED
            files += draw_predictions(tasks.to_plot, folder, tasks.style)
    described = {*plain(config.losses), *(plain(config.model.losses_to_use) or [])}
    left_out = {name: why for own in done for name, why in own.left_out.items()}
    notes += [
        f"no metric of the loss {name!r}: {why}"
        for name, why in left_out.items()
        # What single frames do not give is no surprise.
        if name in described and not why.startswith("needs ")
    ]
    return TrainingEvaluation(run.folder, rows, tuple(files), left_out, tuple(notes), tuple(failed))


@contextmanager
def _naming(what: str, failed: Callable[[str], None]) -> Iterator[None]:
    """Say what failed instead of raising: the training itself is complete."""
    try:
        yield
    except Exception as error:
        failed(f"{what}: {error if isinstance(error, LplossError) else first_line(error)}")
