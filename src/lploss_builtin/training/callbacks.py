"""The curriculum, told to a Lightning module while it is trained."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


class FollowCurriculum(Callback):
    """Lets the module follow its schedules, and logs where they are."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set and log what holds at this step."""
        pl_module.log_dict(pl_module.follow_curriculum())
