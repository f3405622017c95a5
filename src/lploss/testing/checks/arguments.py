"""What the constructor takes, and what it refuses."""

from __future__ import annotations

import inspect
import math
from typing import Any

from lploss.config import unknown_key
from lploss.errors import ArgumentError, ArgumentValueError, LplossError
from lploss.loss import parameters_of
from lploss.testing.check import Case, NotApplicable, check, fail

_BAD_NUMBERS = (math.nan, "much")


@check(
    why="A misspelled or senseless argument that is taken in silence ruins days of training.",
    mend="Hand epsilon and log_weight on to `Loss.__init__` as they came, have no `**kwargs`, and "
    "check every number of your own, NaN included, raising ArgumentValueError.",
    shows="",
)
def check_arguments(case: Case) -> None:
    known = parameters_of(case.subject.cls)
    try:
        case.subject.build(log_weight=0.0)
    except TypeError as error:
        raise NotApplicable(
            f"the class cannot be built anew: {error}. Override the class method `example`"
        ) from error
    _demand_refused(case, {"epsilonn": 1.0}, ArgumentError)
    wrong: list[tuple[str, Any]] = []
    if "epsilon" in known:
        wrong += [("epsilon", value) for value in (-1.0, math.inf, *_BAD_NUMBERS)]
    if "log_weight" in known:
        wrong += [("log_weight", value) for value in (math.inf, *_BAD_NUMBERS)]
    for name, parameter in known.items():
        if name not in ("epsilon", "log_weight") and _is_number(parameter):
            wrong += [(name, value) for value in _BAD_NUMBERS]
    for name, value in wrong:
        _demand_refused(case, {name: value}, ArgumentValueError)
    for name in ("epsilon", "log_weight"):
        if name not in known:
            fail(f"the constructor must take {name}, as those of all losses do")
    loss = case.subject.build(log_weight=0.75)
    if loss.log_weight.item() != 0.75:
        fail(f"log_weight=0.75 must be kept, the loss has {loss.log_weight}")


@check(
    why="A parameter that is filled from a misspelled key of the config is never filled, and the "
    "loss runs with its default.",
    mend="Write each path of config_paths as the config has it, such as data.keypoint_names.",
    shows="print(type(loss).config_paths)",
)
def check_config_paths(case: Case) -> None:
    paths = case.subject.cls.config_paths
    if not paths:
        raise NotApplicable("the class states no config_paths")
    case.script = "print(type(loss).config_paths)"
    for parameter, path in paths.items():
        if problem := unknown_key(path):
            fail(f"config_paths[{parameter!r}] is {path!r}: {problem}")


def _is_number(parameter: inspect.Parameter) -> bool:
    annotation: Any = parameter.annotation
    if annotation is parameter.empty:
        return isinstance(parameter.default, float | int) and not isinstance(
            parameter.default, bool
        )
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    names = {part.strip() for part in text.split("|")}
    return bool(names & {"float", "int"}) and names <= {"float", "int", "None"}


def _demand_refused(case: Case, params: dict[str, Any], expected: type[LplossError]) -> None:
    ((name, value),) = params.items()
    case.script = f"type(loss).example(loss.loss_name, {name}={_literal(value)})"
    try:
        case.subject.build(**params)
    except expected as error:
        if name not in str(error):
            fail(f"the error must name the argument {name}, it says: {error}")
    except Exception as error:
        fail(
            f"{name}={value!r} must raise {expected.__name__}, it raised "
            f"{type(error).__name__}: {error}"
        )
    else:
        fail(
            f"{name}={value!r} must raise {expected.__name__}, it was taken; if `example` is "
            "overridden, it must hand its params on"
        )
    case.script = None


def _literal(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)
