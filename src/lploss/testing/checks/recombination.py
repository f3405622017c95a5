"""How the value of a batch comes from those of its parts."""

from __future__ import annotations

import torch

from lploss import reduction
from lploss.testing.batches import Example, Wish
from lploss.testing.check import (
    BOTH,
    Case,
    NotApplicable,
    check,
    demand_batch,
    fail,
    is_close,
    show,
)


@check(
    why="A mean that grows with the batch changes the meaning of log_weight with the batch size.",
    mend="Leave the sum and the division to reduce_loss; divide by no size of an axis.",
    shows=BOTH,
)
def check_duplicated_batch(case: Case) -> None:
    demand_batch(case)
    if case.loss.num_previous_frames:
        raise NotApplicable(
            "the order of the batch matters, and a copy behind it makes another clip"
        )

    def body(example: Example) -> None:
        twice = example.map(lambda i, value: torch.cat([value, value]) if i.has_batch else value)
        once, doubled = case.compared(case.loss, example, twice)
        if not is_close(once, doubled):
            fail(f"the mean of the batch is {show(once)}, that of two copies {show(doubled)}")

    case.for_each(body)


@check(
    why="Gradient accumulation and several processes see a batch in parts, and must be able to put "
    "its loss together from the parts' sums and counts.",
    mend="Let each element depend on its own frame (and num_previous_frames before it) alone, and "
    "let reduce_loss(method='sum') return the sum over the valid elements.",
    shows="print(loss.elementwise(**batch))",
)
def check_split_batch(case: Case) -> None:
    demand_batch(case)
    loss = case.loss
    before = loss.num_previous_frames

    def body(example: Example) -> None:
        middle = before + 2
        parts = [example.frames(0, middle), example.frames(middle - before, before + 4)]
        whole = loss.evaluate(example.batch)
        pieces = [loss.evaluate(part.batch) for part in parts]
        joined = torch.cat([piece.elementwise for piece in pieces])
        if joined.shape != whole.elementwise.shape:
            fail(
                f"the element-wise loss of {before} previous frames must have one row a frame "
                f"after them: the whole batch gave shape {tuple(whole.elementwise.shape)}, its "
                f"parts together {tuple(joined.shape)}"
            )
        alone = loss.elementwise(**example.batch)
        together = torch.cat([loss.elementwise(**part.batch) for part in parts])
        if not is_close(together, alone):
            fail(
                f"the elements of the parts are {show(together)}, in the whole batch they are "
                f"{show(alone)}: frames of one batch influence each other"
            )
        total = sum(loss.reduce_loss(p.elementwise, p.valid, method="sum") for p in pieces)
        number = sum(int(reduction.count(p.elementwise, p.valid, loss.denominator)) for p in pieces)
        recombined = total / max(number, 1)
        scalar = loss.reduce_loss(whole.elementwise, whole.valid)
        # That a value is not finite, check_scalar tells.
        if scalar.isfinite() and not is_close(torch.as_tensor(recombined), scalar):
            fail(
                f"the parts' sums over their counts give {show(recombined)}, the whole batch "
                f"{show(scalar)}"
            )

    case.for_each(body, Wish(sizes={"batch": before + 4}))


@check(
    why="Shuffled batches must mean the same, unless the class says that it compares frames.",
    mend="State num_previous_frames on the class if an element looks at the frames before its own; "
    "else let no frame influence another.",
    shows=BOTH,
)
def check_batch_order(case: Case) -> None:
    demand_batch(case)
    if case.loss.num_previous_frames:
        raise NotApplicable(
            f"the class says that order matters: num_previous_frames is "
            f"{case.loss.num_previous_frames}"
        )
    order = torch.tensor([2, 0, 3, 1])

    def body(example: Example) -> None:
        shuffled = example.map(lambda i, value: value[order] if i.has_batch else value)
        before, after = case.compared(case.loss, example, shuffled)
        if not is_close(before, after):
            fail(
                f"in another order of the batch the loss is {show(after)} instead of {show(before)}"
            )

    case.for_each(body, Wish(sizes={"batch": len(order)}))
