"""Training models, predicting with them, and a demo of both."""

from __future__ import annotations

from lploss import CommandSpec, hookimpl

_COMMANDS = "lploss_builtin.commands"


@hookimpl
def lploss_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "train",
            f"{_COMMANDS}.train:train",
            "train a model with the losses that a config names",
            requires=("train",),
        ),
        CommandSpec(
            "evaluate",
            f"{_COMMANDS}.evaluate:evaluate",
            "evaluate a training, or finish its evaluation",
            requires=("train",),
        ),
        CommandSpec(
            "predict",
            f"{_COMMANDS}.predict:predict",
            "predict the keypoints in images with a trained model",
            requires=("train",),
        ),
        CommandSpec(
            "demo",
            f"{_COMMANDS}.demo:demo",
            "make images of an animal, train a model with them, and show what it has learned",
            requires=("train",),
        ),
    ]
