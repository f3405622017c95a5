"""What the axes in a jaxtyping annotation say, and whether a tensor has them."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lploss.errors import InputTypeError, ShapeError

_NUMBERS = {"two": 2, "three": 3, "four": 4}


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes of one input, as its annotation states them.

    Attributes:
        text: the annotation's axes, e.g. ``"batch two_x_num_keypoints"``.
        factors: for each axis the factors of its size: names, and one number. ``None`` for an
            axis that may have any size.
        kind: ``"float"``, ``"int"`` or ``"bool"`` where the annotation names one of them.
    """

    text: str
    factors: tuple[tuple[int, tuple[str, ...]] | None, ...]
    kind: str | None = None

    @property
    def floating(self) -> bool:
        """Whether the tensor must hold floating-point numbers."""
        return self.kind == "float"

    @classmethod
    def parse(cls, text: str, kind: str | None = None) -> Axes | None:
        """Return the axes, or ``None`` where they hold something that is not checked here.

        Example:
            >>> Axes.parse("batch two_x_num_keypoints").factors
            ((1, ('batch',)), (2, ('num_keypoints',)))
        """
        factors: list[tuple[int, tuple[str, ...]] | None] = []
        for axis in text.split():
            name = axis.partition("=")[2] if "=" in axis else axis
            if name == "_":
                factors.append(None)
            elif name.isdecimal():
                factors.append((int(name), ()))
            elif re.fullmatch(r"[A-Za-z]\w*", name):
                parts = [_NUMBERS.get(p, p) for p in name.split("_x_")]
                numbers = [int(p) for p in parts if str(p).isdecimal()]
                names = tuple(p for p in parts if isinstance(p, str) and not p.isdecimal())
                factors.append((math.prod(numbers), names))
            else:
                return None
        return cls(text, tuple(factors), kind)

    def check(self, loss: str, name: str, value: Any, sizes: dict[str, int]) -> None:
        """Check one input against the axes.

        Args:
            loss: name of the loss, for the message.
            name: name of the input, for the message.
            value: what came.
            sizes: sizes of the axes seen so far; extended.

        Raises:
            InputTypeError: ``value`` is not a tensor of the right kind.
            ShapeError: it has other axes.
        """
        if not isinstance(value, torch.Tensor):
            raise InputTypeError(
                f"loss {loss!r}: {name} must be a torch.Tensor with axes "
                f"({', '.join(self.text.split())}), got {type(value).__module__}."
                f"{type(value).__qualname__}. torch.as_tensor may help."
            )
        if self.floating and not value.dtype.is_floating_point:
            raise InputTypeError(
                f"loss {loss!r}: {name} must hold floating-point numbers, got {value.dtype}. "
                f"Call {name}.float()."
            )
        shape = value.shape
        if len(shape) != len(self.factors):
            raise self._error(loss, name, shape, f"{len(self.factors)} axes", len(shape))
        for axis, (factors, size) in enumerate(zip(self.factors, shape, strict=True)):
            if factors is None:
                continue
            known, names = factors
            missing = []
            for part in names:
                if part in sizes:
                    known *= sizes[part]
                else:
                    missing.append(part)
            # Of several unknown factors the product is known, under the names of all.
            unknown = "_x_".join(missing)
            if unknown in sizes:
                known *= sizes[unknown]
                unknown = ""
            if not unknown:
                if size != known:
                    raise self._error(
                        loss, name, shape, f"{known} along {self.text.split()[axis]}", size
                    )
            elif known or size:  # no elements: any size fits
                if known == 0 or size % known:
                    raise self._error(
                        loss,
                        name,
                        shape,
                        f"a multiple of {known} along {self.text.split()[axis]}",
                        size,
                    )
                sizes[unknown] = size // known
                for joined, product in sizes.items():
                    is_part = "_x_" in joined and unknown in joined.split("_x_")
                    if is_part and sizes[unknown] and product % sizes[unknown]:
                        expected = f"a divisor of {product} ({joined})"
                        along = self.text.split()[axis]
                        raise self._error(loss, name, shape, f"{expected} along {along}", size)

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape that a tensor with these axes has.

        Args:
            sizes: sizes of axes, as `check` extends them; an axis without one gets size 1.

        Example:
            >>> Axes.parse("batch two_x_num_keypoints").shape({"batch": 8, "num_keypoints": 5})
            (8, 10)
        """
        return tuple(
            1
            if factors is None
            else factors[0]
            * sizes.get("_x_".join(factors[1]), math.prod(sizes.get(n, 1) for n in factors[1]))
            for factors in self.factors
        )

    def _error(
        self, loss: str, name: str, shape: torch.Size, expected: str, came: int
    ) -> ShapeError:
        return ShapeError(
            f"loss {loss!r}: {name} must have axes ({', '.join(self.text.split())}); "
            f"expected {expected}, got {came}: shape {tuple(shape)}"
        )


def axes_of(function: Callable[..., Any]) -> Mapping[str, Axes]:
    """Return the axes of parameters, and of ``return``, that a jaxtyping annotation describes."""
    parsed = {
        name: Axes.parse(hint.dim_str, _kind(hint.dtypes))
        for name, hint in annotations_of(function).items()
    }
    return {name: axes for name, axes in parsed.items() if axes is not None}


def annotations_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the jaxtyping annotations, of a form that can be checked here or not."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        # An annotation that cannot be resolved is as good as none.
        return {}
    found = {}
    for name, hint in hints.items():
        options = typing.get_args(hint) if _is_union(hint) else (hint,)
        described = [option for option in options if hasattr(option, "dim_str")]
        if len(described) == 1:
            found[name] = described[0]
    return found


def _kind(dtypes: Any) -> str | None:
    if isinstance(dtypes, list | tuple):
        for kind in ("float", "int", "bool"):
            if all(kind in str(dtype) for dtype in dtypes):
                return kind
    return None


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
