"""Losses built from their arguments: by name, with what a config and a trainer add."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from lploss.config import plain, unknown_key, value_at
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
from lploss.loss import Loss, missing_arguments, parameters_of
from lploss.reduction import Sync, checked_sync
from lploss.registry import Registry, default_registry
from lploss.specs import LossSpec


def build_loss(
    name: str,
    params: Mapping[str, Any],
    *,
    config: DictConfig | None = None,
    data_module: Any = None,
    sync: Sync = "auto",
    in_config: bool = False,
    registry: Registry = default_registry,
) -> Loss:
    """Build one loss.

    Args:
        name: the loss's name, or ``distribution/name``.
        params: arguments of its constructor.
        config: a full config, from which the loss's `config_paths` are taken.
        data_module: handed to a loss whose constructor names it, unless ``params`` hold it.
        sync: likewise.
        in_config: whether an error names the places of a config where an argument may be given.
        registry: where the loss is looked up.

    Raises:
        UnknownLossError: nobody provides the name.
        ArgumentError: the loss has no such argument, or needs one that is not given.
        ArgumentValueError: an argument's value cannot be used.
        MissingArgumentError: the same as an error of a config.
        LossDefinitionError: the loss's `config_paths` lead to a key that no config has.
    """
    cls: type[Loss] = registry.load(LossSpec, name)
    known = parameters_of(cls)
    params = dict(params)
    for parameter, path in cls.config_paths.items():
        if problem := unknown_key(path):
            raise LossDefinitionError(
                f"{cls.__qualname__}.config_paths[{parameter!r}] is {path!r}: {problem}"
            )
        if config is None or parameter in params:
            continue
        if (value := value_at(config, path)) is not None:
            params[parameter] = value
    for argument, value in (("data_module", data_module), ("sync", sync)):
        if argument in known and value is not None:
            params.setdefault(argument, value)
    if in_config and (lacking := missing_arguments(cls, {"loss_name": name, **params})):
        places = [
            f"{argument!r} (or {cls.config_paths[argument]} in the config)"
            if argument in cls.config_paths
            else repr(argument)
            for argument in lacking
        ]
        raise MissingArgumentError(
            f"losses.{name}: the loss must be given {' and '.join(places)}. "
            f"It has: {', '.join(known)}.",
            arguments=lacking,
        )
    return cls.create(name.rpartition("/")[2], **params)


def build_losses(
    losses: Mapping[str, Any],
    *,
    config: DictConfig | None = None,
    data_module: Any = None,
    sync: Sync = "auto",
    registry: Registry = default_registry,
) -> tuple[dict[str, Loss], dict[str, str]]:
    """Build losses from their arguments.

    Args:
        losses: for each loss the arguments of its constructor.
        config: the full config, from which a loss's `config_paths` are taken.
        data_module: handed to the losses whose constructor names it.
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
    checked_sync(sync)
    if not isinstance(losses, Mapping):
        raise ConfigError(
            f"losses must be a mapping from names to arguments, got {type(losses).__name__}: "
            f"{losses!r}"
        )
    built: dict[str, Loss] = {}
    off: dict[str, str] = {}
    for name, given in losses.items():
        params = check_params(name, given, registry)
        if "log_weight" in params and params["log_weight"] is None:
            off[name] = "log_weight is null"
            continue
        try:
            built[name] = build_loss(
                name,
                params,
                config=config,
                data_module=data_module,
                sync=sync,
                in_config=True,
                registry=registry,
            )
        except (ArgumentError, ArgumentValueError, TypeError, ValueError) as error:
            if isinstance(error, ConfigError | DataError | FitError | LossDefinitionError):
                raise  # not an argument that stands in the config
            raise ConfigError(f"losses.{name}: {error}") from error
    return built, off


def check_params(name: str, given: Any, registry: Registry) -> dict[str, Any]:
    """Return the arguments of one loss, after a check that its constructor has them.

    Raises:
        ConfigError: they are no mapping, or hold a name that the constructor does not have, or
            a value that cannot be meant.
    """
    given = plain(given)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"losses.{name} must be a mapping of arguments, got {type(given).__name__}: {given!r}"
        )
    known = parameters_of(registry.load(LossSpec, name))
    for parameter in given:
        if parameter not in known:
            raise ConfigError(
                f"losses.{name}: the loss has no argument {parameter!r}."
                f"{did_you_mean(str(parameter), known)} It has: {', '.join(known)}."
            )
    return {
        parameter: as_annotated(f"losses.{name}: {parameter}", value, known[parameter])
        for parameter, value in given.items()
    }


_TRUTH = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
# What annotations of text, and of containers of nothing else, consist of.
_OF_TEXT = {"str", "None", "Optional", "Sequence", "list", "tuple", "Iterable", "Collection"}
_OF_TEXT |= {"set", "frozenset", "Mapping", "dict", "typing", "collections", "abc"}


def as_annotated(argument: str, value: Any, parameter: inspect.Parameter) -> Any:
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
