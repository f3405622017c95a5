"""The coat of the animal: what colour its body has where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from lploss_builtin.data.synthetic_rig.animal import PARTS
from lploss_builtin.data.synthetic_rig.colours import (
    colour,
    lit,
    mixed,
    noise,
    noise_table,
    smooth_step,
    wave,
)

_SAND, _CREAM, _DARK = colour("#c98a4b"), colour("#f0e2c4"), colour("#3b2417")
_PINK, _BLACK = colour("#d98c86"), colour("#120d0c")


class _Fur(NamedTuple):
    """How a part is coloured.

    Attributes:
        base: colour of the upper side.
        below: of the under side.
        stripes: how strong dark stripes across the part are, 0 to 1.
        first: where the part starts along the stripes of its neighbours, mm.
        period: from stripe to stripe, mm.
        tip: colour at the end of the part.
        has_tip: how much of it, 0 to 1.
    """

    base: tuple[float, float, float] = _SAND
    below: tuple[float, float, float] = _CREAM
    stripes: float = 0.0
    first: float = 0.0
    period: float = 10.0
    tip: tuple[float, float, float] = _CREAM
    has_tip: float = 0.0


def _fur_of(part: str) -> _Fur:
    kind = part.split("_")[0].rstrip("0123456789")
    if kind == "tail":
        number = int(part.removeprefix("tail"))
        is_last = number == 5
        return _Fur(
            below=_SAND,
            stripes=1.0,
            first=12.5 * number,
            tip=_DARK,
            has_tip=1.0 if is_last else 0.0,
        )
    return {
        "rump": _Fur(stripes=1.0, first=0.0),
        "belly": _Fur(stripes=1.0, first=21.0),
        "chest": _Fur(stripes=1.0, first=43.0),
        "neck": _Fur(stripes=0.6, first=62.0),
        "head": _Fur(stripes=0.25, period=7.0),
        "snout": _Fur(base=_CREAM),
        "nose": _Fur(base=_BLACK, below=_BLACK),
        "ear": _Fur(below=_SAND, tip=_DARK, has_tip=0.9),
        "eye": _Fur(base=_BLACK, below=_BLACK),
        "thigh": _Fur(below=_SAND, stripes=0.7, period=8.5),
        "shin": _Fur(below=_SAND, tip=_CREAM, has_tip=0.8),
        "paw": _Fur(base=_CREAM, below=_CREAM),
    }[kind]


_FURS = [_fur_of(part) for part in PARTS]
_COLOURS = {
    key: np.array([getattr(fur, key) for fur in _FURS], dtype=np.float32).T
    for key in ("base", "below", "tip")
}
_NUMBERS = {
    key: np.array([getattr(fur, key) for fur in _FURS], dtype=np.float32)
    for key in ("stripes", "first", "period", "has_tip")
}
_IS_EAR = np.array([part.startswith("ear") for part in PARTS])
_IS_WET = np.array([part.startswith(("eye", "nose")) for part in PARTS], dtype=np.float32)
_LENGTH_SCALE = 0.13


class Surface(NamedTuple):
    """Points on the body.

    Attributes:
        part: numbers of `PARTS`.
        share: how far along the part, 0 to 1.
        along: the same, mm.
        heights: above the ground, mm.
        normals: outward directions.
        aside: how far the surface faces the left or the right of the animal, 0 to 1.
        ahead: how far it faces forward, -1 to 1.
        to_camera: directions to the camera.
    """

    part: Int64[np.ndarray, "points"]
    share: Float32[np.ndarray, "points"]
    along: Float32[np.ndarray, "points"]
    heights: Float32[np.ndarray, "points"]
    normals: Float32[np.ndarray, "3 points"]
    aside: Float32[np.ndarray, "points"]
    ahead: Float32[np.ndarray, "points"]
    to_camera: Float32[np.ndarray, "3 points"]


_TABLE = noise_table(np.random.default_rng(20))


def coat(surface: Surface) -> Float32[np.ndarray, "3 points"]:
    """Return the colours of points of the body, in the light of the scene."""
    part, normals = surface.part, surface.normals
    numbers = {key: values[part] for key, values in _NUMBERS.items()}
    at = surface.along + numbers["first"]
    patches = noise(_TABLE, at * _LENGTH_SCALE, 2.5 * normals[2] + part * np.float32(1.7))
    upwards = normals[2] + 0.5 * (patches - 0.5)
    fur = mixed(
        _COLOURS["below"][:, part], _COLOURS["base"][:, part], smooth_step(upwards, -0.55, -0.1)
    )
    # Stripes lean forward where they come down the sides, and end above the belly.
    phase = at / numbers["period"] + 0.35 * surface.aside + 0.9 * patches
    stripe = smooth_step(wave(phase), 0.05, 0.5) * smooth_step(upwards, -0.5, 0.1)
    fur = mixed(fur, _column(_DARK), 0.85 * numbers["stripes"] * stripe)
    fur = mixed(
        fur, _COLOURS["tip"][:, part], numbers["has_tip"] * smooth_step(surface.share, 0.45, 0.8)
    )
    inner = np.where(_IS_EAR[part], smooth_step(surface.ahead, 0.45, 0.7), 0.0)
    fur = mixed(fur, _column(_PINK), 0.85 * inner)
    fur = fur * (0.86 + 0.28 * patches)
    # Close to the ground, and below the body, little light arrives.
    open_sky = 0.62 + 0.38 * smooth_step(surface.heights, 0.0, 34.0)
    seen = lit(fur, normals) * open_sky
    facing = np.maximum((normals * surface.to_camera).sum(axis=0), 0.0)
    rim = 0.16 * (1.0 - facing) ** 3
    glint = _IS_WET[part] * smooth_step(normals[2] * 0.6 + facing * 0.6, 0.8, 1.0)
    return seen * (0.8 + 0.2 * facing) + rim * open_sky + 0.6 * glint


def _column(values: tuple[float, float, float]) -> Float32[np.ndarray, "3 1"]:
    return np.array(values, dtype=np.float32)[:, None]
