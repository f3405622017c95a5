"""What a plugin offers, as frozen dataclasses of strings.

A spec names its target as ``"package.module:attribute"``, so that listing a hundred losses
imports none of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from lploss.errors import SpecError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_TEXT = re.compile(r"(?s).*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def _check(spec: object, field: str, form: str, pattern: re.Pattern[str] = _TEXT) -> None:
    value = getattr(spec, field)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise SpecError(f"{type(spec).__name__}.{field} must be {form}, got {value!r}")


@dataclass(frozen=True, slots=True)
class _TargetSpec:
    name: str
    target: str
    summary: str
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self, "name", "a plain name such as 'bone_length'", NAME)
        _check(self, "target", "'package.module:attribute'", _TARGET)
        _check(self, "summary", "one line of text")
        requires: object = self.requires
        if not isinstance(requires, tuple) or not all(isinstance(r, str) for r in requires):
            raise SpecError(
                f"{type(self).__name__}.requires must be a tuple of extras such as ('score',), "
                f"got {requires!r}"
            )


@dataclass(frozen=True, slots=True)
class LossSpec(_TargetSpec):
    """A loss that a plugin provides.

    Args:
        name: the name by which configs ask for it.
        target: its class, a subclass of `lploss.Loss`, as ``"package.module:Class"``.
        summary: one line for ``lploss list``.
        requires: extras of the plugin's distribution that the class needs.

    Raises:
        SpecError: a field is malformed.

    Example:
        >>> LossSpec("bone_length", "acme_losses.bones:BoneLength", "limbs keep their length").name
        'bone_length'
    """

    noun: ClassVar[str] = "loss"
    #: Checks what a target points to, once it is imported.
    target_check: ClassVar[str | None] = "lploss.loss:check_target"


@dataclass(frozen=True, slots=True)
class ModelSpec(_TargetSpec):
    """A model that a plugin provides; the fields are those of `LossSpec`."""

    noun: ClassVar[str] = "model"
    target_check: ClassVar[str | None] = None


@dataclass(frozen=True, slots=True)
class CommandSpec(_TargetSpec):
    """A command of ``lploss`` that a plugin provides; the target is a function for Typer.

    The other fields are those of `LossSpec`. The target is imported when the command is run.
    """

    noun: ClassVar[str] = "command"
    target_check: ClassVar[str | None] = None


@dataclass(frozen=True, slots=True)
class InputSpec:
    """A tensor that a batch may hold.

    Args:
        name: its key in the batch.
        axes: names of its axes, separated by spaces, e.g. ``"batch num_keypoints 2"``.
        unit: its unit, e.g. ``"px"``.
        meaning: one line.
        derived_by: a function that computes it from other inputs, as
            ``"package.module:function"``; the parameters of the function are the names of the
            inputs that it needs. ``None``: it can only be given.
        missing: what marks an entry that is not there: ``"nan"``, ``"zeros"`` (of a map, all of
            it), or ``None``: all entries are always there.
        coordinates: whether it holds coordinates of points in the ``"image"`` (pairs of x, y) or
            in ``"space"`` (x, y, z), along its last axis. ``None``: it holds none.
        strategy: how the conformance kit draws examples, as ``"package.module:function"``: a
            function that returns a Hypothesis strategy of arrays. Its parameters name what it
            needs: ``shape``, ``sizes`` (of the axes, by name), and inputs that are drawn before,
            with a default. ``None``: numbers from a normal distribution.
        constant: whether it is given, such as a camera, or meant as a target, such as the point on
            which all views agree: losses pass no gradient to it, and ``derived_by`` returns it
            without one. Inputs with ``_targ`` in their names are constant anyway.

    Raises:
        SpecError: a field is malformed.

    Example:
        >>> InputSpec("confidences", "batch num_keypoints", "0 to 1", "of the predictions").unit
        '0 to 1'
    """

    name: str
    axes: str
    unit: str
    meaning: str
    derived_by: str | None = None
    missing: Literal["nan", "zeros"] | None = "nan"
    coordinates: Literal["image", "space"] | None = None
    strategy: str | None = None
    constant: bool = False

    noun: ClassVar[str] = "input"
    target_check: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        _check(self, "name", "a plain name such as 'confidences'", NAME)
        _check(self, "axes", "names of axes such as 'batch num_keypoints 2'")
        _check(self, "unit", "a text such as 'px'")
        _check(self, "meaning", "one line of text")
        for target in ("derived_by", "strategy"):
            if getattr(self, target) is not None:
                _check(self, target, "'package.module:function' or None", _TARGET)
        for choice, known in (
            ("missing", ("nan", "zeros", None)),
            ("coordinates", ("image", "space", None)),
        ):
            if getattr(self, choice) not in known:
                raise SpecError(
                    f"InputSpec.{choice} must be {', '.join(map(repr, known[:-1]))} or None, got "
                    f"{getattr(self, choice)!r}"
                )
        constant: object = self.constant
        if not isinstance(constant, bool):
            raise SpecError(f"InputSpec.constant must be True or False, got {constant!r}")


Spec = LossSpec | ModelSpec | CommandSpec | InputSpec
