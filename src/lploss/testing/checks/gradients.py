"""The gradients of a loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lploss.inputs import is_prediction
from lploss.testing.batches import GENERIC, Example
from lploss.testing.check import Case, NotApplicable, check, fail, gradients_of, show

_SHOWS = """loss(**batch).loss.backward()
print({name: value.grad for name, value in batch.items()})"""


@check(
    why="One gradient of NaN destroys all weights of a network, though the loss looked finite.",
    mend="Replace what is not finite in remove_nans, before any arithmetic (0 times NaN is NaN), "
    "and keep square roots, norms and logarithms from zero.",
    shows=_SHOWS,
)
def check_gradients_finite(case: Case) -> None:
    def body(example: Example) -> None:
        value, gradients = gradients_of(case.loss, example)
        if not gradients:
            fail(
                f"no gradient reaches any of {', '.join(example.batch)}: the loss is {show(value)} "
                "and does not depend on them by differentiable operations"
            )
        predictions = [name for name in example.batch if is_prediction(name)]
        if predictions and not any(name in gradients for name in predictions):
            fail(
                f"no gradient reaches {', '.join(predictions)}, only {', '.join(gradients)}: "
                "nothing can be learned"
            )
        for name, gradient in gradients.items():
            if not gradient.isfinite().all():
                fail(f"the gradient for {name} must be finite, it is {show(gradient)}")

    case.for_each(body)


@check(
    why="A wrong gradient trains towards something else, and nobody sees it.",
    mend="Use torch's own operations; of a torch.autograd.Function, compare backward with the "
    "derivative of forward, and detach nothing but targets.",
    shows=_SHOWS,
)
def check_gradcheck(case: Case) -> None:
    loss = case.copy().double()

    def body(example: Example) -> None:
        example = example.to(torch.float64)
        _, gradients = gradients_of(loss, example)
        if not gradients:
            raise NotApplicable("there is no gradient, as check_gradients_finite tells")
        names = list(gradients)
        leaves = [example.batch[name].clone().requires_grad_() for name in names]

        def value(*tensors: Tensor) -> Tensor:
            given: Mapping[str, Tensor] = dict(zip(names, tensors, strict=True))
            result: Tensor = loss(**{**example.batch, **given}).loss
            return result

        try:
            torch.autograd.gradcheck(
                value, leaves, eps=1e-6, atol=1e-4, rtol=1e-3, fast_mode=True, nondet_tol=1e-9
            )
        except RuntimeError as error:
            fail(
                f"the gradient for {', '.join(names)} does not agree with finite differences in "
                f"float64: {str(error).strip().splitlines()[0]}"
            )

    case.for_each(body, GENERIC, at_most=8)


@check(
    why="A gradient into a target pulls the target towards the prediction: a consensus of views "
    "that is not detached follows the one that is wrong.",
    mend="Detach the constant inputs in compute_loss, and let what is computed from predictions "
    "and meant as a target be an input of its own, derived without a gradient.",
    shows=_SHOWS,
)
def check_constants(case: Case) -> None:
    constant = [name for name, of_input in case.inputs.items() if of_input.is_constant]
    if not constant:
        raise NotApplicable("no input is a target, or constant by its InputSpec")

    def body(example: Example) -> None:
        _, gradients = gradients_of(case.loss, example)
        for name in constant:
            if name in gradients and not bool((gradients[name] == 0).all()):
                fail(f"{name} is constant and must get no gradient, got {show(gradients[name])}")

    case.for_each(body, GENERIC, at_most=8)
