"""What a loss asks of the device."""

from __future__ import annotations

from torch import Tensor

from lploss.testing.batches import Example, Gaps, Likeness, Wish
from lploss.testing.check import (
    Case,
    CheckFailure,
    NotApplicable,
    check,
    fail,
    origin_of,
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
