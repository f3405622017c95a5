"""Trainings that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from tests.lploss_builtin.data.small_projects import config_of, write_project
from tests.lploss_builtin.models.small import SMALL

VIEWS = ("left", "right")


def write_training(
    folder: Path,
    *,
    views: tuple[str, ...] = VIEWS,
    frames: int = 8,
    losses: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    callbacks: dict[str, Any] | None = None,
) -> Path:
    """Write a project of ``2 * frames`` frames and a config; return the config's path."""
    write_project(folder, views, frames=frames)
    data = OmegaConf.to_container(config_of(views).data)
    config = {
        "data": {
            **{name: value for name, value in data.items() if value is not None},
            "image_resize_dims": {"height": 32, "width": 48},
        },
        "training": {
            "imgaug": "none",
            "train_batch_size": 4,
            "train_prob": 0.75,
            "val_prob": 0.25,
            "max_epochs": 3,
            "check_val_every_n_epoch": 1,
            "log_every_n_steps": 1,
            "unfreezing_epoch": 1,
            "optimizer_params": {"learning_rate": 0.01},
            "accelerator": "cpu",
            "num_workers": 0,
            **(training or {}),
        },
        "model": {
            "model_type": "heatmap_multiview_transformer",
            "backbone": "vits_dino",
            "backbone_pretrained": False,
            "backbone_params": SMALL,
            **(model or {}),
        },
        "losses": losses or {},
        "callbacks": callbacks or {},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
