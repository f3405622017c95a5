"""The command ``lploss train``."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lploss.terminal import console, echo
from lploss_builtin.dependencies import require

if TYPE_CHECKING:
    from lploss_builtin.evaluation import EvalTasks
    from lploss_builtin.training.run import TrainingRun

# Lightning starts this command once more for each further process; all must use one folder.
_FOLDER_VARIABLE = "LPLOSS_RUN_FOLDER"


def train(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG", help="The config, a YAML file.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config with other values."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the training; runs/DATE_TIME unless given.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with the training in this folder.")
    ] = None,
) -> None:
    """Train a model with the losses that a config names.

    The folder of the training gets the config with all defaults, the versions of everything, a
    plot of the schedules, logs for TensorBoard and as CSV, and the checkpoints.
    """
    for module in ("timm", "lightning", "tensorboard", "pandas", "PIL", "matplotlib"):
        require(module, "train", "to train a model")
    from lightning.pytorch.utilities import rank_zero_only

    from lploss import load_config
    from lploss.errors import ArgumentValueError
    from lploss_builtin.evaluation import eval_tasks
    from lploss_builtin.training import run as training

    printer = console(stderr=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if resume is None and config is None:
        raise ArgumentValueError("name a config to train with, or a folder by --resume")
    if resume is not None:
        if out is not None:
            raise ArgumentValueError("--resume goes on in its own folder: leave out --out")
        training.TrainingRun(resume).checkpoint("last")
        folder = resume
    else:
        folder = out or Path(os.environ.get(_FOLDER_VARIABLE) or _new_folder())
    # Other processes are kept out until the evaluation is written, too.
    with training.lock_training(folder):
        if resume is not None:
            if config is not None:
                overrides = [config, *(overrides or ())]
            read = load_config(folder / "config.yaml", overrides or ())
            project_folder = None
        elif config is not None:
            if training.TrainingRun(folder).has_started and _FOLDER_VARIABLE not in os.environ:
                raise ArgumentValueError(
                    f"{folder} holds a training already: go on with it by --resume {folder}, or "
                    "name another folder by --out"
                )
            read = load_config(config, overrides or ())
            project_folder = Path(config).absolute().parent
        # What cannot be done afterwards is said now, not after hours.
        tasks = eval_tasks(read, project_folder)
        for note in tasks.notes:
            rank_zero_only(echo)(f"note: {note}", err=True)
        os.environ[_FOLDER_VARIABLE] = str(folder)
        try:
            trained = training.train(
                read,
                folder,
                folder=project_folder,
                resume=resume is not None,
                shows_progress=printer.is_terminal,
            )
        finally:
            os.environ.pop(_FOLDER_VARIABLE, None)
        # Each of several processes comes here.
        rank_zero_only(_evaluate)(trained, tasks)


def _evaluate(run: TrainingRun, tasks: EvalTasks) -> None:
    """Show what the trained model makes of the labelled frames, and of what the config names."""
    from lploss_builtin.commands.predict import progress_bar, show
    from lploss_builtin.evaluation import evaluate_training

    echo(f"trained: {run.folder}")
    try:
        with progress_bar() as progress:
            evaluation = evaluate_training(run, tasks, progress=progress)
    except KeyboardInterrupt:
        echo(
            f"the training is complete, but its evaluation is not. To complete it, run: lploss "
            f"evaluate {run.folder}",
            err=True,
        )
        raise
    show(evaluation)
    if evaluation.failed:
        raise typer.Exit(1)


def _new_folder() -> str:
    return f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S}"
