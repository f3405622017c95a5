"""Resolving a batch: which inputs are there, which can be derived, which are missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from lploss.errors import (
    LplossError,
    MissingInputError,
    PluginError,
    UnknownInputError,
    did_you_mean,
)
from lploss.registry import Registry, default_registry
from lploss.specs import InputSpec


class InputResolver:
    """Derives the inputs that a batch does not hold, each once, shared by all losses.

    Args:
        required: for each input that must be there, the loss that needs it.
        registry: where the derivations are looked up.
    """

    def __init__(
        self,
        required: Mapping[str, str],
        registry: Registry = default_registry,
    ) -> None:
        self._required = dict(required)
        self._registry = registry
        self._derivations: dict[str, Callable[..., Any] | None] = {}
        for name in self._required:
            self._load(name)

    def resolve(self, batch: Mapping[str, Any], *, strict: bool = True) -> Mapping[str, Any]:
        """Return the batch with what is missing and can be derived.

        Args:
            batch: the inputs, by name.
            strict: whether an input that cannot be derived is an error; else it stays absent.

        Raises:
            MissingInputError: a required input is absent and cannot be derived.
        """
        absent = [name for name in self._required if batch.get(name) is None]
        if not absent:
            return batch
        resolved = dict(batch)
        for name in absent:
            if not self._derive(name, resolved, ()) and strict:
                raise missing_input(self._required[name], name, batch, self._registry)
        return resolved

    def predictions_behind(self, name: str) -> frozenset[str]:
        """Return the predictions that an input is derived from, directly or through others.

        A prediction is an input whose name contains ``_pred`` and which nothing derives: what a
        network returned. Inputs that nothing derives have none behind them.
        """
        self._load(name)
        behind: set[str] = set()
        names = [name]
        for derived in names:  # grows while it is walked
            function = self._derivations.get(derived)
            if function is not None:
                try:
                    needs = needs_of(function)
                except PluginError:
                    continue  # raised where the input is derived
                names += [need for need in needs if need not in names]
            elif derived != name and is_prediction(derived):
                behind.add(derived)
        return frozenset(behind)

    def _load(self, name: str) -> None:
        """Load how an input is derived, which no compiled graph could do."""
        if name in self._derivations:
            return
        try:
            function = self._derivation(name)
            needs = {} if function is None else needs_of(function)
        except LplossError:
            return  # raised where it is needed, if it is
        for need in needs:
            self._load(need)

    def _derive(self, name: str, resolved: dict[str, Any], under_way: tuple[str, ...]) -> bool:
        """Put the input into ``resolved``; return whether it is there now."""
        if resolved.get(name) is not None:
            return True
        function = self._derivation(name)
        if function is None or name in under_way:
            return False
        needs = needs_of(function)
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
            spec = _spec(name, self._registry)
            self._derivations[name] = (
                self._registry.load(InputSpec, name)
                if spec is not None and spec.derived_by is not None
                else None
            )
        return self._derivations[name]


def is_prediction(name: str) -> bool:
    """Return whether an input of this name holds predictions, or what is derived from them.

    Example:
        >>> is_prediction("heatmaps_pred"), is_prediction("keypoints_pred_3d")
        (True, True)
        >>> is_prediction("keypoints_targ")
        False
    """
    return "_pred" in name


def missing_input(
    loss: str,
    name: str,
    batch: Mapping[str, Any],
    registry: Registry = default_registry,
) -> MissingInputError:
    """Return the error that names the loss, the input, what was there, and the way out."""
    there = sorted(key for key, value in batch.items() if value is not None)
    lines = [
        f"loss {loss!r} needs the input {name!r}, which the batch does not hold.",
        f"The batch holds: {', '.join(there) if there else 'nothing'}.",
    ]
    try:
        # A key that is an input by itself is hardly a misspelling.
        described = registry.names(InputSpec)
        lines[0] += did_you_mean(name, [key for key in there if key not in described])
        spec = _spec(name, registry)
        if spec is not None:
            lines.append(f"It is: {spec.meaning}; axes ({spec.axes}), {spec.unit}.")
        lines += _ways(name, there, registry)
    except LplossError as error:
        lines.append(f"What it is cannot be told: {error}")
    return MissingInputError("\n".join(lines))


def _ways(name: str, there: Collection[str], registry: Registry) -> list[str]:
    """Say how an input is derived, and how what lacks for that is."""
    lines = []
    names = [name]
    for derived in names:  # grows while it is walked
        spec = _spec(derived, registry)
        if spec is None or spec.derived_by is None:
            continue
        needs = needs_of(registry.load(InputSpec, derived))
        required = [need for need, is_required in needs.items() if is_required]
        lacking = [need for need in required if need not in there]
        missing = f"; of these the batch lacks {', '.join(lacking)}" if lacking else ""
        lines.append(
            f"LossFactory derives {derived} from {', '.join(required) or 'nothing'}{missing}."
        )
        names += [need for need in lacking if need not in names]
    return lines


def _spec(name: str, registry: Registry) -> InputSpec | None:
    try:
        return registry.find(InputSpec, name).spec
    except UnknownInputError:
        return None


def needs_of(function: Callable[..., Any]) -> dict[str, bool]:
    """Return the inputs that a derivation names, required ones as ``True``."""
    parameters = inspect.signature(function).parameters
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(
                f"{function.__module__}.{function.__qualname__} must name the inputs from which "
                f"it derives another, it has {parameter}"
            )
    return {name: p.default is p.empty for name, p in parameters.items()}
