"""The shadow that the animal casts on the ground."""

from __future__ import annotations

import numpy as np
from einops import rearrange
from jaxtyping import Float32, Float64

from lploss_builtin.data.synthetic_rig.animal import PARTS
from lploss_builtin.data.synthetic_rig.colours import SUN, smooth_step

_DARKNESS = 0.55
_CELL = 5.0
_MARGIN = 25.0
_RADII = np.array([max(radii) for radii in PARTS.values()], dtype=np.float32)


def shadow(
    starts: Float64[np.ndarray, "parts 3"],
    ends: Float64[np.ndarray, "parts 3"],
    ground: Float32[np.ndarray, "2 *shape"],
) -> Float32[np.ndarray, "*shape"]:
    """Return which share of the light the animal takes from points of the ground, from 0 to 1.

    Args:
        starts: of the parts of its body, mm.
        ends: likewise.
        ground: the points, mm.
    """
    feet, heads = (ends_[:, :2] - ends_[:, 2:] * (SUN[:2] / SUN[2]) for ends_ in (starts, ends))
    corner = np.minimum(feet, heads).min(axis=0) - _MARGIN
    far = np.maximum(feet, heads).max(axis=0) + _MARGIN
    num_columns, num_rows = (np.ceil((far - corner) / _CELL).astype(int) + 1).tolist()
    x = (corner[0] + _CELL * np.arange(num_columns)).astype(np.float32)
    y = (corner[1] + _CELL * np.arange(num_rows)).astype(np.float32)
    dark = _darkness(feet.astype(np.float32), heads.astype(np.float32), x, y)
    # The margin is in the light, and so is all that is farther away.
    column, row = (
        np.clip((ground[i] - np.float32(corner[i])) / np.float32(_CELL), 0, size - 1.001)
        for i, size in enumerate((num_columns, num_rows))
    )
    upper, left = np.floor(row), np.floor(column)
    down, right = row - upper, column - left
    flat = upper.astype(np.int32) * num_columns + left.astype(np.int32)
    cells = dark.reshape(-1)
    above = cells[flat] * (1 - right) + cells[flat + 1] * right
    below = cells[flat + num_columns] * (1 - right) + cells[flat + num_columns + 1] * right
    shade: Float32[np.ndarray, "*shape"] = above + down * (below - above)
    return shade


def _darkness(
    feet: Float32[np.ndarray, "parts 2"],
    heads: Float32[np.ndarray, "parts 2"],
    x: Float32[np.ndarray, "columns"],
    y: Float32[np.ndarray, "rows"],
) -> Float32[np.ndarray, "rows columns"]:
    axis = heads - feet
    from_x, from_y = x - feet[:, :1], y - feet[:, 1:]
    square = np.maximum((axis * axis).sum(axis=1), np.float32(1e-3))
    along_x = rearrange(from_x * (axis[:, :1] / square[:, None]), "parts x -> parts 1 x")
    along_y = rearrange(from_y * (axis[:, 1:] / square[:, None]), "parts y -> parts y 1")
    share = np.clip(along_x + along_y, 0.0, 1.0)
    aside_x = from_x[:, None, :] - share * axis[:, 0, None, None]
    aside_y = from_y[:, :, None] - share * axis[:, 1, None, None]
    distance = np.sqrt(aside_x * aside_x + aside_y * aside_y) - _RADII[:, None, None]
    return np.float32(_DARKNESS) * smooth_step(-distance.min(axis=0), -6.0, 2.0)
