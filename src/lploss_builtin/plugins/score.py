"""Scoring predictions, whatever tool they come from."""

from __future__ import annotations

from lploss import CommandSpec, hookimpl

_COMMANDS = "lploss_builtin.commands"


@hookimpl
def lploss_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            "score",
            f"{_COMMANDS}.score:score",
            "score the frames of prediction files, and show the impossible ones",
            requires=("score",),
        ),
    ]
