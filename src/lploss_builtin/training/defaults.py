"""What a training does where its config says nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from lploss.errors import ConfigError

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "data": {"image_resize_dims": {"height": 256, "width": 256}, "downsample_factor": 2},
    "training": {
        "imgaug": "dlc",
        "imgaug_3d": False,
        "imgaug_hflip": False,
        "train_batch_size": 16,
        "val_batch_size": 32,
        "test_batch_size": 32,
        "train_frames": 1.0,
        "min_epochs": 0,
        "max_epochs": 300,
        "log_every_n_steps": 10,
        "accumulate_grad_batches": 1,
        "early_stopping": False,
        "early_stop_patience": 3,
        "rng_seed_data_pt": 0,
        "rng_seed_model_pt": 0,
        "optimizer": "Adam",
        "optimizer_params": {"learning_rate": 5e-5},
        "lr_scheduler": "multisteplr",
        "lr_scheduler_params": {"multisteplr": {"gamma": 0.5}},
        "uniform_heatmaps_for_nan_keypoints": False,
        "uniform_heatmaps_for_occluded_keypoints": True,
        "accelerator": "auto",
        "num_nodes": 1,
        "max_unreadable_frames": 5,
        "precision": "32-true",
    },
    "model": {
        "model_type": "heatmap",
        "backbone": "vits_dino",
        "backbone_pretrained": True,
        "gradient_checkpointing": False,
        "compile": False,
        "heatmap_loss_type": "mse",
        "losses_to_use": [],
    },
    "dali": {
        "general": {"seed": 123456, "decoder": "cpu"},
        "base": {"train": {"sequence_length": 16}, "predict": {"sequence_length": 96}},
        "context": {"train": {"batch_size": 16}, "predict": {"sequence_length": 96}},
    },
}


def with_defaults(config: DictConfig) -> DictConfig:
    """Return a config in which all that a training needs has a value.

    Args:
        config: what `lploss.load_config` returned.

    Raises:
        ConfigError: of two keys that belong together there is only one.

    Example:
        >>> from lploss import load_config
        >>> config = with_defaults(load_config({"training": {"max_epochs": 7}}))
        >>> config.training.max_epochs, config.training.train_batch_size
        (7, 16)
    """
    size = config.data.image_resize_dims
    if size is not None and (size.height is None) != (size.width is None):
        raise ConfigError(
            f"data.image_resize_dims must hold both height and width, got {size.height} and "
            f"{size.width}"
        )
    filled = cast(DictConfig, OmegaConf.merge(config, {}))
    _fill(filled, "", {**_DEFAULTS, "training": {**_DEFAULTS["training"], **_of_others(config)}})
    return filled


def _of_others(config: DictConfig) -> dict[str, Any]:
    """Return defaults that depend on the machine, or on other keys."""
    training = config.training
    by_steps = OmegaConf.select(config, "training.lr_scheduler_params.multisteplr.milestone_steps")
    found: dict[str, Any] = {"num_workers": min(4, os.cpu_count() or 1)}
    if by_steps is None:
        multistep = {"milestones": [150, 200, 250], "gamma": 0.5}
        found["lr_scheduler_params"] = {"multisteplr": multistep}
    if training.train_prob is None:
        found["train_prob"] = 0.95
        found["val_prob"] = 0.05
    if training.unfreezing_step is None:
        found["unfreezing_epoch"] = 20
    if training.max_steps is not None:
        found["max_epochs"] = -1
    if training.val_check_interval is None:
        found["check_val_every_n_epoch"] = 5
    elif isinstance(training.val_check_interval, float):
        # A share is one of an epoch; a number of batches goes on from one epoch to the next.
        found["check_val_every_n_epoch"] = 1
    if training.devices is None:
        chosen = training.gpu_id
        if chosen is not None and not OmegaConf.is_list(chosen):
            chosen = [int(chosen)]
        # Numbers of devices say which GPUs; a CPU has none.
        has_gpu = training.accelerator in (None, "auto", "gpu", "cuda") and _has_gpu()
        found["devices"] = chosen if chosen is not None and has_gpu else training.num_gpus or 1
    return found


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _fill(config: DictConfig, prefix: str, defaults: Mapping[str, Any]) -> None:
    for name, default in defaults.items():
        key = f"{prefix}{name}"
        if isinstance(default, Mapping) and OmegaConf.select(config, key) is not None:
            _fill(config, f"{key}.", default)
        elif OmegaConf.select(config, key) is None:
            OmegaConf.update(config, key, default, merge=True)
