"""What the class states in `properties`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lploss.axes import axes_of
from lploss.testing.batches import GENERIC, Example, Gaps, Likeness, Wish, points_of
from lploss.testing.check import BOTH, Case, NotApplicable, check, fail, is_close, show
from lploss.testing.subject import LossInput

_NUM_KEYPOINTS = 3
_ELEMENTS = f"{BOTH}\nprint(loss.elementwise(**batch), loss.elementwise(**other))"
_WITHOUT_EPSILON = f"loss.double().epsilon.zero_()\n{BOTH}"
_PLACED = Wish(
    likenesses=(Likeness.ANYWHERE, Likeness.STILL),
    gaps=(Gaps.NONE, Gaps.ITEMS, Gaps.SAMPLES),
    optional=False,
)


@check(
    why="Who relies on a loss that knows no order of keypoints may reorder the columns of a file.",
    mend="Treat all keypoints alike, or do not state keypoint_order.",
    shows=_ELEMENTS,
)
def check_keypoint_order(case: Case) -> None:
    _demand_stated(case, "keypoint_order")
    _demand_axis(case, "num_keypoints")

    def body(example: Example) -> None:
        order = list(reversed(range(example.sizes["num_keypoints"])))
        order = order[1:] + order[:1]
        _demand_order(case, example, "num_keypoints", order)

    case.for_each(body)


@check(
    why="A mean that grows with the number of keypoints, or maps, makes log_weight mean something "
    "else for each animal.",
    mend="Leave the sum and the division to reduce_loss, and multiply by no size of an axis.",
    shows=BOTH,
)
def check_duplicated_keypoints(case: Case) -> None:
    if not case.loss.properties.keypoint_order:
        raise NotApplicable("properties.keypoint_order is not stated")
    if "num_keypoints" in case.loss.axis_sizes:
        raise NotApplicable("the loss is made for so many keypoints")
    each, tried = list(range(_NUM_KEYPOINTS)), 0

    def body(example: Example) -> None:
        nonlocal tried
        if not _are_alike_and_alone(case, example, each):
            return
        tried += 1
        twice = _with_keypoints(example, each * 2)
        once, doubled = case.compared(case.loss, example, twice)
        if not is_close(once, doubled):
            fail(
                f"the mean over {_NUM_KEYPOINTS} keypoints is {show(once)}, that over these and "
                f"their copies {show(doubled)}"
            )

    case.for_each(body, replace(GENERIC, sizes={"num_keypoints": _NUM_KEYPOINTS}), at_most=8)
    if not tried:
        raise NotApplicable("an element depends on other keypoints than its own")


def _are_alike_and_alone(case: Case, example: Example, each: list[int]) -> bool:
    """Return whether each element depends on its own keypoint only, and in the same way."""
    elements = case.loss.elementwise(**example.batch)
    number, rest = divmod(elements.shape[-1], len(each))
    if rest:
        return False
    for place in each:
        # Another keypoint takes the place of this one, and brings its element along.
        other = [each[place - 1] if own == place else own for own in each]
        now = case.loss.elementwise(**_with_keypoints(example, other).batch)
        if now.shape != elements.shape:
            return False
        before, after = (e.reshape(*e.shape[:-1], number, len(each)) for e in (elements, now))
        if not is_close(before[..., other], after):
            return False
    return True


def _with_keypoints(example: Example, order: list[int]) -> Example:
    return example.map(
        lambda i, value: reordered(i.axes.factors, value, "num_keypoints", order, example)
    )


@check(
    why="Cameras have no order of their own.",
    mend="Treat all views alike, or do not state view_order.",
    shows=BOTH,
)
def check_view_order(case: Case) -> None:
    _demand_stated(case, "view_order")
    _demand_axis(case, "views", "cam_pairs")

    def body(example: Example) -> None:
        order = list(range(example.sizes["views"]))
        _demand_order(case, example, "views", order[1:] + order[:1])

    case.for_each(body)


def _demand_order(case: Case, example: Example, axis: str, order: Sequence[int]) -> None:
    loss = case.loss
    other = example.map(lambda i, value: reordered(i.axes.factors, value, axis, order, example))
    before, after = case.compared(loss, example, other)
    if not is_close(before, after):
        fail(
            f"in the order {list(order)} of {axis} the loss is {show(after)} instead of "
            f"{show(before)}"
        )
    if axis == "num_keypoints":
        elements, moved = loss.elementwise(**example.batch), loss.elementwise(**other.batch)
        stated = axes_of(loss.compute_loss).get("return")
        is_last = elements.shape[-1] == len(order) and (
            stated is None or stated.factors[-1] == (1, ("num_keypoints",))
        )
        if is_last and not is_close(elements[..., list(order)], moved):
            fail(
                f"in the order {list(order)} of {axis} the element-wise loss must be "
                f"{show(elements[..., list(order)])}, it is {show(moved)}"
            )


def reordered(
    factors: Sequence[tuple[int, tuple[str, ...]] | None],
    value: Tensor,
    axis: str,
    order: Sequence[int],
    example: Example,
) -> Tensor:
    """Return a tensor with another order along all axes that hold the axis of this name.

    An axis may be a product, such as views and keypoints, the first being the slowest. The order
    may leave entries out, and hold others twice.
    """
    for dim, factor in enumerate(factors):
        number, names = factor if factor is not None else (1, ())
        if axis == "views" and names == ("cam_pairs",):
            pairs = list(itertools.combinations(range(len(order)), 2))
            wanted = [(min(order[a], order[b]), max(order[a], order[b])) for a, b in pairs]
            value = value.index_select(dim, torch.tensor([pairs.index(pair) for pair in wanted]))
        elif axis in names:
            place = names.index(axis)
            sizes = [example.sizes[name] for name in names]
            slower, faster = math.prod(sizes[:place]), math.prod(sizes[place + 1 :]) * number
            split = value.reshape(
                *value.shape[:dim], slower, sizes[place], faster, *value.shape[dim + 1 :]
            )
            value = split.index_select(dim + 1, torch.tensor(list(order))).flatten(dim, dim + 2)
    return value


@check(
    why="The same pose elsewhere in the image, or in the room, must cost the same.",
    mend="Use differences of coordinates only, or do not state translation.",
    shows=_WITHOUT_EPSILON,
)
def check_translation(case: Case) -> None:
    _demand_stated(case, "translation")

    def move(points: Tensor) -> Tensor:
        return points + points.new_tensor([32.0, -16.0, 8.0])[: points.shape[-1]]

    _demand_change(case, move, 1.0, "moved by (32, -16, 8)")


@check(
    why="The same pose seen at another angle must cost the same.",
    mend="Use distances of points rather than single coordinates, or do not state rotation.",
    shows=_WITHOUT_EPSILON,
)
def check_rotation(case: Case) -> None:
    _demand_stated(case, "rotation")

    def turn(points: Tensor) -> Tensor:
        cos, sin = math.cos(0.7), math.sin(0.7)
        matrix = points.new_tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        dim = points.shape[-1]
        return points @ matrix[:dim, :dim].T

    _demand_change(case, turn, 1.0, "turned by 0.7 rad")


@check(
    why="Who changes the unit of the coordinates must know what becomes of weight and epsilon.",
    mend="State the power of the coordinates that the loss has as `scaling`, or None.",
    shows=_WITHOUT_EPSILON,
)
def check_scaling(case: Case) -> None:
    power = case.loss.properties.scaling
    if power is None:
        raise NotApplicable("properties.scaling is not stated")
    _demand_change(case, lambda points: 2.0 * points, 2.0**power, "twice as large")


def _demand_change(
    case: Case, change: Callable[[Tensor], Tensor], factor: float, what: str
) -> None:
    if not any(i.coordinates for i in case.inputs.values()):
        fail(
            "it is stated what becomes of coordinates, but no InputSpec of "
            f"{', '.join(case.inputs)} says that it holds coordinates"
        )
    loss = case.copy(epsilon=0.0).double()

    def changed(of_input: LossInput, value: Tensor) -> Tensor:
        if not of_input.coordinates:
            return value
        return change(points_of(of_input, value)).reshape(value.shape)

    def body(example: Example) -> None:
        example = example.to(torch.float64)
        before, after = case.compared(loss, example, example.map(changed))
        if not is_close(after, factor * before):
            fail(
                f"with all coordinates {what} the loss must be {show(factor * before)}, it is "
                f"{show(after)}"
            )

    case.for_each(body, _PLACED)


def _demand_stated(case: Case, name: str) -> None:
    if not getattr(case.loss.properties, name):
        raise NotApplicable(f"properties.{name} is not stated")


def _demand_axis(case: Case, *names: str) -> None:
    for of_input in case.inputs.values():
        for factor in of_input.axes.factors:
            if factor is not None and set(names) & set(factor[1]):
                return
    fail(f"it is stated what becomes of another order of {names[0]}, but no input has this axis")
