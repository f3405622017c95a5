"""A training that goes on with the batch that would have come next."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


def num_whole_epochs(checkpoint: dict[str, Any]) -> int:
    """Return how many epochs were trained from beginning to end.

    Args:
        checkpoint: one of Lightning's.
    """
    loop = checkpoint["loops"]["fit_loop"]
    num_begun: int = loop["epoch_progress"]["current"]["started"]
    return num_begun if loop["epoch_loop.batch_progress"]["is_last_batch"] else num_begun - 1


class GoOnWithTheNextBatch(Callback):
    """Lets a training that is resumed be the one that was never stopped.

    A training that reaches its last step in the middle of an epoch is kept by Lightning as one
    that has done this epoch, and its frames would come twice. Here its state is put back to the
    batch that comes next; the data module leaves out those before.
    """

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Put the epochs back to those that are whole."""
        num_epochs = num_whole_epochs(checkpoint)
        loop = checkpoint["loops"]["fit_loop"]
        for counts in (loop["epoch_progress"]["current"], loop["epoch_progress"]["total"]):
            counts.update(dict.fromkeys(counts, num_epochs))
        batches = loop["epoch_loop.batch_progress"]
        if batches["is_last_batch"]:
            batches["current"].update(dict.fromkeys(batches["current"], 0))
            batches["is_last_batch"] = False
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint["global_step"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Begin the first epoch with its first batch, or with the next one."""
        loop: Any = trainer.fit_loop
        epoch_loop = loop.epoch_loop
        # Lightning takes any training that is counted in steps for one in the middle of an epoch.
        epoch_loop.restarting = epoch_loop.batch_progress.current.ready > 0
        epoch_loop.update_restart_stage()
        if epoch_loop.restarting and epoch_loop._should_check_val_fx(loop._data_fetcher):
            # It was validated before it stopped, and Lightning counts the step of that once more.
            epoch_loop._batches_that_stepped -= 1
