"""The command ``lploss demo``."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lploss.errors import ArgumentValueError
from lploss.terminal import console
from lploss_builtin.dependencies import require

_NUM_FRAMES_TO_SCORE = 1000


class What(StrEnum):
    """What is shown."""

    train = "train"
    score = "score"


def demo(
    what: Annotated[
        What, typer.Argument(help="Train a model with images, or score tracks.")
    ] = What.train,
    out: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("lploss-demo"),
    frames: Annotated[
        int | None,
        typer.Option(help="Frames to train with, or in each file to score.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="How often each frame is trained with.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is random.")] = 0,
) -> None:
    """Show what lploss does, with data that it makes.

    train: makes images of an animal that four cameras film, trains a multi-view model with them in
    a few minutes, and leaves a page, index.html, that shows what it has learned.

    score: makes the tracks of a walking animal with faults in them, scores them, and leaves tables
    and pictures of what was found.
    """
    if what is What.score:
        if epochs is not None:
            raise ArgumentValueError(
                "--epochs goes with lploss demo train: to score is no training"
            )
        _score(out, _NUM_FRAMES_TO_SCORE if frames is None else frames, seed)
    else:
        _train(out, frames, epochs, seed)


def _score(out: Path, num_frames: int, seed: int) -> None:
    for module in ("pandas", "pyarrow", "matplotlib"):
        require(module, "score", "to score and to draw")
    from lploss_builtin.demo.scoring import scoring_demo

    scoring_demo(out, num_frames, seed)


def _train(out: Path, num_frames: int | None, num_epochs: int | None, seed: int) -> None:
    for module in ("timm", "lightning", "tensorboard", "pandas", "PIL", "matplotlib"):
        require(module, "train", "to train a model")
    from lploss_builtin.demo.settings import DemoSettings
    from lploss_builtin.demo.training import NUM_STAGES, Stages, make_training_demo

    given = {"num_frames": num_frames, "num_epochs": num_epochs, "seed": seed}
    settings = DemoSettings(**{name: value for name, value in given.items() if value is not None})
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    report = make_training_demo(out, settings, Stages(console(stderr=True), NUM_STAGES))
    printer = console()
    for part in report.renderables():
        printer.print(part)
