"""Losses for pose estimation that any PyTorch trainer can pick up.

Importing this package imports neither torch nor numpy: every public name is loaded when it is
first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lploss.config import load_config as load_config
    from lploss.config.factories import get_loss_classes as get_loss_classes
    from lploss.config.factories import get_loss_factories as get_loss_factories
    from lploss.errors import LplossError as LplossError
    from lploss.errors import MissingInputError as MissingInputError
    from lploss.errors import PluginLoadWarning as PluginLoadWarning
    from lploss.errors import UnknownLossError as UnknownLossError
    from lploss.factory import LossFactory as LossFactory
    from lploss.hookspecs import hookimpl as hookimpl
    from lploss.lookup import create_loss as create_loss
    from lploss.lookup import create_model as create_model
    from lploss.lookup import list_inputs as list_inputs
    from lploss.lookup import list_losses as list_losses
    from lploss.lookup import list_models as list_models
    from lploss.lookup import load_loss as load_loss
    from lploss.loss import LogEntry as LogEntry
    from lploss.loss import Loss as Loss
    from lploss.loss import LossResult as LossResult
    from lploss.properties import Metric as Metric
    from lploss.properties import Properties as Properties
    from lploss.registry import Registry as Registry
    from lploss.specs import CommandSpec as CommandSpec
    from lploss.specs import InputSpec as InputSpec
    from lploss.specs import LossSpec as LossSpec
    from lploss.specs import ModelSpec as ModelSpec
    from lploss.validity import Reason as Reason

_PUBLIC = {
    "config.factories": ("get_loss_classes", "get_loss_factories"),
    "config": ("load_config",),
    "errors": ("LplossError", "MissingInputError", "PluginLoadWarning", "UnknownLossError"),
    "factory": ("LossFactory",),
    "hookspecs": ("hookimpl",),
    "loss": ("LogEntry", "Loss", "LossResult"),
    "properties": ("Metric", "Properties"),
    "registry": ("Registry",),
    "lookup": (
        "create_loss",
        "create_model",
        "list_inputs",
        "list_losses",
        "list_models",
        "load_loss",
    ),
    "specs": ("CommandSpec", "InputSpec", "LossSpec", "ModelSpec"),
    "validity": ("Reason",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'lploss' has no attribute {name!r}")
    return getattr(import_module(f"lploss.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if os.environ.get("LPLOSS_TYPECHECK", "") not in ("", "0"):
    from jaxtyping import install_import_hook

    import_module("lploss.typecheck")  # before the hook, which uses it
    install_import_hook(["lploss", "lploss_builtin"], "lploss.typecheck.check")
