"""What lies between the batch and the loss: inputs that are derived from others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lploss.errors import LossDefinitionError
from lploss.loss import Loss
from lploss.testing.batches import Example, Gaps, Likeness, Wish
from lploss.testing.check import (
    Case,
    CheckFailure,
    NotApplicable,
    check,
    fail,
    gradients_of,
    is_close,
    show,
    what_failed,
)
from lploss.testing.checks.gradients import check_gradcheck
from lploss.testing.subject import Derivation


@check(
    why="What a derivation does to gaps and gradients, it does to every loss that uses its result.",
    mend="Replace what is not finite before any arithmetic, and return NaN for whatever depends on "
    "it; return a constant without a gradient.",
)
def check_derivations(case: Case) -> None:
    try:
        derivations = case.subject.derivations()
    except LossDefinitionError as reason:
        raise NotApplicable(str(reason)) from reason
    if not derivations:
        raise NotApplicable("no input of the loss is derived from others")
    for derivation in [form for found in derivations for form in _forms(found)]:
        of_derivation = replace(
            case,
            loss=_readout(derivation),
            inputs=derivation.inputs,
            num_examples=min(case.num_examples, 6),
        )
        try:
            _check_derivation(of_derivation, derivation)
        except Exception as error:
            case.example, function = of_derivation.example, derivation.function
            case.script = _script(derivation)
            raise CheckFailure(
                f"{derivation.spec.name}, as {function.__module__}.{function.__qualname__} derives "
                f"it from {', '.join(derivation.inputs)}: {what_failed(error)}"
            ) from error


def _forms(derivation: Derivation) -> list[Derivation]:
    """Return the derivation with all of its inputs, and without the optional ones."""
    required = {name: i for name, i in derivation.inputs.items() if i.is_required}
    whole = {name: replace(i, is_required=True) for name, i in derivation.inputs.items()}
    kinds = [whole] if len(required) in (0, len(whole)) else [whole, required]
    return [derivation._replace(inputs=inputs) for inputs in kinds]


def _check_derivation(case: Case, derivation: Derivation) -> None:
    def has_finite_gradients(example: Example) -> None:
        _, gradients = gradients_of(case.loss, example)
        for name, gradient in gradients.items():
            if derivation.is_constant:
                fail(f"a constant must have no gradient, {name} gets one: detach the result")
            if not gradient.isfinite().all():
                fail(f"the gradient for {name} must be finite, it is {show(gradient)}")

    def keeps_gaps_apart(example: Example) -> None:
        _demand_gaps_apart(case.loss, example, derivation)

    case.for_each(has_finite_gradients)
    case.for_each(keeps_gaps_apart, Wish((Likeness.ANYWHERE,), (Gaps.ITEMS, Gaps.SAMPLES)))
    try:
        check_gradcheck(case)
    except NotApplicable:
        case.example = None


def _demand_gaps_apart(loss: Loss, example: Example, derivation: Derivation) -> None:
    """Demand that a gap spoils no other frame but those that depend on it, gradients included."""
    gaps = {
        name: ~value.isfinite()
        for name, value in example.batch.items()
        if value.is_floating_point() and not value.isfinite().all()
    }
    if not gaps:
        return
    # What depends on an entry is found by trying, for a clip or a maximum hides it from gradients.
    fills: list[Callable[[Tensor], Tensor | float]] = [
        lambda value: 0.5,
        lambda value: 1e4,
        lambda value: -1e4,
        lambda value: value.roll(1, 0).nan_to_num(0.5, 0.5, 0.5),
        lambda value: value.roll(-1, 0).nan_to_num(0.5, 0.5, 0.5),
    ]
    filled = [
        example.with_batch(
            {
                name: torch.where(gaps[name], fill(value), value) if name in gaps else value
                for name, value in example.batch.items()
            }
        )
        for fill in fills
    ]
    whole, *others = (_derived(derivation, other.batch) for other in filled)
    is_apart = whole.isfinite()
    for other in others:
        is_apart &= whole == other
    for name, gap in gaps.items():
        if example.inputs[name].has_batch and len(gap) == len(is_apart):
            is_apart[gap.flatten(1).any(dim=1)] = False  # a constant of its own frame, perhaps

    def apart(batch: Mapping[str, Tensor]) -> Tensor:
        return torch.where(is_apart, _derived(derivation, batch), 0.0).square().sum()

    spoilt = _derived(derivation, example.batch)
    if not is_close(torch.where(is_apart, spoilt, 0.0), torch.where(is_apart, whole, 0.0)):
        fail(
            f"what does not depend on the gaps must be {show(whole[is_apart])}, as without them, "
            f"it is {show(spoilt[is_apart])}"
        )
    _, expected = gradients_of(loss, filled[0], apart)
    _, found = gradients_of(loss, example, apart)
    for name, gradient in found.items():
        wanted = expected.get(name, torch.zeros_like(gradient))
        if not example.inputs[name].is_constant and not is_close(gradient, wanted):
            fail(
                f"the gradient for {name} of what does not depend on the gaps must be "
                f"{show(wanted)}, as without them, it is {show(gradient)}"
            )


def _derived(derivation: Derivation, batch: Mapping[str, Any]) -> Tensor:
    value = derivation.function(**batch)
    if not isinstance(value, Tensor) or not value.ndim:
        fail(f"a derivation must return a tensor with the batch axis first, it is {value!r}")
    return value if value.is_floating_point() else value.float()


def _readout(derivation: Derivation) -> Loss:
    """Return a loss that costs the square of each number that is derived, where it is finite."""

    def remove_nans(self: Loss, **given: Any) -> tuple[Mapping[str, Tensor], Tensor]:
        with torch.no_grad():
            return {}, _derived(derivation, given).isfinite()

    def compute_loss(self: Loss, **given: Any) -> Tensor:
        constant = {name for name, i in derivation.inputs.items() if i.is_constant}
        given = {n: v.detach() if n in constant else v for n, v in given.items()}
        value = _derived(derivation, given)
        return torch.where(value.isfinite(), value, 0.0).square()

    names = ["self", *derivation.inputs]
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    for step in (remove_nans, compute_loss):
        step.__annotations__ = {}
        vars(step)["__signature__"] = inspect.Signature(parameters)
    members = {"remove_nans": remove_nans, "compute_loss": compute_loss}
    stated = {"loss_name": "readout", "kind": "unsupervised"}
    made: type[Loss] = type("Readout", (Loss,), {**members, **stated})
    return made(nan_predictions="leave_out")


def _script(derivation: Derivation) -> str:
    function = derivation.function.__qualname__
    return f"""from {derivation.function.__module__} import {function}
derived = {function}(**batch)
derived[derived.isfinite()].square().sum().backward()
print({{name: value.grad for name, value in batch.items()}})"""
