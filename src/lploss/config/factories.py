"""What a config asks for, built: every loss of it runs, or an error says why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from omegaconf import DictConfig

from lploss.building import build_losses, check_params
from lploss.config import load_config, value_at
from lploss.errors import ConfigError, did_you_mean
from lploss.factory import LossFactory
from lploss.loss import Loss
from lploss.reduction import NanPredictions, Sync
from lploss.registry import Registry, default_registry
from lploss.specs import LossSpec, ModelSpec

# Those of the source system, whose losses go with the kind of their output.
_MODEL_TYPES = ("regression", "heatmap", "heatmap_mhcrnn", "heatmap_multiview_transformer")


class LossClasses(Mapping[str, type[Loss]]):
    """All losses, by name; a class is imported when it is looked up."""

    def __init__(self, registry: Registry = default_registry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> type[Loss]:
        loaded: type[Loss] = self._registry.load(LossSpec, name)
        return loaded

    def __contains__(self, name: object) -> bool:
        return name in self._registry.names(LossSpec)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.names(LossSpec))

    def __len__(self) -> int:
        return len(self._registry.names(LossSpec))


def get_loss_classes() -> Mapping[str, type[Loss]]:
    """Return all losses, by name; a class is imported when it is looked up.

    Example:
        >>> get_loss_classes()["temporal"].__name__
        'TemporalLoss'
    """
    return LossClasses()


def get_loss_factories(
    cfg: str | PathLike[str] | Mapping[str, Any] | DictConfig,
    data_module: Any = None,
    *,
    record: bool = True,
    sync: Sync = "auto",
    nan_predictions: NanPredictions | None = None,
    registry: Registry = default_registry,
) -> dict[str, LossFactory]:
    """Build the factories of supervised and of unsupervised losses that a full config asks for.

    It asks for: the loss of its model (``heatmap_`` and ``model.heatmap_loss_type``, or
    ``regression``), the supervised losses in section ``losses``, and what
    ``model.losses_to_use`` names. A ``log_weight`` of null turns a loss off. Each of these
    runs, or an error says why not.

    Args:
        cfg: the full config, or the path of its file.
        data_module: labelled keypoints for the losses that are fitted to them.
        record: whether the flight recorders run.
        sync: whether losses are shared with the other processes of ``torch.distributed``:
            ``"auto"``, ``True`` or ``False``, see `LossFactory`.
        nan_predictions: ``"propagate"``, ``"leave_out"`` or ``None``, see `LossFactory`.
        registry: where the losses are looked up.

    Returns:
        The factories ``"supervised"`` and ``"unsupervised"``.

    Raises:
        ConfigError: the config holds an unknown key, or asks for a loss twice.
        UnknownLossError: nobody provides a loss that stands in the config.

    Example:
        >>> factories = get_loss_factories(
        ...     {"model": {"model_type": "heatmap", "losses_to_use": ["temporal"]}}
        ... )
        >>> {kind: list(factory.losses) for kind, factory in factories.items()}
        {'supervised': ['heatmap_mse'], 'unsupervised': ['temporal']}
    """
    config = load_config(cfg)
    registry = registry.preferring(value_at(config, "prefer"))
    described: dict[str, Any] = value_at(config, "losses")
    to_use: list[str] = value_at(config, "model.losses_to_use") or []
    if doubled := sorted({name for name in to_use if to_use.count(name) > 1}):
        raise ConfigError(f"model.losses_to_use names {', '.join(doubled)} twice")
    asked = {
        name: described.get(name, described.get(name.rpartition("/")[2]))
        for name in [*_of_model(config, registry), *to_use]
    }
    for name, params in described.items():
        if registry.load(LossSpec, name).kind == "supervised":
            asked.setdefault(name, params)
        elif name not in asked:
            check_params(name, params, registry)
    built, off = build_losses(
        asked, config=config, data_module=data_module, sync=sync, registry=registry
    )
    kinds = {name: registry.load(LossSpec, name).kind for name in asked}
    return {
        kind: LossFactory(
            {name: loss for name, loss in built.items() if kinds[name] == kind},
            total_name=f"{kind}_loss",
            record=record,
            off={name: why for name, why in off.items() if kinds[name] == kind},
            sync=sync,
            nan_predictions=nan_predictions,
            registry=registry,
        )
        for kind in ("supervised", "unsupervised")
    }


def _of_model(config: DictConfig, registry: Registry) -> list[str]:
    """Return the loss that goes with the model; a model of a plugin brings none of its own."""
    model_type = value_at(config, "model.model_type")
    if model_type is None:
        return []
    if "heatmap" in model_type:
        return [f"heatmap_{value_at(config, 'model.heatmap_loss_type') or 'mse'}"]
    if "regression" in model_type:
        return ["regression"]
    if model_type in registry.names(ModelSpec):
        return []
    known = sorted({*_MODEL_TYPES, *registry.names(ModelSpec)})
    raise ConfigError(
        f"there is no model.model_type {model_type!r}.{did_you_mean(model_type, known)} "
        f"Known: {', '.join(known)}."
    )
