"""Folders that appear when they are complete."""

from lploss_builtin.commands.spreading.complete_folder import complete_folder

__all__ = ["complete_folder"]
