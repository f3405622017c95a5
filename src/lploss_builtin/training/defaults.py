"""What a training does where its config says nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from lploss.config import defaults_of
from lploss.errors import ConfigError


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
    defaults = {section: defaults_of(section) for section in ("data", "training", "model", "dali")}
    defaults["training"] |= _of_others(config)
    _fill(filled, "", defaults)
    return filled


def _of_others(config: DictConfig) -> dict[str, Any]:
    """Return defaults that depend on the machine, or on other keys."""
    training = config.training
    by_steps = OmegaConf.select(config, "training.lr_scheduler_params.multisteplr.milestone_steps")
    found: dict[str, Any] = {"num_workers": min(4, os.cpu_count() or 1)}
    if by_steps is None:
        multistep = defaults_of("training.lr_scheduler_params.multisteplr")
        multistep["milestones"] = [150, 200, 250]
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
