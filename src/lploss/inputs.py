"""Resolving a batch: which inputs are there, which can be derived, which are missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lploss.errors import MissingInputError, UnknownInputError, did_you_mean
from lploss.registry import Registry, default_registry
from lploss.specs import InputSpec


class InputResolver:
    """Derives the inputs that a batch does not hold, each once, shared by all losses.

    Args:
        required: for each input that must be there, the loss that needs it.
        registry: where the derivations are looked up.
        prefer: for inputs that several distributions describe, the one to take.
    """

    def __init__(
        self,
        required: Mapping[str, str],
        registry: Registry = default_registry,
        prefer: Mapping[str, str] | None = None,
    ) -> None:
        self._required = dict(required)
        self._registry = registry
        self._prefer = prefer
        self._derivations: dict[str, Callable[..., Any] | None] = {}

    def resolve(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the batch with what is missing and can be derived.

        Raises:
            MissingInputError: a required input is absent and cannot be derived.
        """
        absent = [name for name in self._required if batch.get(name) is None]
        if not absent:
            return batch
        resolved = dict(batch)
        for name in absent:
            if not self._derive(name, resolved, ()):
                raise missing_input(
                    self._required[name], name, batch, self._registry, self._prefer
                )
        return resolved

    def _derive(self, name: str, resolved: dict[str, Any], under_way: tuple[str, ...]) -> bool:
        """Put the input into ``resolved``; return whether it is there now."""
        if resolved.get(name) is not None:
            return True
        function = self._derivation(name)
        if function is None or name in under_way:
            return False
        needs = _needs(function)
        for need, required in needs.items():
            if required and not self._derive(need, resolved, (*under_way, name)):
                return False
        try:
            resolved[name] = function(
                **{need: resolved[need] for need in needs if resolved.get(need) is not None}
            )
        except Exception as error:
            error.add_note(
                f"while deriving {name} by {function.__module__}.{function.__qualname__}"
            )
            raise
        return True

    def _derivation(self, name: str) -> Callable[..., Any] | None:
        if name not in self._derivations:
            spec = _spec(name, self._registry, self._prefer)
            self._derivations[name] = (
                self._registry.load(InputSpec, name, self._prefer)
                if spec is not None and spec.derived_by is not None
                else None
            )
        return self._derivations[name]


def missing_input(
    loss: str,
    name: str,
    batch: Iterable[str],
    registry: Registry = default_registry,
    prefer: Mapping[str, str] | None = None,
) -> MissingInputError:
    """Return the error that names the loss, the input, what was there, and the way out."""
    there = sorted(key for key in batch if not isinstance(batch, Mapping) or batch[key] is not None)
    lines = [
        f"loss {loss!r} needs the input {name!r}, which the batch does not hold."
        f"{did_you_mean(name, there)}",
        f"The batch holds: {', '.join(there) if there else 'nothing'}.",
    ]
    spec = _spec(name, registry, prefer)
    if spec is not None:
        lines.append(f"It is: {spec.meaning}; axes ({spec.axes}), {spec.unit}.")
        if spec.derived_by is not None:
            needs = _needs(registry.load(InputSpec, name, prefer))
            required = [need for need, is_required in needs.items() if is_required]
            lacking = [need for need in required if need not in there]
            lines.append(
                f"LossFactory derives it from {', '.join(required)}"
                + (f"; of these {', '.join(lacking)} is missing." if lacking else ".")
            )
    return MissingInputError("\n".join(lines))


def _spec(name: str, registry: Registry, prefer: Mapping[str, str] | None) -> InputSpec | None:
    try:
        return registry.find(InputSpec, name, prefer).spec
    except UnknownInputError:
        return None


def _needs(function: Callable[..., Any]) -> dict[str, bool]:
    """Return the inputs that a derivation names, required ones as ``True``."""
    return {
        name: parameter.default is parameter.empty
        for name, parameter in inspect.signature(function).parameters.items()
    }
