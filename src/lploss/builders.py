"""What a config asks for, built: every loss of it runs, or an error says why not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lploss.config import load_config, plain, unknown_key, value_at
from lploss.errors import (
    ArgumentError,
    ArgumentValueError,
    ConfigError,
    DataError,
    FitError,
    LossDefinitionError,
    MissingArgumentError,
    did_you_mean,
)
from lploss.registry import Registry, default_registry
from lploss.specs import LossSpec, ModelSpec

if TYPE_CHECKING:
    from lploss.factory import LossFactory
    from lploss.loss import Loss
    from lploss.reduction import NanPredictions, Sync


# Those of the source system, whose losses go with the kind of their output.
_MODEL_TYPES = ("regression", "heatmap", "heatmap_mhcrnn", "heatmap_multiview_transformer")


class LossClasses(Mapping[str, "type[Loss]"]):
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
    from lploss.factory import LossFactory

    config = load_config(cfg)
    prefer: dict[str, str] = value_at(config, "prefer")
    described: dict[str, Any] = value_at(config, "losses")
    to_use: list[str] = value_at(config, "model.losses_to_use") or []
    if doubled := sorted({name for name in to_use if to_use.count(name) > 1}):
        raise ConfigError(f"model.losses_to_use names {', '.join(doubled)} twice")
    asked = {
        name: described.get(name, described.get(name.rpartition("/")[2]))
        for name in [*_of_model(config, registry), *to_use]
    }
    for name, params in described.items():
        if registry.load(LossSpec, name, prefer).kind == "supervised":
            asked.setdefault(name, params)
        elif name not in asked:
            check_params(name, params, registry, prefer)
    built, off = build_losses(
        asked, config=config, data_module=data_module, prefer=prefer, sync=sync, registry=registry
    )
    kinds = {name: registry.load(LossSpec, name, prefer).kind for name in asked}
    return {
        kind: LossFactory(
            {name: loss for name, loss in built.items() if kinds[name] == kind},
            total_name=f"{kind}_loss",
            record=record,
            off={name: why for name, why in off.items() if kinds[name] == kind},
            sync=sync,
            nan_predictions=nan_predictions,
            registry=registry,
            prefer=prefer,
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


def build_losses(
    losses: Mapping[str, Any],
    *,
    config: DictConfig | None = None,
    data_module: Any = None,
    prefer: Mapping[str, str] | None = None,
    sync: Sync = "auto",
    registry: Registry = default_registry,
) -> tuple[dict[str, Loss], dict[str, str]]:
    """Build losses from their arguments.

    Args:
        losses: for each loss the arguments of its constructor.
        config: the full config, from which a loss's `config_paths` are taken.
        data_module: handed to the losses whose constructor names it.
        prefer: for names that several distributions provide, the one to take.
        sync: handed to the losses whose constructor names it, unless they say otherwise.
        registry: where the losses are looked up.

    Returns:
        The losses by the names given; and for each one that is off, why.

    Raises:
        ConfigError: an argument is unknown or cannot be used; a `MissingArgumentError` where one
            must be given and is not.
        ArgumentValueError: ``sync`` is neither ``"auto"`` nor a truth value.
        UnknownLossError: nobody provides a name.
        LossDefinitionError: a loss's `config_paths` lead to a key that no config has.
    """
    from lploss.loss import missing_arguments, parameters_of
    from lploss.reduction import checked_sync

    checked_sync(sync)
    if not isinstance(losses, Mapping):
        raise ConfigError(
            f"losses must be a mapping from names to arguments, got {type(losses).__name__}: "
            f"{losses!r}"
        )
    built: dict[str, Loss] = {}
    off: dict[str, str] = {}
    for name, given in losses.items():
        params = check_params(name, given, registry, prefer)
        cls: type[Loss] = registry.load(LossSpec, name, prefer)
        if "log_weight" in params and params["log_weight"] is None:
            off[name] = "log_weight is null"
            continue
        for parameter, path in cls.config_paths.items():
            if problem := unknown_key(path):
                raise LossDefinitionError(
                    f"{cls.__qualname__}.config_paths[{parameter!r}] is {path!r}: {problem}"
                )
            if config is not None and parameter not in params:
                value = value_at(config, path)
                if value is not None:
                    params[parameter] = value
        if data_module is not None and "data_module" in parameters_of(cls):
            params.setdefault("data_module", data_module)
        if "sync" in parameters_of(cls):
            params.setdefault("sync", sync)
        if lacking := missing_arguments(cls, {"loss_name": name, **params}):
            places = [
                f"{argument!r} (or {cls.config_paths[argument]} in the config)"
                if argument in cls.config_paths
                else repr(argument)
                for argument in lacking
            ]
            raise MissingArgumentError(
                f"losses.{name}: the loss must be given {' and '.join(places)}. "
                f"It has: {', '.join(parameters_of(cls))}."
            )
        try:
            built[name] = cls.create(name.rpartition("/")[2], **params)
        except (ArgumentError, ArgumentValueError, TypeError, ValueError) as error:
            if isinstance(error, DataError | FitError):
                raise  # the labels are at fault, not the config
            raise ConfigError(f"losses.{name}: {error}") from error
    return built, off


def check_params(
    name: str, given: Any, registry: Registry, prefer: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the arguments of one loss, after a check that its constructor has them.

    Raises:
        ConfigError: they are no mapping, or hold a name that the constructor does not have, or
            a value that cannot be meant.
    """
    from lploss.loss import parameters_of

    given = plain(given)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"losses.{name} must be a mapping of arguments, got {type(given).__name__}: {given!r}"
        )
    known = parameters_of(registry.load(LossSpec, name, prefer))
    for parameter in given:
        if parameter not in known:
            raise ConfigError(
                f"losses.{name}: the loss has no argument {parameter!r}."
                f"{did_you_mean(str(parameter), known)} It has: {', '.join(known)}."
            )
    return {
        parameter: _as_annotated(f"losses.{name}: {parameter}", value, known[parameter])
        for parameter, value in given.items()
    }


_TRUTH = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
# What annotations of text, and of containers of nothing else, consist of.
_OF_TEXT = {"str", "None", "Optional", "Sequence", "list", "tuple", "Iterable", "Collection"}
_OF_TEXT |= {"set", "frozenset", "Mapping", "dict", "typing", "collections", "abc"}


def _as_annotated(argument: str, value: Any, parameter: inspect.Parameter) -> Any:
    """Return the value of an argument, where a config's words are a truth value, as that.

    Raises:
        ConfigError: the value is missing, or not text where the parameter is annotated as text.
    """
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        annotation = inspect.formatannotation(annotation)
    words = set(re.findall(r"\w+", annotation))
    leaves = list(_leaves(value))
    if "???" in [leaf for leaf in leaves if isinstance(leaf, str)]:
        raise ConfigError(f"{argument} is missing: ??? stands for a value that must be given")
    if isinstance(value, str) and ("bool" in words or isinstance(parameter.default, bool)):
        return value if "str" in words else _TRUTH.get(value.lower(), value)
    if "str" in words and words <= _OF_TEXT:
        wrong = [leaf for leaf in leaves if isinstance(leaf, bool | int | float)]
        if wrong:
            raise ConfigError(f"{argument} must hold text, got {wrong[0]!r}. Put it into quotes.")
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value
