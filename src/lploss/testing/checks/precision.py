"""Single and half precision."""

from __future__ import annotations

import torch
from torch import Tensor

from lploss.inputs import is_prediction
from lploss.loss import is_target
from lploss.testing.batches import Example, Gaps, Likeness, Wish
from lploss.testing.check import (
    Case,
    NotApplicable,
    check,
    fail,
    gradients_of,
    is_close,
    scalar_of,
    show,
)
from lploss.testing.subject import LossInput

# Where predictions are near their targets, what remains of large coordinates is small.
_NEAR_AND_FAR = Wish(likenesses=(Likeness.NEAR, Likeness.ANYWHERE), gaps=(Gaps.NONE,))

# Where things coincide, small numbers that keep roots and logarithms from zero are all there is.
_HALF = Wish(
    likenesses=(
        Likeness.NEAR,
        Likeness.ANYWHERE,
        Likeness.EXACT,
        Likeness.STILL,
        Likeness.COLLAPSED,
    ),
    gaps=(Gaps.NONE,),
)
# Numbers whose squares, doubles or differences are beyond the largest of float32, 3.4e38.
_HUGE = (1e20, 2e38, -2e38)


@check(
    why="Networks are trained in float32; a formula that needs float64 loses its digits there.",
    mend="Subtract large numbers before squaring them rather than after, and compute what needs "
    "it in float64 inside.",
    shows="print(loss.elementwise(**batch))\n"
    "batch = {name: value.double() for name, value in batch.items()}\n"
    "print(loss.double().elementwise(**batch))",
)
def check_float32(case: Case) -> None:
    double = case.copy().double()

    def body(example: Example) -> None:
        single = scalar_of(case.loss, example)
        exact = scalar_of(double, example.to(torch.float64))
        if not is_close(single, exact, rtol=1e-3, atol=1e-5):
            fail(f"in float32 the loss is {show(single)}, in float64 {show(exact)}")
        # Errors of single elements may cancel in the mean.
        elements = case.loss.elementwise(**example.batch)
        exact_ones = double.elementwise(**example.to(torch.float64).batch)
        if not is_close(elements, exact_ones, rtol=1e-3, atol=1e-5):
            fail(
                f"in float32 the element-wise loss is {show(elements)}, in float64 "
                f"{show(exact_ones)}"
            )

    case.for_each(body, _NEAR_AND_FAR)


@check(
    why="Most trainers run under autocast; matrix products then come out in bfloat16 or float16, "
    "and so do the predictions of a network.",
    mend="Convert half-precision inputs to float32 before the arithmetic, switch autocast off "
    "around matrix products of coordinates, and keep slopes below 65504, the largest number of "
    "float16.",
    shows="""import torch
for dtype in (torch.bfloat16, torch.float16):
    half = {n: v.detach().to(dtype).requires_grad_() if v.is_floating_point() else v
            for n, v in batch.items()}
    for given in (batch, half):
        with torch.autocast("cpu", dtype=dtype):
            value = loss(**given).loss
        value.backward()
        print(dtype, value, {n: v.grad for n, v in given.items()})""",
)
def check_autocast(case: Case) -> None:
    def body(example: Example) -> None:
        for dtype in (torch.bfloat16, torch.float16):
            name = str(dtype).removeprefix("torch.")
            # What rounding the inputs changes is not the fault of the loss.
            half = _in_half_precision(example, dtype)
            for given, exact, where in (
                (example, example, f"under autocast to {name}"),
                (half, half.to(torch.float32), f"under autocast to {name}, of {name} inputs,"),
            ):
                plain = scalar_of(case.loss, exact)
                with torch.autocast("cpu", dtype=dtype):
                    value, gradients = gradients_of(case.loss, given)
                is_finite = value.isfinite() and all(g.isfinite().all() for g in gradients.values())
                if not is_finite:
                    fail(f"{where} loss and gradients must be finite: {show(value)}")
                if not is_close(value, plain, rtol=0.05, atol=1e-3):
                    fail(f"{where} the loss is {show(value)}, without autocast {show(plain)}")

    case.for_each(body, _HALF, at_most=10)


@check(
    why="The predictions of a diverging network are huge before they are infinite; a finite loss "
    "with a gradient of NaN then destroys the weights unnoticed.",
    mend="In remove_nans, replace what belongs to elements that the mask leaves out even where it "
    "is finite, and do not clip the loss: an infinite loss is fine, for trainers notice it.",
    shows="""result = loss(**batch).loss
result.backward()
print(result, {name: value.grad for name, value in batch.items()})""",
)
def check_huge_numbers(case: Case) -> None:
    names = [
        name for name, i in case.inputs.items() if i.missing and i.drawn_dtypes[0].is_floating_point
    ]
    if not names:
        raise NotApplicable("no input holds values of single elements")

    def body(example: Example) -> None:
        for name in [name for name in names if name in example.batch]:
            for number in _HUGE:
                for everywhere in (False, True):
                    case.example = _with_huge(example, name, number, everywhere)
                    value, gradients = gradients_of(case.loss, case.example)
                    if not value.isfinite():
                        continue
                    for other, gradient in gradients.items():
                        if not is_target(other) and not gradient.isfinite().all():
                            fail(
                                f"where {name} holds {number:g}, the loss is {show(value)}, so the "
                                f"gradient for {other} must be finite, too; it is {show(gradient)}"
                            )

    case.for_each(body, Wish(likenesses=(Likeness.ANYWHERE,)), at_most=10)


def _with_huge(example: Example, name: str, number: float, everywhere: bool) -> Example:
    """Return the example with a number in all finite places of an input, or in the first."""
    value = example.batch[name].clone()
    places = value.isfinite().flatten().nonzero().flatten()
    value.view(-1)[places if everywhere else places[:1]] = number
    return example.with_batch({**example.batch, name: value})


def _in_half_precision(example: Example, dtype: torch.dtype) -> Example:
    """Return the example in half precision, with predicted maps that have a sharp peak.

    All other pixels of these maps are tiny, as those of a confident network are.
    """

    def convert(of_input: LossInput, value: Tensor) -> Tensor:
        is_accepted = of_input.dtypes is None or dtype in of_input.dtypes
        if not is_accepted or not value.is_floating_point():
            return value
        is_map = value.ndim >= 4 and not of_input.coordinates and is_prediction(of_input.name)
        if is_map and value.numel():
            highest = value.amax(dim=(-2, -1), keepdim=True)
            maps = torch.where(value == highest, value, 1e-5 * value)
            value = maps / maps.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-3)
        return value.to(dtype)

    return example.map(convert)
