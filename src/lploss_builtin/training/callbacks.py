"""What happens while a Lightning module is trained: schedules, the start, and signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

_STOPPING = ("SIGTERM", "SIGINT", "SIGHUP")
# A terminal, a launcher and a scheduler may each send the same signal.
_SAME_SIGNAL_S = 2.0


class FollowCurriculum(Callback):
    """Lets the module follow its schedules, and logs where they are."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set and log what holds at this step."""
        pl_module.log_dict(pl_module.follow_curriculum())


class CallAtStart(Callback):
    """Calls a function once the model and the checkpoint are loaded and the training starts.

    Args:
        function: gets the trainer.

    Attributes:
        has_started: whether it has been called.
    """

    def __init__(self, function: Callable[[lightning.Trainer], None]) -> None:
        self._function = function
        self.has_started = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Call it."""
        self._function(trainer)
        self.has_started = True


class StopOnSignal(Callback):
    """Ends a training after the step of the optimizer during which a signal came.

    The training then ends as one that has reached ``max_steps``, so that its last checkpoint is
    one to resume from. A validation is finished first. Where several processes train together, the
    signal of one of them ends all, after the same step.

    It replaces what Lightning does on SIGTERM, and on SIGUSR1 in a SLURM job: a checkpoint in the
    middle of a step, which nothing resumes from. A signal that comes again after two seconds is
    handled at once, as it was before the training.

    Attributes:
        number: of the signal; 0: none came.
    """

    def __init__(self) -> None:
        self.number = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}
        self._is_first = True

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Remember what handles the signals, before Lightning handles them."""
        self._is_first = trainer.is_global_zero
        if threading.current_thread() is not threading.main_thread():
            return
        names = [*_STOPPING, *(["SIGUSR1"] if "SLURM_JOB_ID" in os.environ else [])]
        for number in [getattr(signal, name) for name in names if hasattr(signal, name)]:
            # Of nohup, and of a shell that starts a process in the background.
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                self._before[number] = handler

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Begin to listen."""
        for number in self._before:
            signal.signal(number, self._note)

    def restore(self) -> None:
        """Handle signals as before the training."""
        while self._before:
            signal.signal(*self._before.popitem())

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the training here if a signal came."""
        if not trainer.fit_loop._should_accumulate():
            self._end_if_asked(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """End the training here if a signal came during validation."""
        self._end_if_asked(trainer)

    def _end_if_asked(self, trainer: lightning.Trainer) -> None:
        number = self.number
        if trainer.world_size > 1:
            of_this = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(of_this, reduce_op="max"))
        if number:
            self.number = number
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def _note(self, number: int, frame: Any) -> None:
        if not self.number:
            self.number, self._since = number, time.monotonic()
            if self._is_first:
                # Not by logging, which the signal may have interrupted.
                name = signal.Signals(number).name
                os.write(2, f"{name}: the training ends after this step\n".encode())
        elif time.monotonic() - self._since > _SAME_SIGNAL_S:
            self.restore()
            signal.raise_signal(number)
