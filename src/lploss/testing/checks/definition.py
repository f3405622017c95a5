"""Whether the methods of a loss fit together: if they do not, no other check says anything."""

from __future__ import annotations

from dataclasses import replace

from lploss.axes import axes_of
from lploss.errors import LossDefinitionError, ShapeError
from lploss.testing.batches import GENERIC, Example
from lploss.testing.check import Case, check, fail


@check(
    why="Where compute_loss and remove_nans do not fit together, or raise on an ordinary batch, "
    "every other check fails for the same cause.",
    mend="Return from compute_loss a tensor with the axes that its annotation states, batch axis "
    "first, and from remove_nans boolean masks of the same shape.",
    shows="print(loss.elementwise(**batch).shape)",
)
def check_definition(case: Case) -> None:
    def computes(example: Example) -> None:
        case.loss.evaluate(example.batch)

    def keeps_its_annotation(example: Example) -> None:
        try:
            elements = case.loss.evaluate(example.batch).elementwise
        except LossDefinitionError:
            raise
        except Exception:
            return  # on this batch alone, which other checks tell
        stated = axes_of(case.loss.compute_loss).get("return")
        if stated is None:
            return
        case.script = f"print(loss.elementwise(**batch).shape)  # not ({stated.text})"
        try:
            stated.check(
                case.loss.loss_name, "the element-wise loss", elements, dict(example.sizes)
            )
        except ShapeError as error:
            fail(f"compute_loss contradicts its annotation: {error}")
        case.script = None

    case.for_each(computes, replace(GENERIC, typical=True, optional=True), at_most=1)
    case.for_each(keeps_its_annotation, GENERIC, at_most=8)
