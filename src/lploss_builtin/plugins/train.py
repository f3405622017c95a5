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
    ]
