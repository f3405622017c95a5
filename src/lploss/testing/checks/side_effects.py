"""What a loss must leave alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lploss.testing import global_state
from lploss.testing.batches import Example
from lploss.testing.check import Case, check, fail, is_close, show


@check(
    why="All losses of a factory, and the trainer's metrics, read the same batch.",
    mend="Use no operation that ends in an underscore, and no assignment to a slice, on what came "
    "in: torch.where returns a new tensor.",
    shows="""before = {name: value.detach().clone() for name, value in batch.items()}
loss(**{name: value.detach() for name, value in batch.items()})
print(before, batch)""",
)
def check_inputs_untouched(case: Case) -> None:
    def body(example: Example) -> None:
        given = {name: value.clone() for name, value in example.batch.items()}
        for name in list(given):
            given[f"unused_{name}"] = given[name].clone()
        case.loss(**given)
        case.loss.evaluate(given)
        for name, value in example.batch.items():
            if not is_close(given[name], value, rtol=0.0, atol=0.0):
                fail(f"{name} was changed from {show(value)} to {show(given[name])}")
            if given[name].requires_grad != value.requires_grad:
                fail(f"{name} was made to require a gradient")

    case.for_each(body)


@check(
    why="A loss that seeds random numbers or switches gradients off changes the whole training.",
    mend="Use local forms: torch.Generator for random numbers, `with torch.no_grad():` around a "
    "few lines, an argument instead of a default.",
)
def check_global_state_untouched(case: Case) -> None:
    _demand_untouched(case.subject.build, "to build it")

    def body(example: Example) -> None:
        _demand_untouched(lambda: case.loss(**example.batch), "a call")

    case.for_each(body, at_most=10)


def _demand_untouched(function: Callable[[], Any], what: str) -> None:
    # What is set to what it happens to be shows only where it is something else.
    for settings in ({}, global_state.unusual()):
        with global_state.kept():
            global_state.put(settings)
            before = global_state.get()
            function()
            if changed := global_state.changed(before):
                fail(f"{what} changed {', '.join(changed)}")
