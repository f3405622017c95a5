"""Training models, and predicting with them."""

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
            "predict",
            f"{_COMMANDS}.predict:predict",
            "predict the keypoints in images with a trained model",
            requires=("train",),
        ),
    ]
