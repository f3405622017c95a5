"""What a loss asks of the device and of the compiler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lploss.testing.batches import Example, Gaps, Likeness, Wish
from lploss.testing.check import (
    Case,
    CheckFailure,
    NotApplicable,
    check,
    fail,
    gradients_of,
    is_close,
    origin_of,
    show,
    with_gradients,
)

# Tensors of the device "meta" have shapes and no values.
_MESSAGE = (
    "on the device 'meta', where tensors have shapes and no values, it raised {}: {}. It asks for "
    "a value, or for a shape that depends on values"
)

# What torch says of operations that no implementation could run there.
_ASK_FOR_VALUES = (
    "nonzero",
    "copy out of meta",
    "unique",
    "masked_select",
    "bincount",
    "aten::equal",
)


@check(
    why="Each look at a value makes the host wait for the GPU, and stops compilers.",
    mend="Use torch.where and masks instead of boolean indexing, `if tensor`, .item(), nonzero and "
    "unique; make new tensors on the device of the inputs.",
    shows="""loss = loss.to("meta")
loss(**{name: value.detach().to("meta").requires_grad_() for name, value in batch.items()})""",
)
def check_no_synchronisation(case: Case) -> None:
    loss = case.copy().to("meta")

    def body(example: Example) -> None:
        batch = {
            name: value.clone() for name, value in with_gradients(example.to("meta").batch).items()
        }
        try:
            result = loss(**batch)
            loss.elementwise(**batch)
            if result.loss.requires_grad:
                result.loss.backward()
        except Exception as error:
            asks = any(words in str(error) for words in _ASK_FOR_VALUES)
            if isinstance(error, NotImplementedError) and not asks:
                raise NotApplicable(
                    f"torch cannot run one of its operations without values: {_first(error)}"
                ) from error
            message = _MESSAGE.format(type(error).__name__, _first(error))
            raise CheckFailure(f"{message}{origin_of(error)}") from error
        for entry in result.logs:
            value = entry.get("value") if isinstance(entry, dict) else None
            # That it is a tensor, check_logs demands.
            if isinstance(value, Tensor) and value.device.type != "meta":
                fail(f"the logged {entry['name']} must stay on the device of the inputs")
        if result.loss.device.type != "meta":
            fail(f"the loss must stay on the device of the inputs, it is on {result.loss.device}")

    case.for_each(body, Wish(likenesses=(Likeness.ANYWHERE,), gaps=(Gaps.NONE,)), at_most=5)


def _first(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


@check(
    why="Trainers compile their step; a loss that breaks the graph makes it slow or stops it.",
    mend="Keep Python that depends on values of tensors, prints and calls of NumPy out of "
    "compute_loss and remove_nans.",
    shows="""compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
print(compiled(**batch).loss, loss(**batch).loss)""",
)
def check_compile(case: Case) -> None:
    torch._dynamo.reset()
    # This backend captures and differentiates the graph, and needs no compiler of C++.
    compiled: Any = torch.compile(case.loss, fullgraph=True, backend="aot_eager", dynamic=False)

    def body(example: Example) -> None:
        value, gradients = gradients_of(case.loss, example)
        try:
            compiled_value, compiled_gradients = gradients_of(
                case.loss, example, lambda batch: compiled(**batch).loss
            )
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise CheckFailure(
                "torch.compile(fullgraph=True) raised "
                f"{type(error).__name__}: {' '.join(lines[:2])}"
            ) from error
        if not is_close(compiled_value, value):
            fail(f"compiled, the loss is {show(compiled_value)}, else {show(value)}")
        for name, gradient in gradients.items():
            if not is_close(compiled_gradients[name], gradient):
                fail(
                    f"compiled, the gradient for {name} is {show(compiled_gradients[name])}, "
                    f"else {show(gradient)}"
                )

    wish = Wish(
        likenesses=(Likeness.ANYWHERE, Likeness.EXACT),
        gaps=(Gaps.NONE, Gaps.ITEMS),
        typical=True,
        optional=True,
    )
    shrinks, case.shrinks = case.shrinks, False  # each try would be compiled anew
    try:
        case.for_each(body, wish, at_most=3)
    finally:
        case.shrinks = shrinks
        torch._dynamo.reset()
