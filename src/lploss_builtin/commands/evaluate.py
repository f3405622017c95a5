"""The command ``lploss evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lploss.terminal import echo
from lploss_builtin.dependencies import require


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Repeat finished steps.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the evaluation as JSON instead of a table.")
    ] = False,
) -> None:
    """Evaluate a training, or finish an evaluation that was interrupted.

    Runs the last step of lploss train: predicts the labelled frames with the best weights, writes
    metrics, and predicts the videos that the section eval of the config names. Finished steps are
    kept.
    """
    for module in ("timm", "lightning", "pandas", "PIL"):
        require(module, "train", "to evaluate a training")
    from lploss_builtin.commands.predict import progress_bar, show
    from lploss_builtin.evaluation import eval_tasks, evaluate_training
    from lploss_builtin.training.run import TrainingRun, lock_training

    training = TrainingRun(run)
    training.checkpoint()
    with lock_training(run, "lploss evaluate"), progress_bar() as progress:
        tasks = eval_tasks(training.config)
        for note in tasks.notes:
            echo(f"note: {note}", err=True)
        evaluation = evaluate_training(training, tasks, overwrite=overwrite, progress=progress)
    if json:
        echo(evaluation.to_json(), nl=False)
    else:
        show(evaluation)
    if evaluation.failed:
        raise typer.Exit(1)
