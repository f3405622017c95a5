"""A picture of all schedules, drawn before a training starts."""

from __future__ import annotations

import math
from pathlib import Path

from omegaconf import DictConfig

from lploss_builtin.dependencies import require
from lploss_builtin.training.curriculum import Curriculum, Moment

_TITLES = {
    "head_factor": "learning rate of the head",
    "backbone_factor": "learning rate of the backbone",
    "patch_mask_ratio": "share of masked patches",
    "anneal_weight": "weight of the annealed losses",
}


def plot_schedules(
    path: Path, curriculum: Curriculum, config: DictConfig, steps_per_epoch: int
) -> None:
    """Draw what the schedules say over the epochs of a training.

    Args:
        path: where the PNG goes.
        curriculum: the schedules.
        config: the full config with defaults.
        steps_per_epoch: of the optimizer.
    """
    figures = require("matplotlib.figure", "train", "to draw the schedules")
    num_epochs = config.training.max_epochs
    if num_epochs < 1:
        num_epochs = math.ceil((config.training.max_steps or 1) / steps_per_epoch)
    moments = [Moment(epoch, epoch * steps_per_epoch) for epoch in range(num_epochs + 1)]
    base = config.training.optimizer_params.learning_rate
    figure = figures.Figure(figsize=(8.0, 6.0), layout="constrained")
    axes = figure.subplots(len(_TITLES), 1, sharex=True)
    for axis, (name, title) in zip(axes, _TITLES.items(), strict=True):
        scale = base if name.endswith("factor") else 1.0
        values = [scale * getattr(curriculum, name)(moment) for moment in moments]
        axis.plot(range(num_epochs + 1), values, drawstyle="steps-post", color="tab:blue")
        axis.set_title(title, loc="left", fontsize="medium")
        axis.set_ylim(bottom=0.0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("epoch")
    axes[-1].set_xlim(0, num_epochs)
    figure.savefig(path, dpi=120)
