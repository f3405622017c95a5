"""What happens where elements, or all of them, do not count."""

from __future__ import annotations

import copy
import itertools
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
    demand_batch,
    fail,
    gradients_of,
    is_close,
    scalar_of,
    show,
)

_SHOWS = """result = loss(**batch).loss
result.backward()
print(result, {name: value.grad for name, value in batch.items()})"""
_WILD = (1e6, -1e6, 2e38, -2e38, math.nan, math.inf, -math.inf)


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
            _demand_nothing(case, case.example, f"all of {name} is missing")

    case.for_each(body, Wish(gaps=(Gaps.NONE, Gaps.ITEMS)), at_most=12)


@check(
    why="The last batch of a process, or what a filter leaves of one, may be empty.",
    mend="Keep to operations that work on tensors without elements: reshape needs the sizes of "
    "all axes, max and min need an axis.",
    shows=_SHOWS,
)
def check_empty_batch(case: Case) -> None:
    demand_batch(case)

    def body(example: Example) -> None:
        _demand_nothing(case, example, "the batch is empty")

    case.for_each(body, Wish(sizes={"batch": 0}), at_most=8)


@check(
    why="A clip of one frame has no frame before it, and must not stop a training.",
    mend="Take differences along the batch with slices or Tensor.diff, which give no element of "
    "one frame, and do not squeeze axes.",
    shows=_SHOWS,
)
def check_one_frame(case: Case) -> None:
    demand_batch(case)

    before = case.loss.num_previous_frames

    def body(example: Example) -> None:
        if before:
            _demand_nothing(case, example, "there is no frame with all those before it")
        value, gradients = gradients_of(case.loss, example)
        if not value.isfinite() or not all(g.isfinite().all() for g in gradients.values()):
            fail(f"one frame must give a finite loss and finite gradients, gave {show(value)}")

    for num_frames in range(1, max(before, 1) + 1):
        wish = replace(GENERIC, sizes={"batch": num_frames})
        case.for_each(body, wish, at_most=10)


def _demand_nothing(case: Case, example: Example, where: str) -> None:
    """Demand a loss of 0; where all predictions are finite, in both modes."""
    _demand_zero(case.loss, example, where)
    if not example.has_nan_predictions:
        with case.propagating():
            _demand_zero(case.loss, example, where)


def _demand_zero(loss: Loss, example: Example, where: str) -> None:
    value, gradients = gradients_of(loss, example)
    if value.shape != () or value.item() != 0.0:
        fail(f"where {where}, the loss must be exactly 0, it is {show(value)}")
    for name, gradient in gradients.items():
        if gradient.numel() and gradient.abs().max().item() != 0.0:
            fail(
                f"where {where}, the gradient for {name} must be exactly 0, it is {show(gradient)}"
            )


@check(
    why="A network that has diverged predicts NaN; a loss that leaves NaN out, and is finite or "
    "even 0, keeps every guard of a trainer from seeing it.",
    mend="In remove_nans, return masks by reason instead of one mask of what counts, with "
    "Reason.NAN_PREDICTION for the elements that a prediction which is not finite spoils.",
    shows=_SHOWS,
)
def check_nan_predictions(case: Case) -> None:
    predictions = [name for name, i in case.inputs.items() if i.is_from_network]
    if not predictions:
        raise NotApplicable("no input is a prediction of a network")

    def body(example: Example) -> None:
        for name in predictions:
            value = example.batch[name]
            elements = case.loss.evaluate(example.batch).elementwise
            if not value.is_floating_point() or not elements.numel():
                continue
            batches = {
                f"all of {name} is NaN": {**example.batch, name: torch.full_like(value, math.nan)}
            }
            place = _first_that_matters(case.loss, example, name)
            if place is not None:
                batches[f"one entry of {name} is NaN"] = {
                    **example.batch,
                    name: _with(value, place, math.nan),
                }
            for where, batch in batches.items():
                case.example = example.with_batch(batch)
                with case.propagating():
                    _demand_nan(case.loss, case.example, name, where)

    wish = replace(GENERIC, sizes={"batch": case.loss.num_previous_frames + 2}, optional=True)
    case.for_each(body, wish, at_most=6)


def _demand_nan(loss: Loss, example: Example, name: str, where: str) -> None:
    value, gradients = gradients_of(loss, example)
    if not bool(value.isnan()):
        fail(
            f"where {where}, the loss must be NaN, it is {show(value)}: a network that diverged "
            "would not be noticed"
        )
    gradient = gradients.get(name)
    if gradient is not None and not bool(gradient.isnan().all()):
        fail(f"where {where}, the gradient for it must be NaN, it is {show(gradient)}")


def _first_that_matters(loss: Loss, example: Example, name: str) -> int | None:
    """Return the first of some entries of a prediction on which the loss depends."""
    value = example.batch[name]
    clean = loss.evaluate(example.batch).elementwise
    for place in range(0, value.numel(), max(1, value.numel() // 8)):
        batch = {**example.batch, name: _with(value, place, 1e4)}
        if not torch.equal(loss.evaluate(batch).elementwise, clean):
            return place
    return None


def _with(value: Tensor, place: int, number: float) -> Tensor:
    changed = value.clone()
    changed.view(-1)[place] = number
    return changed


@check(
    why="Where missing labels are taken for perfect predictions, the loss of a batch shrinks with "
    "its gaps, and frames with few labels train less.",
    mend="Return a mask of what counts from remove_nans, beside the replaced values.",
    shows="print(loss(**batch).loss, loss.elementwise(**batch))",
)
def check_missing_does_not_dilute(case: Case) -> None:
    loss = case.loss
    can_lack = [name for name, i in case.required().items() if i.missing]
    if loss.denominator != "valid":
        raise NotApplicable("the class says that what is left out counts as 0 in the mean")
    if loss.num_previous_frames or not can_lack:
        raise NotApplicable("a frame more changes other elements, or cannot be missing")

    def body(example: Example) -> None:
        without = scalar_of(loss, example.frames(0, 3))
        for name in can_lack:
            value = example.batch[name].clone()
            value[3:] = math.nan if case.inputs[name].missing == "nan" else 0.0
            case.example = example.with_batch({**example.batch, name: value})
            beside = scalar_of(loss, case.example)
            # That a value is not finite, check_scalar tells.
            if beside.isfinite() and not is_close(beside, without):
                fail(
                    f"a frame in which all of {name} is missing changed the mean over the others "
                    f"from {show(without)} to {show(beside)}"
                )

    case.for_each(body, replace(GENERIC, sizes={"batch": 4}), at_most=8)


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
        at_most=15,
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

    What an entry influences is found by trying: not by its gradient, which a hinge, a maximum or
    epsilon makes zero where the entry matters elsewhere.
    """
    valid = loss.evaluate(example.batch).valid
    if valid is None or bool(valid.all()):
        return None
    whole = example.with_batch(_filled(example))
    without_epsilon = copy.deepcopy(loss)
    without_epsilon.epsilon = torch.zeros_like(loss.epsilon)
    clean = without_epsilon.evaluate(whole.batch)
    if clean.elementwise.shape != valid.shape:
        return None
    wild = {}
    for name, value in whole.batch.items():
        if not example.inputs[name].missing or not value.is_floating_point():
            continue
        mask = torch.zeros_like(value, dtype=torch.bool)
        # Of maps, whole ones: their pixels are many, and go into one element.
        groups = value.flatten(2)[..., 0] if value.ndim >= 4 else value
        for place in itertools.product(*map(range, groups.shape)):
            if not bool(example.batch[name][place].isfinite().all()):
                continue
            touched = torch.zeros_like(valid)
            for number in (math.nan, 1e4, -1e4):
                tried = value.clone()
                tried[place] = number
                now = without_epsilon.evaluate({**whole.batch, name: tried})
                if now.elementwise.shape != valid.shape:
                    return None
                touched |= now.elementwise != clean.elementwise
                if now.valid is not None and clean.valid is not None:
                    touched |= now.valid != clean.valid
            mask[place] = bool(touched.any()) and not bool((touched & valid).any())
        wild[name] = mask
    return wild if any(mask.any() for mask in wild.values()) else None


def _filled(example: Example) -> dict[str, Tensor]:
    """Return the batch without gaps, and without two numbers that are the same by chance."""
    random = torch.Generator().manual_seed(0)
    filled = {}
    for name, value in example.batch.items():
        missing = example.inputs[name].missing
        if missing is None or not value.is_floating_point():
            filled[name] = value
            continue
        noise = torch.rand(value.shape, generator=random)
        gaps = ~value.isfinite()
        if missing == "zeros":
            gaps = gaps | (value == 0)
        filled[name] = torch.where(gaps, noise + 0.5, value + 0.1 * noise)
    return filled


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    return first is not None and second is not None and torch.equal(first, second)
