"""What the value of a loss is."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from lploss.inputs import is_prediction
from lploss.testing.batches import GENERIC, Example, Likeness, Wish
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


@check(
    why="A trainer calls backward on what a loss returns, and adds it to other losses.",
    mend="Let compute_loss return finite values in the precision of its inputs, and leave the "
    "sum and the division to reduce_loss.",
)
def check_scalar(case: Case) -> None:
    def body(example: Example) -> None:
        for dtype in (torch.float32, torch.float64):
            value = case.loss(**example.to(dtype).batch).loss
            if value.shape != ():
                fail(f"the loss must be one number, it has shape {tuple(value.shape)}")
            if not value.isfinite():
                fail(f"the loss must be finite, it is {show(value)}")
            if value.dtype != dtype:
                fail(f"the loss of {dtype} inputs must be {dtype}, it is {value.dtype}")
            if value.device.type != "cpu":
                fail(f"the loss of inputs on the CPU must be there, it is on {value.device}")

    case.for_each(body)


@check(
    why="Scoring shows the element-wise values, training minimises their mean: they must tell the "
    "same.",
    mend="Do not override reduce_loss, or let it return the sum over the valid elements divided by "
    "`denominator`.",
    shows="print(loss(**batch).loss, loss.weight, loss.elementwise(**batch))",
)
def check_elementwise_agrees(case: Case) -> None:
    loss = case.loss

    def body(example: Example) -> None:
        elements = loss.elementwise(**example.batch)
        valid = elements.isfinite()
        number = valid.sum() if loss.denominator == "valid" else elements.numel()
        expected = loss.weight * elements.nansum() / max(int(number), 1)
        value = loss(**example.batch).loss
        # That a value is not finite, check_scalar tells.
        if value.isfinite() and not is_close(value, expected):
            fail(
                f"the loss must be the weight times the mean of the element-wise values over "
                f"{loss.denominator} elements, {show(expected)}, it is {show(value)}"
            )

    case.for_each(body)


@check(
    why="A loss that is 0 whatever is predicted trains nothing, and passes all other checks.",
    mend="Look for a mask that leaves out everything, or a clip that takes everything; if only "
    "rare predictions cost something, give the InputSpec a strategy that draws them.",
    shows="print(loss(**batch).loss)",
)
def check_costs_something(case: Case) -> None:
    loss = case.copy(epsilon=0.0)
    values: list[float] = []

    def body(example: Example) -> None:
        values.append(scalar_of(loss, example).item())

    case.for_each(body, replace(GENERIC, sizes={"batch": 4 + loss.num_previous_frames}))
    if values and not any(value != 0 for value in values):
        fail(f"without epsilon the loss was 0 in all of {len(values)} examples")


@check(
    why="Who looks for a bug, or resumes a training, must get the same numbers again.",
    mend="Take no random numbers and keep nothing from one call to the next.",
    shows="print(loss(**batch).loss, loss(**batch).loss)",
)
def check_deterministic(case: Case) -> None:
    untouched = case.copy()

    def body(example: Example) -> None:
        first, gradients = gradients_of(case.loss, example)
        second, again = gradients_of(case.loss, example)
        if not is_close(first, second, rtol=0.0, atol=0.0):
            fail(f"two calls with one batch gave {show(first)} and {show(second)}")
        of_new, _ = gradients_of(copy.deepcopy(untouched), example)
        if not is_close(first, of_new, rtol=0.0, atol=0.0):
            fail(
                f"after calls with other batches the loss is {show(first)}, a new one gives "
                f"{show(of_new)}"
            )
        in_eval, _ = gradients_of(copy.deepcopy(untouched).eval(), example)
        if not is_close(first, in_eval, rtol=0.0, atol=0.0):
            fail(f"in training the loss is {show(first)}, after .eval() {show(in_eval)}")
        for name, gradient in gradients.items():
            if not is_close(gradient, again[name], rtol=0.0, atol=0.0):
                fail(f"two calls with one batch gave different gradients for {name}")

    case.for_each(body)


@check(
    why="A loss that is not zero at its target pulls a perfect network away from it.",
    mend="Measure the difference between prediction and target, and let its gradient at zero be "
    "zero: the square root has none there; or do not state zero_at_target.",
)
def check_zero_at_target(case: Case) -> None:
    loss = case.loss
    if not loss.properties.zero_at_target:
        raise NotApplicable("properties.zero_at_target is not stated")
    targets = {name: name.replace("_pred", "_targ") for name in case.inputs if is_prediction(name)}
    if not any(target in case.inputs for target in targets.values()):
        fail(
            "properties.zero_at_target is stated, but no input ..._pred has a target ..._targ: "
            f"the inputs are {', '.join(case.inputs)}"
        )

    def body(example: Example) -> None:
        value, gradients = gradients_of(loss, example)
        if not value.abs() <= 1e-5:
            fail(f"where the predictions equal the targets, the loss must be 0, is {show(value)}")
        for name, gradient in gradients.items():
            if not gradient.isfinite().all():
                fail(
                    f"where the predictions equal the targets, the gradient for {name} must be "
                    f"finite, it is {show(gradient)}"
                )

    case.for_each(body, Wish(likenesses=(Likeness.EXACT,)))
