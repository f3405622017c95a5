"""Which frames the pictures show: not the best ones only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from lploss_builtin.commands.training_demo.errors import error_of

_SHARES = {"a good frame": 0.1, "a usual frame": 0.5, "a bad frame": 0.9, "the worst frame": 1.0}


def chosen_frames(distances: Float64[np.ndarray, "frames ..."]) -> dict[str, int]:
    """Return a frame for each rank of the mean error, from good to worst.

    Args:
        distances: of all keypoints of each frame; NaN: not known.

    Example:
        >>> chosen_frames(np.array([[3.0], [1.0], [9.0], [2.0], [4.0]]))
        {'a good frame': 1, 'a usual frame': 0, 'the worst frame': 2}
    """
    means = np.array([error_of(own).mean for own in distances])
    order = np.argsort(np.nan_to_num(means), kind="stable")
    frames: dict[int, str] = {}
    for name, share in _SHARES.items():
        # Of few frames, one may stand for several ranks: it gets the last name.
        frames[int(order[round(share * (len(order) - 1))])] = name
    return {name: frame for frame, name in frames.items()}
