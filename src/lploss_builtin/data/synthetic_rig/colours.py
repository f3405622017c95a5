"""Colours that depend on where something is: noise, stripes, light."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32

#: Where the sun stands, seen from the scene; of unit length.
SUN = np.array([0.38, 0.26, 0.887])
SUN /= np.linalg.norm(SUN)

_SUNLIGHT = np.array([1.02, 0.96, 0.84])
_SKYLIGHT = np.array([0.36, 0.41, 0.47])
_BOUNCE = np.array([0.20, 0.17, 0.12])
_TABLE_SIZE = 64


def colour(text: str) -> tuple[float, float, float]:
    """Return a colour written as ``#rrggbb``, from 0 to 1.

    Example:
        >>> colour("#ff0033")
        (1.0, 0.0, 0.2)
    """
    red, green, blue = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def smooth_step(
    values: Float[np.ndarray, "*shape"], low: float, high: float
) -> Float[np.ndarray, "*shape"]:
    """Return 0 up to ``low``, 1 from ``high`` on, and a smooth rise between them.

    Example:
        >>> smooth_step(np.array([1.0, 3.0, 9.0]), 2.0, 4.0)
        array([0. , 0.5, 1. ])
    """
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def mixed(
    one: Float[np.ndarray, "3 *#shape"],
    other: Float[np.ndarray, "3 *#shape"],
    share: Float[np.ndarray, "*shape"],
) -> Float[np.ndarray, "3 *shape"]:
    """Return a mixture of two colours; of the other one a share from 0 to 1."""
    return one + share * (other - one)


def lit(
    albedo: Float[np.ndarray, "3 points"],
    normals: Float[np.ndarray, "3 points"],
    sunshine: Float[np.ndarray, "points"] | float = 1.0,
) -> Float[np.ndarray, "3 points"]:
    """Return the colours of surfaces in the light of sun, sky and ground.

    Args:
        albedo: their own colours.
        normals: their outward directions.
        sunshine: 0 in the shadow, 1 in the sun.
    """
    sun, sky, bounce = (
        light[:, None].astype(albedo.dtype) for light in (_SUNLIGHT, _SKYLIGHT, _BOUNCE)
    )
    x, y, z = SUN.tolist()
    towards = x * normals[0] + y * normals[1] + z * normals[2]
    up = 0.5 + 0.5 * normals[2]
    return albedo * (np.maximum(towards, 0.0) * sunshine * sun + up * sky + (1.0 - up) * bounce)


def noise_table(rng: np.random.Generator) -> Float32[np.ndarray, "64 64"]:
    """Return what `noise` is made from."""
    return rng.uniform(0.0, 1.0, (_TABLE_SIZE, _TABLE_SIZE)).astype(np.float32)


def noise(
    table: Float32[np.ndarray, "64 64"],
    x: Float[np.ndarray, "*shape"],
    y: Float[np.ndarray, "*shape"],
    num_octaves: int = 1,
) -> Float[np.ndarray, "*shape"]:
    """Return smooth noise from 0 to 1 over the plane, with features of the size 1.

    Args:
        table: of random numbers.
        x: coordinates.
        y: likewise.
        num_octaves: each adds features of half the size and half the strength.
    """
    total = np.zeros(np.shape(x), dtype=np.result_type(x, np.float32))
    for octave in range(num_octaves):
        scale = 2.0**octave
        total += _lattice_noise(table, scale * x + 7.3 * octave, scale * y + 3.1 * octave) / scale
    return total / (2.0 - 0.5 ** (num_octaves - 1))


def _lattice_noise(
    table: Float32[np.ndarray, "64 64"],
    x: Float[np.ndarray, "*shape"],
    y: Float[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
    column, row = np.floor(x), np.floor(y)
    right, down = smooth_step(x - column, 0.0, 1.0), smooth_step(y - row, 0.0, 1.0)
    i, j = (index.astype(np.int64) % _TABLE_SIZE for index in (row, column))
    next_i, next_j = (i + 1) % _TABLE_SIZE, (j + 1) % _TABLE_SIZE
    above = table[i, j] + right * (table[i, next_j] - table[i, j])
    below = table[next_i, j] + right * (table[next_i, next_j] - table[next_i, j])
    return above + down * (below - above)


def wave(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return a sine of period 1."""
    return np.sin(values * np.asarray(2 * math.pi, dtype=values.dtype))
