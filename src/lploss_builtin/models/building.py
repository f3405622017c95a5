"""The model that a config asks for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from lploss.config import value_at
from lploss.errors import ArgumentError, ArgumentValueError, ConfigError, did_you_mean
from lploss.reading import check_file
from lploss.registry import Registry, default_registry
from lploss.specs import ModelSpec

#: Constructor argument of a model: where its value stands in the config.
_PATHS = {
    "backbone": "model.backbone",
    "downsample_factor": "data.downsample_factor",
    "pretrained": "model.backbone_pretrained",
    "backbone_checkpoint": "model.backbone_checkpoint",
    "backbone_params": "model.backbone_params",
    "gradient_checkpointing": "model.gradient_checkpointing",
}


def build_model(
    config: DictConfig,
    *,
    num_views: int,
    num_keypoints: int,
    pretrained: bool | None = None,
    registry: Registry = default_registry,
) -> nn.Module:
    """Return a new model; its constructor is given what it names.

    Args:
        config: the full config with defaults.
        num_views: how many views a batch holds.
        num_keypoints: of one view.
        pretrained: instead of ``model.backbone_pretrained``; ``False`` where weights are loaded
            afterwards.
        registry: where the model is looked up.

    Raises:
        ConfigError: there is no such model, or a value cannot be used.
        MissingWeightsError: the pretrained weights cannot be had.
    """
    head = value_at(config, "model.head")
    if head not in (None, "heatmap_cnn"):
        raise ConfigError(f"model.head must be heatmap_cnn or left out, got {head!r}")
    model_type = value_at(config, "model.model_type")
    known = registry.names(ModelSpec)
    if model_type.rpartition("/")[2] not in known:
        raise ConfigError(
            f"there is no model.model_type {model_type!r}.{did_you_mean(model_type, known)} "
            f"Known: {', '.join(known)}."
        )
    cls: type[nn.Module] = registry.preferring(value_at(config, "prefer")).load(
        ModelSpec, model_type
    )
    _check_context(model_type, cls, value_at(config, "model.do_context"))
    size = config.data.image_resize_dims
    values: dict[str, Any] = {
        "num_views": num_views,
        "num_keypoints": num_keypoints,
        "image_size": (size.height, size.width),
        **{name: value_at(config, path) for name, path in _PATHS.items()},
    }
    if pretrained is not None:
        values["pretrained"] = pretrained
        if not pretrained:
            values["backbone_checkpoint"] = None
    parameters = inspect.signature(cls).parameters
    given = {name: values[name] for name in parameters if values.get(name) is not None}
    lacking = [n for n, p in parameters.items() if p.default is p.empty and n not in given]
    if lacking := [n for n in lacking if parameters[n].kind != inspect.Parameter.VAR_KEYWORD]:
        raise ConfigError(
            f"model {model_type!r} must be given {', '.join(lacking)}, which no key of the config "
            f"holds. Known: {', '.join(values)}."
        )
    try:
        return cls(**given)
    except (ArgumentError, ArgumentValueError) as error:
        raise ConfigError(f"model {model_type!r}: {error}") from error


def _check_context(model_type: str, cls: type[nn.Module], do_context: bool | None) -> None:
    """Check the key by which older configs say that a model sees the frames around each one."""
    sees_context = bool(getattr(cls, "num_context_frames", 0))
    if do_context is None or do_context == sees_context:
        return
    sees = "the frames around each one" if sees_context else "single frames"
    mend = "" if sees_context else ", or take model.model_type: heatmap_mhcrnn"
    raise ConfigError(
        f"model.do_context: {str(do_context).lower()} does not go with the model {model_type!r}, "
        f"which sees {sees}. Leave it out{mend}."
    )


def load_weights(model: nn.Module, path: str | Path) -> Mapping[str, Any]:
    """Load the weights of a model from a checkpoint of a training.

    Args:
        model: gets the weights.
        path: the checkpoint.

    Returns:
        All that the checkpoint holds.

    Raises:
        ConfigError: there is no such file, it is no checkpoint, or that of another model.
    """
    path = Path(path)
    check_file(path, "the checkpoint", ConfigError)
    try:
        checkpoint: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state: Mapping[str, Tensor] = checkpoint["state_dict"]
    except Exception as error:
        raise ConfigError(f"{path} is no checkpoint of a training: {error}") from error
    own = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        lines = str(error).splitlines()[1:4]
        raise ConfigError(
            f"the checkpoint {path} is of another model: {'; '.join(map(str.strip, lines))}"
        ) from error
    return checkpoint
