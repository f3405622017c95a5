"""Everything that lploss raises or warns with.

Each error says what was expected, what came, whose it is and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class LplossError(Exception):
    """Base of all errors of lploss; catching it catches them all."""

    def __str__(self) -> str:
        # KeyError would show the message as a quoted literal, line breaks escaped.
        return Exception.__str__(self)


class SpecError(LplossError, ValueError):
    """A spec of a plugin holds a malformed name, target or axis."""


class LossDefinitionError(LplossError, TypeError):
    """A subclass of `Loss` breaks the contract; raised where the class is created."""


class ArgumentError(LplossError, TypeError):
    """A constructor got an argument that it does not have.

    Args:
        message: what is wrong, what was expected and what to do.
        argument: name of the argument, where the error is about a single one.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class ArgumentValueError(LplossError, ValueError):
    """A constructor got an argument whose value cannot be used.

    Args:
        message: what is wrong, what was expected and what to do.
        argument: name of the argument, where the error is about a single one.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class MissingInputError(LplossError, KeyError):
    """A loss needs an input that the batch does not hold and that cannot be derived."""


class InputTypeError(LplossError, TypeError):
    """An input is not a tensor, or a tensor of the wrong kind."""


class ShapeError(LplossError, ValueError):
    """An input does not have the axes that the loss declares."""


class UnknownNameError(LplossError, KeyError):
    """No plugin provides the name that was asked for."""


class UnknownLossError(UnknownNameError):
    """No plugin provides a loss of this name."""


class UnknownModelError(UnknownNameError):
    """No plugin provides a model of this name."""


class UnknownInputError(UnknownNameError):
    """No plugin describes an input of this name."""


class AmbiguousNameError(LplossError, LookupError):
    """Several distributions provide the name that was asked for."""


class PluginError(LplossError, ImportError):
    """A plugin, or what it promised, could not be loaded."""


class MissingDependencyError(LplossError, ImportError):
    """An optional dependency is not installed."""


class MissingWeightsError(LplossError, OSError):
    """Pretrained weights cannot be had."""


class ConfigError(LplossError, ValueError):
    """A config holds an unknown key, a wrong type or a contradiction."""


class MissingArgumentError(ConfigError):
    """A config does not hold the arguments that a loss must be given.

    Args:
        message: what is wrong, what was expected and what to do.
        arguments: their names.
    """

    def __init__(self, message: str, *, arguments: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.arguments = tuple(arguments)


class DataError(LplossError, ValueError):
    """A file of labels, predictions or video cannot be used."""


class FitError(LplossError, ValueError):
    """A loss cannot be fitted to the labels it was given."""


class NotFittedError(LplossError, RuntimeError):
    """A loss that must be fitted first was used before."""


class TrainingError(LplossError, RuntimeError):
    """A training cannot go on."""


class ProcessError(LplossError, RuntimeError):
    """A function that several processes were to call failed in one, or did not finish in time."""


class FolderInUseError(LplossError, RuntimeError):
    """Another process writes to the folder."""


class PluginLoadWarning(UserWarning):
    """A plugin is left out because it failed; everything else works."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the names close to ``name``, or nothing.

    Example:
        >>> did_you_mean("temproal", ["temporal", "rmse"])
        " Did you mean 'temporal'?"
    """
    matches = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def first_line(error: BaseException) -> str:
    """Return the error as one line: its type, and its message up to the first line break."""
    try:
        message = str(error).strip().splitlines()
    except Exception:  # the __str__ of a third party's exception may raise
        message = ["its message cannot be shown"]
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__
