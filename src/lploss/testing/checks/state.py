"""What a loss holds: moved, saved, copied."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lploss.errors import first_line
from lploss.loss import Loss, parameters_of
from lploss.testing.batches import GENERIC, Example
from lploss.testing.check import Case, check, fail, is_close, scalar_of, show


@check(
    why="A tensor that is no buffer stays behind on the CPU when the loss moves to a GPU, and is "
    "in no checkpoint.",
    mend="Use self.register_buffer(name, tensor) for every tensor that the loss keeps.",
    shows="""import torch
print({name: buffer.dtype for name, buffer in loss.to(torch.float64).named_buffers()})
print({name: buffer.device for name, buffer in loss.to("meta").named_buffers()})""",
)
def check_buffers(case: Case) -> None:
    for path in _plain_tensors(case.loss):
        case.script = f"print(loss.{path})"
        fail(f"the tensor {path} is a plain attribute")
    moved = case.copy().to(torch.float64)
    for name, buffer in moved.named_buffers():
        if buffer.is_floating_point() and buffer.dtype != torch.float64:
            fail(f"after .to(torch.float64) the buffer {name} is {buffer.dtype}")
    moved = case.copy().to("meta")
    for name, tensor in [*moved.named_buffers(), *moved.named_parameters()]:
        if tensor.device.type != "meta":
            fail(f"after .to(device) {name} is still on {tensor.device}")


def _plain_tensors(module: nn.Module) -> Iterator[str]:
    for name, child in module.named_modules():
        of_classes = {
            attribute: value
            for base in type(child).__mro__
            if not base.__module__.startswith("torch.")
            for attribute, value in vars(base).items()
            if not attribute.startswith("__")
        }
        for attribute, value in {**of_classes, **vars(child)}.items():
            if attribute not in ("_buffers", "_parameters", "_modules"):
                for path in _tensors_in(value, attribute, set()):
                    yield f"{name}.{path}" if name else path


def _tensors_in(value: Any, path: str, seen: set[int]) -> Iterator[str]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _tensors_in(inner, f"{path}[{key!r}]", seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for place, inner in enumerate(value):
            yield from _tensors_in(inner, f"{path}[{place}]", seen)
    elif not isinstance(value, type | ModuleType):
        for name in [*getattr(value, "__dict__", ()), *_slots_of(value)]:
            yield from _tensors_in(getattr(value, name, None), f"{path}.{name}", seen)


def _slots_of(value: Any) -> Iterator[str]:
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


@check(
    why="A training that is resumed must go on with the very loss, fitted quantities included.",
    mend="Keep in buffers, not in plain attributes, whatever changes the value; of buffers whose "
    "size comes from a fit, resize them in _load_from_state_dict.",
    shows="print(loss.state_dict())",
)
def check_state_dict(case: Case) -> None:
    original = case.copy(epsilon=0.01, log_weight=0.7)
    stored = original.state_dict()
    for name, buffer in original.named_buffers():
        own = name not in ("epsilon", "log_weight") and name in stored
        if own and buffer.is_floating_point():
            owner, _, attribute = name.rpartition(".")
            setattr(original.get_submodule(owner), attribute, 1.25 * buffer)
    state = copy.deepcopy(original.state_dict())
    restored = {"a new loss that loaded its state": case.subject.build()}
    # The arguments of a loss that was passed as an instance are not known.
    if case.subject.is_of_class and "data_module" in parameters_of(case.subject.cls):
        try:
            unfitted = case.subject.build(data_module=None)
        except Exception as error:
            fail(f"without labels (data_module=None) it cannot be built: {first_line(error)}")
        restored["a loss without labels that loaded its state"] = unfitted
    for what, loss in restored.items():
        try:
            loss.load_state_dict(state)
        except RuntimeError as error:
            fail(f"{what.partition(' that ')[0]} cannot load the state of another: {error}")

    def body(example: Example) -> None:
        for what, loss in restored.items():
            _demand_same(original, loss, example, what)

    case.for_each(body, GENERIC, at_most=5)


@check(
    why="Trainers copy modules, and send them to other processes.",
    mend="Keep no lambda, open file, lock or generator in the loss, and define its class at the "
    "top of a module.",
    shows="import copy, pickle\ncopy.deepcopy(loss)\npickle.loads(pickle.dumps(loss))",
)
def check_copies(case: Case) -> None:
    try:
        copied = copy.deepcopy(case.loss)
    except Exception as error:
        fail(f"copy.deepcopy raised {type(error).__name__}: {error}")
    try:
        unpickled = pickle.loads(pickle.dumps(case.loss))
    except Exception as error:
        fail(f"pickle raised {type(error).__name__}: {error}")

    def body(example: Example) -> None:
        _demand_same(case.loss, copied, example, "a deep copy")
        _demand_same(case.loss, unpickled, example, "a loss that was pickled")

    case.for_each(body, GENERIC, at_most=5)


def _demand_same(first: Loss, second: Loss, example: Example, what: str) -> None:
    expected, value = scalar_of(first, example), scalar_of(second, example)
    if not is_close(value, expected, rtol=0.0, atol=0.0):
        fail(f"{what} gives {show(value)} instead of {show(expected)}")
