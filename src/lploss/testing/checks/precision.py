"""Single and half precision."""

from __future__ import annotations

import torch

from lploss.testing.batches import Example, Gaps, Likeness, Wish
from lploss.testing.check import Case, check, fail, gradients_of, is_close, scalar_of, show

# Where predictions are near their targets, what remains of large coordinates is small.
_NEAR_AND_FAR = Wish(likenesses=(Likeness.NEAR, Likeness.ANYWHERE), gaps=(Gaps.NONE,))


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
    why="Most trainers run under autocast; there matrix products come out in bfloat16.",
    mend="Mix no precisions in operations that refuse it, and switch autocast off around matrix "
    "products of coordinates: bfloat16 is off by px.",
    shows='with torch.autocast("cpu", dtype=torch.bfloat16):\n    print(loss(**batch).loss)',
)
def check_autocast(case: Case) -> None:
    def body(example: Example) -> None:
        plain = scalar_of(case.loss, example)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, gradients = gradients_of(case.loss, example)
        if not value.isfinite() or not all(g.isfinite().all() for g in gradients.values()):
            fail(f"under autocast to bfloat16 loss and gradients must be finite: {show(value)}")
        if not is_close(value, plain, rtol=0.05, atol=1e-3):
            fail(f"under autocast to bfloat16 the loss is {show(value)}, without {show(plain)}")

    case.for_each(body, _NEAR_AND_FAR, at_most=10)
