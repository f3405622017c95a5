"""Batches to try a loss with, drawn from the axes and meanings of its inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from lploss.axes import Axes
from lploss.errors import PluginError
from lploss.inputs import is_prediction
from lploss.testing.subject import LossInput, takes

# Few, so that examples are quick and can be read. The first of each is the typical one.
_SIZES: Mapping[str, tuple[int, ...]] = {
    "batch": (4, 1, 2, 3, 5),
    "num_keypoints": (3, 1, 2, 4),
    "views": (3, 2),
    "heatmap_height": (3, 1, 5),
    "heatmap_width": (4, 2, 3),
    # What OpenCV's lens has.
    "num_coefficients": (5, 0, 4, 8),
}
_OTHERS = (3, 1, 2, 4)


def axis_sizes(
    axes: Collection[Axes],
    fixed: Mapping[str, int],
    *,
    typical: bool = False,
    num_previous_frames: int = 0,
) -> st.SearchStrategy[dict[str, int]]:
    """Return a strategy of sizes, one for each name of an axis.

    Args:
        axes: of all inputs.
        fixed: sizes that are given.
        typical: whether all other sizes are the typical ones.
        num_previous_frames: how many frames a batch has before those of its elements.
    """
    names = {
        name for of_input in axes for factor in of_input.factors if factor for name in factor[1]
    }
    is_paired = "cam_pairs" in names
    if is_paired:  # they follow from the views
        names = (names | {"views"}) - {"cam_pairs"}

    def sizes_of(name: str) -> st.SearchStrategy[int]:
        if name in fixed:
            return st.just(fixed[name])
        more = num_previous_frames if name == "batch" else 0
        sizes = [size + more for size in _SIZES.get(name, _OTHERS)]
        return st.just(sizes[0]) if typical else st.sampled_from(sorted(sizes))

    def with_pairs(sizes: dict[str, int]) -> dict[str, int]:
        return {**sizes, "cam_pairs": math.comb(sizes["views"], 2)} if is_paired else sizes

    return st.fixed_dictionaries({name: sizes_of(name) for name in sorted(names)}).map(with_pairs)


def shape_of(axes: Axes, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the shape of an input; an axis that may have any size has three."""
    shape = []
    for factor in axes.factors:
        number, names = (_OTHERS[0], ()) if factor is None else factor
        shape.append(number * math.prod(sizes[name] for name in names))
    return tuple(shape)


# Hypothesis's own type of it is a protocol, which run-time type checks cannot read.
Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

_SEEDS = st.integers(0, 2**32 - 1)
# The input that is being drawn: two inputs of one seed must differ.
_drawing: ContextVar[tuple[int, ...]] = ContextVar("_drawing", default=())


class Likeness(StrEnum):
    """How predictions lie to their targets, to each other and to those of the frame before."""

    NEAR = "near"
    EXACT = "exact"
    ANYWHERE = "anywhere"
    FAR = "far"
    STILL = "still"
    COLLAPSED = "collapsed"


class Gaps(StrEnum):
    """Which entries of an input are missing."""

    NONE = "none"
    ITEMS = "items"
    COORDINATES = "coordinates"
    SAMPLES = "samples"
    ALL = "all"


@dataclass(frozen=True)
class Example:
    """One batch.

    Attributes:
        batch: the inputs, by name.
        sizes: sizes of the axes, by name.
        inputs: what the inputs are.
    """

    batch: dict[str, Tensor]
    sizes: Mapping[str, int]
    inputs: Mapping[str, LossInput]

    @property
    def has_nan_predictions(self) -> bool:
        """Whether a prediction is not finite."""
        return any(
            is_prediction(name) and not bool(value.isfinite().all())
            for name, value in self.batch.items()
        )

    def to(self, *to: Any) -> Example:
        """Return the example in another precision or on another device."""
        return self.with_batch(
            {
                # What is no floating-point number keeps its type.
                name: value.to(*to)
                if value.is_floating_point() or not isinstance(to[0], torch.dtype)
                else value
                for name, value in self.batch.items()
            }
        )

    def with_batch(self, batch: Mapping[str, Tensor]) -> Example:
        """Return an example with other values."""
        return dataclasses.replace(self, batch=dict(batch))

    def map(self, function: Callable[[LossInput, Tensor], Tensor]) -> Example:
        """Return an example with a function applied to each input."""
        return self.with_batch(
            {name: function(self.inputs[name], value) for name, value in self.batch.items()}
        )

    def frames(self, start: int, stop: int) -> Example:
        """Return some frames of the batch."""
        return self.map(lambda of_input, value: value[start:stop] if of_input.has_batch else value)


@dataclass(frozen=True)
class Wish:
    """What a check wants of its examples.

    Attributes:
        likenesses: how predictions may lie.
        gaps: what may be missing.
        sizes: sizes of axes that are given.
        typical: whether all other sizes are the typical ones.
        optional: whether optional inputs are there: ``None`` for now and then.
    """

    likenesses: tuple[Likeness, ...] = tuple(Likeness)
    gaps: tuple[Gaps, ...] = tuple(Gaps)
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    typical: bool = False
    optional: bool | None = None

    @property
    def is_generic(self) -> bool:
        """Whether there are no special cases."""
        return self.likenesses == (Likeness.ANYWHERE,) and self.gaps == (Gaps.NONE,)

    def parts(self) -> list[Wish]:
        """Return wishes of typical size: one for each likeness, and for each kind of gaps.

        An example of each is tried whatever the seed, for what is drawn by chance may lack one.
        """
        usual = Likeness.ANYWHERE if Likeness.ANYWHERE in self.likenesses else self.likenesses[0]
        none = Gaps.NONE if Gaps.NONE in self.gaps else self.gaps[0]
        kinds = [(likeness, none) for likeness in self.likenesses]
        kinds += [(usual, gaps) for gaps in self.gaps if gaps is not none]
        return [
            dataclasses.replace(
                self,
                likenesses=(likeness,),
                gaps=(gaps,),
                typical=True,
                optional=place % 2 == 0 if self.optional is None else self.optional,
            )
            for place, (likeness, gaps) in enumerate(kinds)
        ]


#: Values without special cases: nothing is missing, no two things lie at the same place.
GENERIC = Wish(likenesses=(Likeness.ANYWHERE,), gaps=(Gaps.NONE,))


def random_arrays(
    make: Callable[[np.random.Generator], NDArray[np.floating]],
) -> st.SearchStrategy[NDArray[np.floating]]:
    """Return a strategy of arrays that are made from random numbers.

    This is much faster than to draw each number by itself.

    Args:
        make: makes an array from a generator of random numbers.

    Example:
        >>> confidences = random_arrays(lambda random: random.uniform(size=(2, 3)))
    """
    return _SEEDS.map(lambda seed: make(_generator(seed)))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, *_drawing.get()])


@st.composite
def examples(
    draw: Draw,
    inputs: Mapping[str, LossInput],
    fixed_sizes: Mapping[str, int],
    wish: Wish,
    seed: int = 0,
    num_previous_frames: int = 0,
) -> Example:
    """Draw an example.

    Args:
        draw: given by Hypothesis.
        inputs: the inputs of the loss.
        fixed_sizes: sizes that the loss demands of axes.
        wish: what is wanted.
        seed: of the numbers; Hypothesis tries the simplest choices first, whatever its own seed.
        num_previous_frames: how many frames a batch has before those of its elements.
    """
    wished = {**fixed_sizes, **wish.sizes}
    sizes = draw(
        axis_sizes(
            [i.axes for i in inputs.values()],
            wished,
            typical=wish.typical,
            num_previous_frames=num_previous_frames,
        )
    )
    there = {}
    for name, of_input in inputs.items():
        is_there = of_input.is_required
        if not is_there:
            is_there = draw(st.booleans()) if wish.optional is None else wish.optional
        if is_there:
            there[name] = of_input
    # A generic number has too many digits to lie on an edge by chance.
    decimals = 3 if wish.is_generic else draw(st.sampled_from([1, 3]))
    values: dict[str, NDArray[np.floating]] = {}
    for name in there:
        _draw_values(draw, name, there, sizes, values, (), seed)
    likeness = draw(st.sampled_from(wish.likenesses))
    for name in [name for name in there if is_prediction(name)]:
        values[name] = _placed(likeness, there[name], values, there)
    for name, of_input in there.items():
        values[name] = _rounded(values[name], of_input, decimals)
    if wish.gaps != (Gaps.NONE,):
        for name, of_input in there.items():
            if of_input.missing is not None:
                gaps = draw(st.sampled_from(wish.gaps))
                if gaps is not Gaps.NONE:
                    random = np.random.default_rng([draw(_SEEDS), seed])
                    values[name] = _with_gaps(values[name], of_input, gaps, random)
    # In the order of the loss's inputs, not in the one in which they were drawn.
    batch = {}
    for name, of_input in there.items():
        dtypes = of_input.drawn_dtypes
        dtype = dtypes[0] if len(dtypes) == 1 else draw(st.sampled_from(dtypes))
        batch[name] = torch.tensor(values[name], dtype=dtype)
    return Example(batch, sizes, inputs)


def _draw_values(
    draw: Draw,
    name: str,
    inputs: Mapping[str, LossInput],
    sizes: Mapping[str, int],
    values: dict[str, NDArray[np.floating]],
    under_way: tuple[str, ...],
    seed: int,
) -> None:
    """Draw one input, after those on which it depends."""
    if name in values or name in under_way:
        return
    of_input = inputs[name]
    shape = shape_of(of_input.axes, sizes)
    function = of_input.strategy() or _default_strategy(of_input)
    given: dict[str, Any] = {}
    for parameter in takes(function):
        if parameter in inputs:
            _draw_values(draw, parameter, inputs, sizes, values, (*under_way, name), seed)
        known: dict[str, Any] = {"shape": shape, "sizes": sizes, **values}
        if parameter in known:
            given[parameter] = known[parameter]
    token = _drawing.set((seed, *name.encode()))
    try:
        drawn = draw(function(**given))
    finally:
        _drawing.reset(token)
    values[name] = np.asarray(drawn, dtype=np.float64)
    if values[name].shape != shape:
        raise PluginError(
            f"the strategy of the input {name!r} of {of_input.distribution} must draw arrays of "
            f"shape {shape} ({of_input.axes.text}), it drew one of shape {values[name].shape}"
        )


def _normal(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.floating]]:
    return random_arrays(lambda random: random.normal(scale=3.0, size=shape))


def _small_integers(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.floating]]:
    return random_arrays(lambda random: random.integers(0, 4, size=shape).astype(float))


def _zeros_and_ones(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.floating]]:
    return random_arrays(lambda random: random.integers(0, 2, size=shape).astype(float))


def _default_strategy(of_input: LossInput) -> Callable[..., Any]:
    dtypes = of_input.drawn_dtypes
    if dtypes[0].is_floating_point:
        return _normal
    return _zeros_and_ones if torch.bool in dtypes else _small_integers


def _placed(
    likeness: Likeness,
    of_input: LossInput,
    values: Mapping[str, NDArray[np.floating]],
    inputs: Mapping[str, LossInput],
) -> NDArray[np.floating]:
    """Move predictions to where the likeness wants them; sums of distributions stay such."""
    value = values[of_input.name]
    target = values.get(of_input.name.replace("_pred", "_targ"))
    if likeness in (Likeness.NEAR, Likeness.EXACT, Likeness.FAR) and target is not None:
        share = {Likeness.NEAR: 1e-2, Likeness.EXACT: 0.0, Likeness.FAR: 30.0}[likeness]
        if likeness is Likeness.FAR and not of_input.coordinates:
            return value
        target_axes = inputs[of_input.name.replace("_pred", "_targ")].axes
        given = target.reshape(value.shape) if target.size == value.size else None
        aligned = _aligned(target, target_axes.text, of_input.axes.text)
        aligned = given if aligned is None else aligned
        return value if aligned is None else aligned + share * (value - aligned)
    if likeness is Likeness.STILL and of_input.has_batch:
        return np.broadcast_to(value[:1], value.shape) if len(value) else value
    if likeness is Likeness.COLLAPSED and of_input.coordinates:
        points = points_of(of_input, value)
        return np.broadcast_to(points[..., :1, :], points.shape).reshape(value.shape)
    if likeness is Likeness.COLLAPSED and _is_map(of_input, value):
        # All in the highest pixel, as where a softmax runs out of digits.
        is_highest = value == value.max(axis=(-2, -1), keepdims=True, initial=-np.inf)
        return np.where(is_highest, value.sum(axis=(-2, -1), keepdims=True), 0.0)
    return value


def _aligned(
    target: NDArray[np.floating], target_axes: str, axes: str
) -> NDArray[np.floating] | None:
    """Give a target the axes that only its predictions have, such as pairs of cameras."""
    names, own = axes.split(), target_axes.split()
    if [name for name in names if name in own] != own:
        return None
    return target.reshape([target.shape[own.index(name)] if name in own else 1 for name in names])


def _is_map(of_input: LossInput, value: NDArray[np.floating]) -> bool:
    return value.ndim >= 4 and not of_input.coordinates


def points_of(of_input: LossInput, value: Any) -> Any:
    """Return coordinates as points along the last axis but one."""
    if of_input.axes.factors[-1] == (of_input.coordinates, ()):
        return value
    *others, last = value.shape  # -1 would not do where there are no elements
    return value.reshape(*others, last // of_input.coordinates, of_input.coordinates)


def _rounded(
    value: NDArray[np.floating], of_input: LossInput, decimals: int
) -> NDArray[np.floating]:
    """Round coordinates, so that an example can be read."""
    return value.round(decimals) if of_input.coordinates or of_input.spec is None else value


def _with_gaps(
    value: NDArray[np.floating], of_input: LossInput, gaps: Gaps, random: np.random.Generator
) -> NDArray[np.floating]:
    shape = value.shape
    if gaps is Gaps.ALL:
        lacks = np.ones(shape, bool)
    elif gaps is Gaps.SAMPLES:
        lacks = random.random(shape[:1]) < 0.5
        lacks = np.broadcast_to(lacks.reshape(-1, *[1] * (value.ndim - 1)), shape)
    elif gaps is Gaps.COORDINATES and of_input.missing == "nan":
        lacks = random.random(shape) < 0.2
    elif _is_map(of_input, value):
        lacks = np.broadcast_to((random.random(shape[:2]) < 0.4)[..., None, None], shape)
    elif of_input.coordinates:
        points = points_of(of_input, value)
        lacks = np.broadcast_to(random.random(points.shape[:-1])[..., None] < 0.4, points.shape)
        lacks = lacks.reshape(shape)
    else:
        lacks = random.random(shape) < 0.4
    return np.where(lacks, np.nan if of_input.missing == "nan" else 0.0, value)
