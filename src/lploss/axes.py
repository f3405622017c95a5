"""What a jaxtyping annotation says of axes and dtypes, and whether a tensor is like that."""

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

#: Floating-point numbers of all precisions.
FLOATING = frozenset(
    dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point
)
_SIGNED = frozenset({torch.int8, torch.int16, torch.int32, torch.int64})


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes of one input, as its annotation states them.

    Attributes:
        text: the annotation's axes, e.g. ``"batch two_x_num_keypoints"``.
        factors: for each axis the factors of its size: names, and one number. ``None`` for an
            axis that may have any size.
    """

    text: str
    factors: tuple[tuple[int, tuple[str, ...]] | None, ...]

    @classmethod
    def parse(cls, text: str) -> Axes | None:
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
        return cls(text, tuple(factors))

    def check(self, loss: str, name: str, value: Any, sizes: dict[str, int]) -> None:
        """Check one input against the axes.

        Args:
            loss: name of the loss, for the message.
            name: name of the input, for the message.
            value: what came.
            sizes: sizes of the axes seen so far; extended.

        Raises:
            InputTypeError: ``value`` is not a tensor.
            ShapeError: it has other axes.
        """
        if not isinstance(value, torch.Tensor):
            raise InputTypeError(
                f"loss {loss!r}: {name} must be a torch.Tensor with axes "
                f"({', '.join(self.text.split())}), got {type(value).__module__}."
                f"{type(value).__qualname__}. torch.as_tensor may help."
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
    """Return the axes of parameters, and of ``return``, that a jaxtyping annotation describes.

    A union whose members have different axes is left out.
    """
    found = {}
    for name, options in annotations_of(function).items():
        texts = {option.dim_str for option in options}
        axes = Axes.parse(texts.pop()) if len(texts) == 1 else None
        if axes is not None:
            found[name] = axes
    return found


def dtypes_of(function: Callable[..., Any]) -> Mapping[str, frozenset[torch.dtype]]:
    """Return the dtypes that the annotations of parameters accept, all members of a union together.

    Where floating-point numbers are accepted, their precision does not matter: the trainer
    chooses it. A parameter that accepts all dtypes is left out.
    """
    found = {}
    for name, options in annotations_of(function).items():
        accepted: set[torch.dtype] = set()
        for option in options:
            names = option.dtypes if isinstance(option.dtypes, list | tuple) else ()
            dtypes = {getattr(torch, str(text), None) for text in names}
            known = {dtype for dtype in dtypes if isinstance(dtype, torch.dtype)}
            if not known:
                break  # all dtypes, or one that torch does not have
            accepted |= known
        else:
            is_floating = any(dtype.is_floating_point for dtype in accepted)
            found[name] = frozenset(accepted | FLOATING if is_floating else accepted)
    return found


def check_dtype(loss: str, name: str, value: Any, accepted: frozenset[torch.dtype]) -> None:
    """Check the dtype of one input.

    Args:
        loss: name of the loss, for the message.
        name: name of the input, for the message.
        value: what came.
        accepted: the dtypes that its annotation accepts.

    Raises:
        InputTypeError: ``value`` is not a tensor of an accepted dtype.
    """
    if not isinstance(value, torch.Tensor):
        raise InputTypeError(
            f"loss {loss!r}: {name} must be a torch.Tensor, got {type(value).__module__}."
            f"{type(value).__qualname__}. torch.as_tensor may help."
        )
    if value.dtype not in accepted:
        expected, conversion = _in_words(accepted)
        raise InputTypeError(
            f"loss {loss!r}: {name} must hold {expected}, got {value.dtype}. "
            f"Call {name}.{conversion}."
        )


def annotations_of(function: Callable[..., Any]) -> Mapping[str, tuple[Any, ...]]:
    """Return the jaxtyping annotations, checkable or not: several of a union, ``None`` apart.

    A union with a member that jaxtyping does not describe, such as a plain tensor, is left out.
    """
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        # An annotation that cannot be resolved is as good as none.
        return {}
    found = {}
    for name, hint in hints.items():
        members = typing.get_args(hint) if _is_union(hint) else (hint,)
        options = tuple(member for member in members if member is not type(None))
        if options and all(hasattr(option, "dim_str") for option in options):
            found[name] = options
    return found


def _in_words(accepted: frozenset[torch.dtype]) -> tuple[str, str]:
    """Return what a tensor must hold, and the method that converts to it."""
    rest, words, conversions = set(accepted), [], []
    if rest & FLOATING:
        words.append("floating-point numbers")
        conversions.append("float()")
        rest -= FLOATING
    if rest >= _SIGNED:
        words.append("integers")
        conversions.append("long()")
        rest -= {dtype for dtype in rest if _is_integer(dtype)}
    for dtype in sorted(rest, key=str):
        words.append(str(dtype))
        conversions.append("bool()" if dtype is torch.bool else f"to({dtype})")
    return " or ".join(words), conversions[0]


def _is_integer(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex and dtype is not torch.bool


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
