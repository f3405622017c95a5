"""What a loss takes from a batch, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lploss.axes import annotations_of, axes_of, dtypes_of
from lploss.errors import InputTypeError, MissingInputError, ShapeError
from lploss.testing.batches import GENERIC, Example
from lploss.testing.check import (
    BOTH,
    Case,
    NotApplicable,
    check,
    fail,
    is_close,
    scalar_of,
    show,
)
from lploss.testing.subject import LossInput


@check(
    why="A trainer hands the whole batch to every loss; a loss must take what it declares, and say "
    "so where it is not there.",
    mend="Name the inputs in compute_loss and remove_nans, and do not catch errors there.",
)
def check_batch_keys(case: Case) -> None:
    def body(example: Example) -> None:
        expected = scalar_of(case.loss, example)
        more = {"images": torch.zeros(1, 3), "not_there": None, "index": 7, **example.batch}
        value = case.loss(**more).loss
        if not is_close(value, expected):
            fail(
                f"keys that it does not declare changed the loss from {show(expected)} to "
                f"{show(value)}"
            )
        required = {name: example.batch[name] for name in case.required()}
        case.loss(**required)  # what is optional must not be needed
        for name in required:
            rest = {key: tensor for key, tensor in example.batch.items() if key != name}
            for batch in (rest, {**rest, name: None}):
                try:
                    case.loss(**batch)
                except MissingInputError as error:
                    if name in str(error) and case.loss.loss_name in str(error):
                        continue
                    fail(f"the error must name the loss and the input {name}, it says: {error}")
                except Exception as error:
                    fail(
                        f"without {name} it must raise MissingInputError, it raised "
                        f"{type(error).__name__}: {error}"
                    )
                fail(f"without {name} it must raise MissingInputError, it returned a value")

    case.for_each(body, GENERIC, at_most=3)


@check(
    why="A tensor of the wrong shape that is broadcast in silence trains on nonsense.",
    mend="Annotate every parameter of compute_loss and remove_nans with jaxtyping, giving axes of "
    "the same size the same name.",
)
def check_annotations(case: Case) -> None:
    if not any(i.has_batch for i in case.inputs.values()):
        fail(
            "no input has a first axis called batch, so nothing is known of frames: call it so in "
            "the annotations"
        )
    steps = (case.loss.remove_nans, case.loss.compute_loss)
    hinted = {name for step in steps for name in annotations_of(step)}
    annotated = {name for step in steps for name in axes_of(step)}
    for name in case.inputs:
        if name not in hinted:
            case.script = "print(loss.compute_loss.__annotations__)"
            fail(f"{name} has no annotation that says its axes, so any shape is taken")

    def body(example: Example) -> None:
        for name in example.batch:
            if name in annotated:
                for what, wrong in _wrong_shapes(case, example, name):
                    _demand_refused(case, example, name, wrong, f"with {what}")

    case.for_each(body, GENERIC, at_most=8)


@check(
    why="A byte mask is inverted to 255 instead of False, and integers are divided without their "
    "fractions: a tensor of the wrong dtype that is accepted trains on something else.",
    mend="Annotate each input with the dtypes that it may have, as in Bool[...] | UInt8[...], and "
    "convert to one of them before any arithmetic.",
    shows=BOTH,
)
def check_dtypes(case: Case) -> None:
    steps = (case.loss.remove_nans, case.loss.compute_loss)
    stated = {name for step in steps for name in dtypes_of(step)}
    if not stated & case.inputs.keys():
        raise NotApplicable("no annotation states a dtype")

    def body(example: Example) -> None:
        for name, value in example.batch.items():
            of_input = case.inputs[name]
            if name not in stated or of_input.dtypes is None:
                continue
            for dtype in set(of_input.drawn_dtypes) - {value.dtype}:
                other = example.with_batch({**example.batch, name: value.to(dtype)})
                before, after = case.compared(case.loss, example, other)
                if not is_close(before, after):
                    fail(
                        f"with {name} as {dtype} the loss is {show(after)}, with the same values "
                        f"as {value.dtype} it is {show(before)}"
                    )
            case.other = None
            for dtype in (torch.bool, torch.uint8, torch.int64, torch.float32):
                if dtype not in of_input.dtypes:
                    _demand_refused(case, example, name, value.to(dtype), f"of {dtype}")

    case.for_each(body, replace(GENERIC, optional=True), at_most=6)


def _wrong_shapes(case: Case, example: Example, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors that do not have the axes of an input, and what is wrong with each."""
    value = example.batch[name]
    of_input = case.inputs[name]
    yield "one axis more", value[None]
    yield "one axis less", value.flatten(0, 1) if value.ndim > 1 else value.sum()
    if of_input.is_annotated:
        for dim, axis in enumerate(of_input.axes.text.split()):
            if _is_bound(case, example, of_input, dim):
                longer = torch.cat([value, value.narrow(dim, 0, 1)], dim=dim)
                yield f"{value.shape[dim] + 1} along {axis}", longer


def _is_bound(case: Case, example: Example, of_input: LossInput, dim: int) -> bool:
    """Whether another size of an axis contradicts something."""
    factor = of_input.axes.factors[dim]
    if factor is None:
        return False
    number, names = factor
    if number > 1:
        return True
    axes = [
        (i.name, place, set(other[1]))
        for i in case.inputs.values()
        if i.name in example.batch and i.is_annotated
        for place, other in enumerate(i.axes.factors)
        if other is not None
    ]
    known = set(case.loss.axis_sizes).union(*(other for _, _, other in axes if len(other) == 1))
    own = set(names)
    # Of a product with another unknown size, many sizes are a part.
    others = [
        other
        for name, place, other in axes
        if other & own and (name, place) != (of_input.name, dim) and other - own <= known
    ]
    return bool(own & set(case.loss.axis_sizes) or others)


def _demand_refused(case: Case, example: Example, name: str, wrong: Tensor, what: str) -> None:
    dtype = "" if wrong.dtype is torch.float32 else f", dtype={wrong.dtype}"
    case.script = f"""batch["{name}"] = torch.zeros({tuple(wrong.shape)}{dtype})  # {what}
loss(**batch)"""
    has_wrong_dtype = wrong.dtype is not example.batch[name].dtype
    expected = "InputTypeError" if has_wrong_dtype else "ShapeError"
    try:
        case.loss(**{**example.batch, name: wrong})
    except (ShapeError, InputTypeError) as error:
        text = str(error)
        named = [name] if has_wrong_dtype else case.inputs[name].axes.text.split()
        if case.loss.loss_name not in text or not any(part in text for part in named):
            of_what = "the input" if has_wrong_dtype else "the axis"
            fail(f"the error must name the loss and {of_what}, it says: {text}")
    except Exception as error:
        fail(f"{name} {what} must raise {expected}, it raised {type(error).__name__}: {error}")
    else:
        fail(f"{name} {what} must raise {expected}, it was taken")
    case.script = None
