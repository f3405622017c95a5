"""The loss under test: how it is built anew, who provides it, and what its inputs are."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from lploss.axes import FLOATING, Axes, annotations_of, axes_of, dtypes_of
from lploss.errors import (
    ArgumentError,
    InputTypeError,
    LossDefinitionError,
    LplossError,
    PluginError,
    UnknownInputError,
)
from lploss.inputs import is_prediction, needs_of
from lploss.loss import Loss, is_target
from lploss.registry import Entry, Registry, default_registry, import_target
from lploss.specs import InputSpec, LossSpec

#: A loss, its class, its name, or a function without arguments that returns one.
Target: TypeAlias = "str | Loss | type[Loss] | Callable[[], Loss] | Subject"


@dataclass(frozen=True)
class LossInput:
    """One input of the loss.

    Attributes:
        name: its key in the batch.
        axes: its axes, as the loss annotates them, or else as its `InputSpec` says.
        is_required: whether the batch must hold it.
        is_annotated: whether the loss annotates it.
        dtypes: what its annotation accepts; ``None``: all.
        spec: what a plugin says of it.
        distribution: whose the spec is.
    """

    name: str
    axes: Axes
    is_required: bool
    is_annotated: bool
    spec: InputSpec | None
    distribution: str = ""
    dtypes: frozenset[torch.dtype] | None = None

    @property
    def missing(self) -> str | None:
        """What marks an entry that is not there: ``"nan"``, ``"zeros"``, or nothing."""
        missing = "nan" if self.spec is None else self.spec.missing
        cannot = missing == "nan" and not self.drawn_dtypes[0].is_floating_point
        return None if cannot or not self.has_batch else missing

    @property
    def drawn_dtypes(self) -> tuple[torch.dtype, ...]:
        """The dtypes that examples have: one of each group that is accepted, or else floats."""
        if self.dtypes is None or torch.float32 in self.dtypes:
            return (torch.float32,)
        integers = (torch.int64, torch.int32, torch.int16, torch.int8)
        groups = ((torch.bool,), integers, (torch.uint8, torch.uint16, torch.uint32, torch.uint64))
        accepted = [[dtype for dtype in group if dtype in self.dtypes] for group in groups]
        return tuple(dtypes[0] for dtypes in accepted if dtypes) or tuple(self.dtypes)[:1]

    @property
    def is_from_network(self) -> bool:
        """Whether it is a prediction as a network returned it, and not derived from one."""
        is_derived = self.spec is not None and self.spec.derived_by is not None
        return is_prediction(self.name) and not is_derived

    @property
    def has_batch(self) -> bool:
        """Whether its first axis is the batch."""
        return bool(self.axes.factors) and self.axes.factors[0] == (1, ("batch",))

    @property
    def is_constant(self) -> bool:
        """Whether it gets no gradient: a target, or what its spec calls constant."""
        return is_target(self.name) or (self.spec is not None and self.spec.constant)

    @property
    def coordinates(self) -> int:
        """How many coordinates a point has: 2, 3, or 0 for what is no points."""
        space = None if self.spec is None else self.spec.coordinates
        return {None: 0, "image": 2, "space": 3}[space]

    def strategy(self) -> Callable[..., Any] | None:
        """Import the strategy that the spec names.

        Raises:
            PluginError: it cannot be imported.
        """
        if self.spec is None or self.spec.strategy is None:
            return None
        try:
            strategy: Callable[..., Any] = import_target(self.spec.strategy)
        except Exception as error:
            raise PluginError(
                f"the strategy {self.spec.strategy} of the input {self.name!r} of "
                f"{self.distribution} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        return strategy


class Derivation(NamedTuple):
    """How an input is derived.

    Attributes:
        spec: of the input.
        function: computes it.
        inputs: from which, by name.
    """

    spec: InputSpec
    function: Callable[..., Any]
    inputs: Mapping[str, LossInput]

    @property
    def is_constant(self) -> bool:
        """Whether the result gets no gradient."""
        return is_target(self.spec.name) or self.spec.constant


@dataclass(frozen=True)
class Subject:
    """The loss under test.

    Attributes:
        name: as it is asked for.
        cls: its class.
        build: builds it anew, with other arguments where some are given.
        entry: its spec and plugin; ``None`` for a loss that no plugin provides.
        code: Python that builds it.
        registry: where its inputs are looked up.
        plain: the name by which its class builds it; ``None``: it was handed over as it is.
        params: arguments that its example is built with.
    """

    name: str
    cls: type[Loss]
    build: Callable[..., Loss]
    code: tuple[str, ...]
    entry: Entry[LossSpec] | None = None
    registry: Registry = field(default=default_registry, repr=False)
    plain: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_of_class(self) -> bool:
        """Whether its class builds it: only then are all of its arguments known."""
        return self.plain is not None

    @property
    def label(self) -> str:
        """The arguments of its example, for people to read."""
        return ", ".join(f"{name}={_short(value)}" for name, value in self.params.items())

    @classmethod
    def of(
        cls,
        target: Target,
        registry: Registry = default_registry,
        arguments: Mapping[str, Any] | None = None,
    ) -> Subject:
        """Return the subject that a target stands for.

        Args:
            target: what is checked.
            registry: where its name and its inputs are looked up.
            arguments: arguments of its constructor; only the loss with these is checked, and none
                of its variants. They go with a name or a class.

        Raises:
            LplossError: there is no such loss, or it cannot be built.

        Example:
            >>> Subject.of("temporal", arguments={"epsilon": 20.0}).built().epsilon
            tensor(20.)
        """
        if isinstance(target, Subject):
            return target
        if isinstance(target, str):
            entry = registry.find(LossSpec, target)
            loaded: type[Loss] = registry.load(LossSpec, target)
            return cls._of_class(loaded, entry.spec.name, target, entry, registry, arguments)
        if isinstance(target, type) and issubclass(target, Loss):
            if inspect.isabstract(target):
                raise LossDefinitionError(
                    f"{target.__qualname__} does not define compute_loss, which every loss must "
                    "have"
                )
            if len(target.loss_names) != 1:
                raise ArgumentError(
                    f"{target.__qualname__} serves several losses, {', '.join(target.loss_names)}: "
                    "check them by name"
                )
            name = target.loss_names[0]
            entry_of = _entry_of(target, name, registry)
            return cls._of_class(target, name, name, entry_of, registry, arguments)
        if arguments:
            raise ArgumentError(
                f"arguments ({', '.join(arguments)}) go with the name or the class of a loss; "
                f"{target!r} is built already"
            )
        if isinstance(target, Loss):
            original = target
            return cls(
                name=target.loss_name,
                cls=type(target),
                build=lambda **params: (
                    type(original).example(original.loss_name, **params)
                    if params
                    else copy.deepcopy(original)
                ),
                code=(f"loss = ...  # {_one_line(target)}",),
                entry=_entry_of(type(target), target.loss_name, registry),
                registry=registry,
            )
        is_function = callable(target) and not isinstance(target, nn.Module)
        built = target() if is_function else target
        if not isinstance(built, Loss):
            raise ArgumentError(
                "expected a loss, its class, its name, or a function that returns a loss, got "
                f"{built!r}" + (f" from {target!r}" if is_function else "")
            )
        subject = cls.of(built, registry)
        function = getattr(target, "__qualname__", "<unnamed>")
        code = subject.code
        if "<" not in function:  # else nothing can import it
            code = (_import_of(target), f"loss = {function}()")

        def build(**params: Any) -> Loss:
            if params:
                return subject.build(**params)
            loss: Any = target() if is_function else built
            return copy.deepcopy(built) if loss is built else loss

        return replace(subject, build=build, code=code)

    @classmethod
    def _of_class(
        cls,
        loaded: type[Loss],
        plain: str,
        name: str,
        entry: Entry[LossSpec] | None,
        registry: Registry,
        params: Mapping[str, Any] | None = None,
    ) -> Subject:
        fixed = dict(params or {})

        def build(**params: Any) -> Loss:
            return loaded.example(plain, **{**fixed, **params})

        arguments = "".join(f", {key}={_short(value)}" for key, value in fixed.items())
        example = f"{loaded.__qualname__}.example({plain!r}{arguments})"
        code: tuple[str, ...]
        if entry is not None:
            found = f"lploss.load_loss({entry.qualified_name!r})"
            code = ("import lploss", f"loss = {found}.example({plain!r}{arguments})")
        elif "<" in loaded.__qualname__:  # nothing can import it
            code = (f"loss = ...  # {example}",)
        else:
            code = (_import_of(loaded), f"loss = {example}")
        return cls(name, loaded, build, code, entry, registry, plain, fixed)

    def variants(self) -> list[Subject]:
        """Return the loss with each of the arguments that its class calls a variant."""
        if self.plain is None or self.params:
            return []
        return [
            self._of_class(self.cls, self.plain, self.name, self.entry, self.registry, params)
            for params in self.cls.variants(self.plain)
        ]

    def built(self) -> Loss:
        """Build the loss, or say what it takes to do so.

        Raises:
            LossDefinitionError: the class cannot be built without arguments.
        """
        try:
            return self.build()
        except (InputTypeError, LossDefinitionError):
            raise
        except TypeError as error:
            if self.params and isinstance(error, ArgumentError):
                raise  # the caller gave these arguments
            raise LossDefinitionError(
                f"loss {self.name!r} cannot be built for the checks: {error}. Override the class "
                "method `example(cls, name, /, **params)` so that it gives the arguments that are "
                "needed, such as labels to fit."
            ) from error

    def inputs(self) -> Mapping[str, LossInput]:
        """Return the inputs of the loss, by name.

        Raises:
            LossDefinitionError: nothing says which axes an input has.
        """
        steps = (self.cls.remove_nans, self.cls.compute_loss)
        return {
            name: self._input(name, is_required, steps, "compute_loss")
            for name, is_required in self.cls.inputs.items()
        }

    def derivations(self) -> list[Derivation]:
        """Return how inputs of the loss are derived, and what these are derived from, and so on.

        Raises:
            LplossError: a derivation cannot be imported, or nothing says which axes it needs.
        """
        found = []
        names = list(self.cls.inputs)
        for name in names:  # grows while it is walked
            entry = self._input_entry(name)
            if entry is None or entry.spec.derived_by is None:
                continue
            function = self.registry.load(InputSpec, entry.qualified_name)
            needs = {
                need: self._input(need, is_required, (function,), function.__qualname__)
                for need, is_required in needs_of(function).items()
            }
            found.append(Derivation(entry.spec, function, needs))
            names += [need for need in needs if need not in names]
        return found

    def _input(
        self,
        name: str,
        is_required: bool,
        steps: Sequence[Callable[..., Any]],
        annotates: str,
    ) -> LossInput:
        """Return what the annotations of functions, or else its spec, say of an input.

        Args:
            name: its key in the batch.
            is_required: whether the batch must hold it.
            steps: the functions that name it; the first takes it as it is in the batch.
            annotates: which function should annotate it, for the message.
        """
        hinted = {n: hints for step in steps for n, hints in annotations_of(step).items()}
        axes_by_name = {n: axes for step in steps for n, axes in axes_of(step).items()}
        dtypes = {n: found for step in steps[::-1] for n, found in dtypes_of(step).items()}
        entry = self._input_entry(name)
        spec = None if entry is None else entry.spec
        axes = axes_by_name.get(name)
        if axes is None and spec is not None:
            axes = Axes.parse(spec.axes)
        if axes is None and name in hinted:
            stated = " or ".join(repr(hint.dim_str) for hint in hinted[name])
            raise LossDefinitionError(
                f"loss {self.name!r}: the axes {stated} of {name!r} are of a form that "
                "examples cannot be drawn from: name each axis or give it a number, "
                'as in "batch two_x_num_keypoints", or describe the input by an InputSpec'
            )
        if axes is None:
            raise LossDefinitionError(
                f"loss {self.name!r}: nothing says which axes {name!r} has, so no example can "
                f"be drawn. Annotate the parameter of {annotates}, e.g. "
                f'{name}: Float[Tensor, "batch num_keypoints"], or describe the input by an '
                "InputSpec."
            )
        return LossInput(
            name,
            axes,
            is_required,
            name in axes_by_name,
            spec,
            "" if entry is None else entry.plugin.distribution,
            dtypes.get(name, FLOATING),
        )

    def _input_entry(self, name: str) -> Entry[InputSpec] | None:
        """Return who describes an input; the loss's own distribution goes first."""
        own = "" if self.entry is None else self.entry.plugin.distribution
        for candidate in ([f"{own}/{name}"] if own else []) + [name]:
            try:
                return self.registry.find(InputSpec, candidate)
            except UnknownInputError:
                continue
        return None


def _entry_of(cls: type[Loss], name: str, registry: Registry) -> Entry[LossSpec] | None:
    for entry in registry.entries(LossSpec):
        if entry.spec.name == name:
            try:
                loaded = registry.load(LossSpec, entry.qualified_name)
            except LplossError:
                continue  # another one's of the same name
            if loaded is cls:
                return entry
    return None


def _import_of(target: Callable[..., Any]) -> str:
    return f"from {target.__module__} import {target.__qualname__.partition('.')[0]}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 and not text.startswith("<") else "..."


def _one_line(loss: Loss) -> str:
    return " ".join(repr(loss).split())


def takes(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters."""
    return list(inspect.signature(function).parameters)
