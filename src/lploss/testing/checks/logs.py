"""What a loss logs."""

from __future__ import annotations

from torch import Tensor

from lploss.loss import LogEntry
from lploss.testing.batches import GENERIC, Example
from lploss.testing.check import Case, check, fail, is_close, show, with_gradients


@check(
    why="Trainers log by these names; a value that is not detached keeps the graph of every step "
    "in memory.",
    mend="Do not override log_loss, or add detached entries to those of super().log_loss.",
    shows='print(loss(stage="train", **batch).logs)',
)
def check_logs(case: Case) -> None:
    loss = case.loss

    def body(example: Example) -> None:
        leaves = with_gradients(example.batch)
        for stage in ("train", "val", "test", None):
            result = loss(stage=stage, **{n: v.clone() for n, v in leaves.items()})
            if not isinstance(result.logs, list):
                fail(f"the logs must be a list, they are {type(result.logs).__name__}")
            for entry in result.logs:
                _demand_form(entry)
            values = {entry["name"]: entry["value"] for entry in result.logs}
            if len(values) < len(result.logs):
                names = [entry["name"] for entry in result.logs]
                fail(f"each name must be logged once, the logs hold {', '.join(names)}")
            prefix = f"{stage}_" if stage else ""
            expected = {
                f"{prefix}{loss.loss_name}_loss": result.loss / loss.weight,
                f"{loss.loss_name}_weight": loss.weight,
            }
            for name, value in expected.items():
                if name not in values:
                    fail(f"the logs must hold {name}, they hold {', '.join(values)}")
                if not is_close(values[name], value):
                    fail(f"the logged {name} must be {show(value)}, it is {show(values[name])}")

    case.for_each(body, GENERIC, at_most=5)


def _demand_form(entry: LogEntry) -> None:
    if not isinstance(entry, dict) or not {"name", "value"} <= set(entry) <= {
        "name",
        "value",
        "prog_bar",
    }:
        fail(f"a log entry must be a dict of name, value and perhaps prog_bar, it is {entry!r}")
    value = entry["value"]
    if not isinstance(value, Tensor) or value.shape != ():
        fail(f"the value of {entry['name']} must be a tensor of one number, it is {value!r}")
    if value.requires_grad:
        fail(f"the value of {entry['name']} must be detached, it requires a gradient")
