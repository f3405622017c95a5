"""Which sizes the axes of an example have."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from hypothesis import strategies as st

from lploss.axes import Axes

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
