"""Checkpoints that are whole or not there, in a folder that may be moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lploss.errors import ConfigError
from lploss_builtin.output import whole_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one of the same name, and then puts it in its place.

    Whatever happens while it is written, a full disk or a kill, the last good one stays.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: all that it holds.
            path: of the file.
            storage_options: none are known.

        Raises:
            OSError: it cannot be written.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            torch.save(checkpoint, beside)


class MovableCheckpoint(ModelCheckpoint):
    """Knows its files again where their folder was moved, and how good the best of them is."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, wherever its files were when it was kept."""
        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = self._here(state[name])
        scores = state["best_k_models"].items()
        state["best_k_models"] = {self._here(path): score for path, score in scores}
        super().load_state_dict(state)

    def _here(self, path: str) -> str:
        if not path:
            return path
        # Lightning deletes this path, even if it is a folder, once a better checkpoint is saved.
        here = Path(self.dirpath or "", Path(path).name)
        if here.suffix != ".ckpt" or here.is_dir():
            raise ConfigError(
                f"the checkpoint to resume from in {self.dirpath} is damaged: it names {path!r} "
                "as a file of weights. Start a new training in another folder."
            )
        return str(here)
