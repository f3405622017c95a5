"""torch.compile."""

from __future__ import annotations

from typing import Any

import torch

from lploss.testing.batches import Example, Gaps, Likeness, Wish
from lploss.testing.check import Case, CheckFailure, check, fail, gradients_of, is_close, show


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
