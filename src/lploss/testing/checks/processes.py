"""Checks that start processes: of the manifest, and of distributed training."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import torch
from torch import Tensor

from lploss import reduction
from lploss.discovery import HEAVY
from lploss.errors import LplossError
from lploss.loss import Loss
from lploss.testing.batches import Example, Gaps, Likeness, Wish
from lploss.testing.check import (
    Case,
    NotApplicable,
    check,
    demand_batch,
    fail,
    is_close,
    show,
    with_gradients,
)
from lploss.testing.processes import run_in_processes

_PROGRAM = """
import importlib, sys
import lploss.hookspecs
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(*(name for name in sys.argv[2:] if name in sys.modules and name not in before))
"""


@check(
    why="All manifests are imported by every program that lists losses: a heavy one makes each of "
    "them wait, and its import errors theirs.",
    mend="Import nothing but lploss in the manifest, and name targets as strings.",
    shows="",
)
def check_manifest_light(case: Case) -> None:
    entry = case.subject.entry
    if entry is None:
        raise NotApplicable("no plugin provides the loss")
    manifest = entry.plugin.value.partition(":")[0]
    case.script = f'# python -X importtime -c "import {manifest}"'
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, manifest, *HEAVY],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        fail(f"the manifest {manifest} cannot be imported: {done.stderr.strip().splitlines()[-1]}")
    if found := done.stdout.split():
        fail(f"the manifest {manifest} of {entry.plugin.distribution} imports {', '.join(found)}")


_NUM_PROCESSES = 2


@check(
    why="Processes that each leave out a different number of elements do not add up to the mean of "
    "all, unless the loss can be put together from sums and counts.",
    mend="Leave the mean to reduce_loss, and let remove_nans tell in its mask what does not count.",
)
def check_two_processes(case: Case) -> None:
    demand_batch(case)
    if case.subject.cls.__module__ == "__main__":
        raise NotApplicable("the class is in __main__, which other processes cannot import")
    try:
        pickle.dumps(case.loss)
    except Exception:
        raise NotApplicable("the loss cannot be pickled, as check_copies tells") from None
    parts: list[Example] = []
    before = case.loss.num_previous_frames
    # Means that differ: else any average of them would come out right.
    settings = [
        (Likeness.NEAR, Gaps.NONE, {"batch": before + 3}),
        (Likeness.ANYWHERE, Gaps.ITEMS, {"batch": before + 4}),
    ]
    for likeness, gaps, sizes in settings:
        wish = Wish(likenesses=(likeness,), gaps=(gaps,), sizes=sizes, typical=True, optional=True)
        kept: list[Example] = []
        case.for_each(kept.append, wish, at_most=6)
        # Where nothing counted, or as many elements as in the other, much would come out right.
        others = [_num_valid(case.loss, part) for part in parts]
        fitting = [e for e in kept if _num_valid(case.loss, e) not in (0, *others)]
        parts += [*fitting, *kept][:1]
    case.example = None
    loss = case.loss.cpu()
    try:
        found = run_in_processes(
            "lploss.testing.checks.processes:evaluate_part",
            [(loss, part.batch) for part in parts],
        )
    except LplossError as error:
        fail(f"in {_NUM_PROCESSES} processes: {error}")
    values = [value for value, _ in found]
    expected, gradients = _of_all(loss, parts)
    value = torch.stack(values).mean()
    if not is_close(value, expected):
        fail(
            f"the mean over {_NUM_PROCESSES} processes is {show(value)}, one process with all "
            f"elements has {show(expected)}"
        )
    for rank, (_, of_rank) in enumerate(found):
        for name, gradient in of_rank.items():
            # What averages the gradients over the processes divides by their number.
            if not is_close(gradient / _NUM_PROCESSES, gradients[rank][name]):
                fail(
                    f"the gradient for {name} in process {rank} is "
                    f"{show(gradient / _NUM_PROCESSES)}, in one process with all elements "
                    f"{show(gradients[rank][name])}"
                )


def _num_valid(loss: Loss, example: Example) -> int:
    evaluation = loss.evaluate(example.batch)
    return int(reduction.count(evaluation.elementwise, evaluation.valid))


def evaluate_part(payload: tuple[Loss, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what one process finds of its part of the batch; run in that process."""
    from lploss.factory import LossFactory

    loss, batch = payload
    factory = LossFactory({loss.loss_name: loss}, record=False)
    leaves = with_gradients(batch)
    total = factory(**leaves).loss
    total.backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return total.detach(), gradients


def _of_all(loss: Loss, parts: list[Example]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Return value and gradients of the mean over the elements of all parts."""
    leaves = [with_gradients(part.batch) for part in parts]
    total: Any = 0.0
    number: Any = 0
    for batch in leaves:
        evaluation = loss.evaluate(batch)
        elements, valid = evaluation.elementwise, evaluation.valid
        if valid is not None:
            elements = torch.where(valid, elements, 0.0)
        total = total + elements.sum()
        counts = valid is not None and loss.denominator == "valid"
        number = number + (valid.sum() if counts and valid is not None else elements.numel())
    value = loss.weight * total / max(int(number), 1)
    value.backward()
    return value.detach(), [
        {name: leaf.grad for name, leaf in batch.items() if leaf.grad is not None}
        for batch in leaves
    ]
