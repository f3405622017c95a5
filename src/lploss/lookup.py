"""What is installed, by name: losses, models and inputs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from lploss import registry
from lploss.errors import ArgumentError, did_you_mean
from lploss.specs import InputSpec, LossSpec, ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from lploss.loss import Loss


def list_losses() -> list[str]:
    """Return the names of all losses; imports none of them.

    Example:
        >>> "temporal" in list_losses()
        True
    """
    return registry.default_registry.names(LossSpec)


def list_models() -> list[str]:
    """Return the names of all models; imports none of them."""
    return registry.default_registry.names(ModelSpec)


def list_inputs() -> list[str]:
    """Return the names of all inputs that a plugin describes.

    Example:
        >>> "keypoints_pred" in list_inputs()
        True
    """
    return registry.default_registry.names(InputSpec)


def load_loss(name: str) -> type[Loss]:
    """Return the class of a loss.

    Args:
        name: the loss's name, or ``distribution/name``.

    Raises:
        UnknownLossError: nobody provides the name.
        AmbiguousNameError: several distributions provide it.
        PluginError: it cannot be imported.

    Example:
        >>> load_loss("temporal").__name__
        'TemporalLoss'
    """
    loaded: type[Loss] = registry.default_registry.load(LossSpec, name)
    return loaded


def create_loss(name: str, /, **params: Any) -> Loss:
    """Return a new loss.

    Args:
        name: the loss's name, or ``distribution/name``.
        **params: arguments of its constructor; ``lploss show NAME`` lists them.

    Raises:
        UnknownLossError: nobody provides the name.
        AmbiguousNameError: several distributions provide it.
        PluginError: it cannot be imported.
        ArgumentError: the constructor has no such argument, or needs one that is not given.

    Example:
        >>> create_loss("temporal", epsilon=20.0, prob_threshold=0.05, log_weight=5.0).loss_name
        'temporal'
    """
    return load_loss(name).create(name.rpartition("/")[2], **params)


def create_model(name: str, /, **params: Any) -> nn.Module:
    """Return a new model; ``params`` are the arguments of its constructor.

    Raises:
        UnknownModelError: nobody provides the name.
        AmbiguousNameError: several distributions provide it.
        PluginError: it cannot be imported.
        ArgumentError: the constructor has no such argument, or needs one that is not given.
    """
    cls: type[nn.Module] = registry.default_registry.load(ModelSpec, name)
    takes = inspect.signature(cls).parameters
    known = {n: p for n, p in takes.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    takes_others = any(p.kind == p.VAR_KEYWORD for p in takes.values())
    for parameter in params:
        if parameter not in known and not takes_others:
            raise ArgumentError(
                f"model {name!r}: unknown argument {parameter!r}."
                f"{did_you_mean(parameter, known)} It takes: {', '.join(known)}."
            )
    if lacking := [n for n, p in known.items() if p.default is p.empty and n not in params]:
        raise ArgumentError(f"model {name!r} must be given {', '.join(lacking)}")
    return cls(**params)
