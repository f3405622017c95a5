"""What happens where elements, or all of them, do not count."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lploss.loss import Loss
from lploss.testing.batches import GENERIC, Example, Gaps, Likeness, Wish
from lploss.testing.check import (
    Case,
    CheckFailure,
    NotApplicable,
    check,
    fail,
    gradients_of,
    is_close,
    show,
)

_SHOWS = """result = loss(**batch).loss
result.backward()
print(result, {name: value.grad for name, value in batch.items()})"""
_WILD = (1e6, -1e6, math.nan, math.inf, -math.inf)


@check(
    why="A batch without a single usable label comes up in every training; the mean of nothing is "
    "NaN, and so is every weight after it.",
    mend="Return masks from remove_nans instead of picking elements by boolean indexing, and "
    "leave the division to reduce_loss.",
    shows=_SHOWS,
)
def check_nothing_valid(case: Case) -> None:
    can_lack = [name for name, i in case.required().items() if i.missing]
    if not can_lack:
        raise NotApplicable("no required input can have missing entries")

    def body(example: Example) -> None:
        for name in can_lack:
            value = math.nan if case.inputs[name].missing == "nan" else 0.0
            batch = {**example.batch, name: torch.full_like(example.batch[name], value)}
            case.example = example.with_batch(batch)
            _demand_nothing(case.loss, case.example, f"all of {name} is missing")

    case.for_each(body, Wish(gaps=(Gaps.NONE, Gaps.ITEMS)), at_most=12)


@check(
    why="The last batch of a process, or what a filter leaves of one, may be empty.",
    mend="Keep to operations that work on tensors without elements: reshape needs the sizes of "
    "all axes, max and min need an axis.",
    shows=_SHOWS,
)
def check_empty_batch(case: Case) -> None:
    if not any(i.has_batch for i in case.inputs.values()):
        raise NotApplicable("no input has the axis batch")

    def body(example: Example) -> None:
        _demand_nothing(case.loss, example, "the batch is empty")

    case.for_each(body, Wish(sizes={"batch": 0}), at_most=8)


@check(
    why="A clip of one frame has no frame before it, and must not stop a training.",
    mend="Take differences along the batch with slices or Tensor.diff, which give no element of "
    "one frame, and do not squeeze axes.",
    shows=_SHOWS,
)
def check_one_frame(case: Case) -> None:
    if not any(i.has_batch for i in case.inputs.values()):
        raise NotApplicable("no input has the axis batch")

    before = case.loss.num_previous_frames

    def body(example: Example) -> None:
        if before:
            _demand_nothing(case.loss, example, "there is no frame with all those before it")
        value, gradients = gradients_of(case.loss, example)
        if not value.isfinite() or not all(g.isfinite().all() for g in gradients.values()):
            fail(f"one frame must give a finite loss and finite gradients, gave {show(value)}")

    for num_frames in range(1, max(before, 1) + 1):
        wish = replace(GENERIC, sizes={"batch": num_frames})
        case.for_each(body, wish, at_most=10)


def _demand_nothing(loss: Loss, example: Example, where: str) -> None:
    value, gradients = gradients_of(loss, example)
    if value.shape != () or value.item() != 0.0:
        fail(f"where {where}, the loss must be exactly 0, it is {show(value)}")
    for name, gradient in gradients.items():
        if gradient.numel() and gradient.abs().max().item() != 0.0:
            fail(
                f"where {where}, the gradient for {name} must be exactly 0, it is {show(gradient)}"
            )


@check(
    why="What is not labelled, or not believed, may hold any number; it must not move the network.",
    mend="Replace by zeros, in remove_nans, every value that belongs to an element which the mask "
    "leaves out, and let nothing but the element-wise axes mix elements.",
    shows=_SHOWS,
)
def check_invalid_has_no_influence(case: Case) -> None:
    loss = case.loss
    tried = 0

    def body(example: Example) -> None:
        nonlocal tried
        wild = _wild(loss, example)
        if wild is None:
            return
        tried += 1
        valid = loss.evaluate(example.batch).valid
        value, gradients = gradients_of(loss, example)
        for number in _WILD:
            spoilt = example.with_batch(
                {
                    name: torch.where(wild[name], number, tensor) if name in wild else tensor
                    for name, tensor in example.batch.items()
                }
            )
            if not _same(valid, loss.evaluate(spoilt.batch).valid):
                continue  # the number itself decides what counts
            case.example = spoilt
            _demand_no_influence(loss, spoilt, wild, value, gradients)

    case.for_each(
        body,
        Wish(
            likenesses=(Likeness.ANYWHERE, Likeness.NEAR),
            gaps=(Gaps.NONE, Gaps.ITEMS, Gaps.SAMPLES, Gaps.COORDINATES),
        ),
    )
    if not tried:
        raise NotApplicable("no example had elements that do not count beside others")


def _demand_no_influence(
    loss: Loss,
    spoilt: Example,
    wild: dict[str, Tensor],
    value: Tensor,
    gradients: dict[str, Tensor],
) -> None:
    try:
        now, gradients_now = gradients_of(loss, spoilt)
    except Exception as error:
        raise CheckFailure(
            f"a wild number where the element does not count made it raise {error}"
        ) from error
    if not is_close(value, now):
        fail(
            "a wild number where the element does not count changed the loss from "
            f"{show(value)} to {show(now)}"
        )
    for name, gradient in gradients_now.items():
        if name in wild and not bool((gradient[wild[name]] == 0).all()):
            fail(
                f"the gradient for {name} must be exactly 0 where the element does not count, it "
                f"is {show(gradient)}"
            )
        if not is_close(gradient, gradients.get(name, gradient)):
            fail(
                f"a wild number where the element does not count changed the gradient for {name} "
                f"from {show(gradients[name])} to {show(gradient)}"
            )


def _wild(loss: Loss, example: Example) -> dict[str, Tensor] | None:
    """Return masks of the entries that influence only elements which do not count.

    What an entry influences is found by differentiating the loss where nothing is missing.
    """
    evaluation = loss.evaluate(example.batch)
    if evaluation.valid is None or bool(evaluation.valid.all()):
        return None
    whole = _filled(example)
    leaves = {n: v.detach().clone().requires_grad_() for n, v in whole.items()}
    clean = loss.evaluate(leaves)
    if clean.elementwise.shape != evaluation.valid.shape or not clean.elementwise.requires_grad:
        return None
    touched = {name: torch.zeros_like(leaf, dtype=torch.bool) for name, leaf in leaves.items()}
    used = {name: mask.clone() for name, mask in touched.items()}
    for element, counts in zip(
        clean.elementwise.flatten(), evaluation.valid.flatten().tolist(), strict=True
    ):
        gradients = torch.autograd.grad(
            element, list(leaves.values()), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                touched[name] |= gradient != 0
                if counts:
                    used[name] |= gradient != 0
    wild = {name: touched[name] & ~used[name] & example.batch[name].isfinite() for name in touched}
    return wild if any(mask.any() for mask in wild.values()) else None


def _filled(example: Example) -> dict[str, Tensor]:
    """Return the batch without gaps, and without two numbers that are the same by chance."""
    random = torch.Generator().manual_seed(0)
    filled = {}
    for name, value in example.batch.items():
        noise = torch.rand(value.shape, generator=random)
        gaps = ~value.isfinite()
        if example.inputs[name].missing == "zeros":
            gaps = gaps | (value == 0)
        filled[name] = torch.where(gaps, noise + 0.5, value + 0.1 * noise)
    return filled


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    return first is not None and second is not None and torch.equal(first, second)
