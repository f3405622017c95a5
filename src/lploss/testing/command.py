"""What ``lploss check`` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lploss.building import as_annotated
from lploss.config import loss_argument
from lploss.discovery import normalise
from lploss.errors import (
    ArgumentError,
    ArgumentValueError,
    ConfigError,
    LplossError,
    UnknownLossError,
)
from lploss.loss import parameters_of
from lploss.registry import Registry
from lploss.specs import LossSpec
from lploss.terminal import console
from lploss.testing.check import CHECKS, origin_of
from lploss.testing.conformance import MINIMUM, Conformance
from lploss.testing.report import ConformanceReport
from lploss.testing.subject import Subject


@dataclass(frozen=True)
class Uncheckable:
    """A loss that cannot even be built, and why."""

    loss: str
    error: str

    @property
    def ok(self) -> bool:
        """Never."""
        return False

    def print_table(self) -> None:
        """Print nothing: no check was run."""

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON holds."""
        return {"loss": self.loss, "ok": False, "error": self.error}

    def __str__(self) -> str:
        return f"{self.loss}: cannot be checked: {self.error}"


def names_to_check(names: Sequence[str], distribution: str | None, registry: Registry) -> list[str]:
    """Return ``distribution/name`` of what is asked for; of all losses unless names are given.

    Raises:
        UnknownLossError: there is no such loss, or the distribution has none.
        AmbiguousNameError: several distributions have a loss of a name.
    """
    if names:
        prefix = f"{distribution}/" if distribution else ""
        asked = [f"{prefix}{name}" for name in names]
        found = [registry.find(LossSpec, name).qualified_name for name in asked]
        return list(dict.fromkeys(found))
    entries = registry.entries(LossSpec)
    if distribution is None:
        return list(dict.fromkeys(entry.qualified_name for entry in entries))
    own = [e for e in entries if e.plugin.distribution == normalise(distribution)]
    if not own:
        having = sorted({entry.plugin.distribution for entry in entries})
        raise UnknownLossError(
            f"the distribution {distribution!r} has no loss. These have: {', '.join(having)}."
        )
    return list(dict.fromkeys(entry.qualified_name for entry in own))


def names_and_arguments(given: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the names of losses, and the arguments of the form ``key=value``.

    Values are read as in the section ``losses`` of a config.

    Raises:
        ArgumentError: a value is not YAML, or there are arguments for no loss or for several.
    """
    names = [text for text in given if "=" not in text]
    arguments = {}
    for text in given:
        key, equals, value = text.partition("=")
        if equals:
            try:
                arguments[key] = loss_argument(value)
            except ConfigError as error:
                raise ArgumentError(f"{text!r} cannot be read as key=value: {error}") from error
    if arguments and len(names) != 1:
        raise ArgumentError(
            f"arguments ({', '.join(arguments)}) go with the name of one loss, got "
            f"{', '.join(names) or 'none'}"
        )
    return names, arguments


def check_losses(
    names: Sequence[str],
    *,
    num_examples: int,
    seed: int,
    only: Sequence[str],
    registry: Registry,
    arguments: Mapping[str, Any] | None = None,
) -> Iterator[ConformanceReport | Uncheckable]:
    """Check losses one after the other, showing on a terminal where it is."""
    with console(stderr=True).status("") as status:
        for name in names:
            status.update(f"{name}: building")
            try:
                conformance = Conformance(
                    Subject.of(name, registry, _as_annotated(name, arguments or {}, registry)),
                    num_examples=num_examples,
                    seed=seed,
                    minimum=0 if only else MINIMUM,
                )
            except LplossError as error:
                if arguments and isinstance(
                    error, ArgumentError | ArgumentValueError | ConfigError
                ):
                    raise
                yield Uncheckable(name, f"{error}{origin_of(error)}")
                continue
            for check in only or CHECKS:
                status.update(f"{name}: {check}")
                conformance.record(check)
            yield conformance.report(only or None)


def _as_annotated(name: str, arguments: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Return arguments with words as truth values where the constructor is annotated so."""
    known = parameters_of(registry.load(LossSpec, name))
    return {
        argument: as_annotated(argument, value, known[argument]) if argument in known else value
        for argument, value in arguments.items()
    }
