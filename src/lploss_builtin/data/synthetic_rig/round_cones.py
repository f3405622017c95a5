"""Rays that meet round cones: the hulls of two balls, of which the animal is made."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_SMALL = 1e-9


class RoundCones(NamedTuple):
    """Round cones as they lie before the origin of rays; all but the vectors have axes ``*cones``.

    Attributes:
        axis: from the centre of the first ball to that of the second, ``3 *cones``.
        offset: from the centre of the first ball to the origin of the rays, ``3 *cones``.
        radius: of the first ball.
        taper: by how much the second ball is smaller.
        slant: squared length of the axis less the squared taper.
        along: of the offset along the axis, times the length of the axis.
        far: squared length of the offset.
    """

    axis: Float[np.ndarray, "3 *cones"]
    offset: Float[np.ndarray, "3 *cones"]
    radius: Float[np.ndarray, "*cones"]
    taper: Float[np.ndarray, "*cones"]
    slant: Float[np.ndarray, "*cones"]
    along: Float[np.ndarray, "*cones"]
    far: Float[np.ndarray, "*cones"]


def round_cones(
    origins: Float[np.ndarray, "*#cones 3"],
    starts: Float[np.ndarray, "*#cones 3"],
    ends: Float[np.ndarray, "*#cones 3"],
    start_radii: Float[np.ndarray, "*#cones"],
    end_radii: Float[np.ndarray, "*#cones"],
) -> RoundCones:
    """Return round cones before the origins of rays.

    Neither ball may hold the other one.
    """
    axis, offset = (
        np.moveaxis(vectors, -1, 0)
        for vectors in np.broadcast_arrays(ends - starts, origins - starts)
    )
    radius, taper, _ = np.broadcast_arrays(start_radii, start_radii - end_radii, axis[0])
    return RoundCones(
        axis,
        offset,
        radius,
        taper,
        _dot(axis, axis) - taper**2,
        _dot(axis, offset),
        _dot(offset, offset),
    )


def first_hit(
    cones: RoundCones, directions: Float[np.ndarray, "3 *#cones"]
) -> Float[np.ndarray, "*cones"]:
    """Return how far each ray goes until it meets its cone; infinite where it misses it.

    Args:
        cones: before the origins of the rays.
        directions: of the rays, of unit length.

    Source: the quadratic equations of the cone and of the two balls; where the ray enters the
    hull is the nearest of all points on these that are on the hull.

    Example:
        >>> places = np.array([[[0.0, 0, 0]], [[0, 0, 9]], [[0, 1, 9]]])
        >>> ball = round_cones(*places, *np.ones((2, 1)))
        >>> first_hit(ball, np.array([[0.0], [0.0], [1.0]]))
        array([8.])
    """
    rises, nears = _dot(cones.axis, directions), _dot(cones.offset, directions)
    shift = cones.along - cones.radius * cones.taper
    square = cones.slant - rises * rises
    half = cones.slant * nears - shift * rises
    rest = cones.slant * (cones.far - cones.radius * cones.radius) - shift * shift
    root = np.sqrt(np.maximum(half * half - square * rest, 0.0))
    # A ray along the side of a cone meets it at its balls.
    square = np.where(np.abs(square) < _SMALL, _SMALL, square)
    found = np.full(np.shape(half), np.inf, dtype=half.dtype)
    for sign in (-1.0, 1.0):
        distance = (sign * root - half) / square
        at = shift + distance * rises
        is_side = (root > 0.0) & (at > 0.0) & (at < cones.slant)
        found = np.where(is_side, np.minimum(found, distance), found)
    second_radius = cones.radius - cones.taper
    axis_squared = cones.slant + cones.taper * cones.taper
    for near, far, radius in (
        (nears, cones.far, cones.radius),
        (nears - rises, cones.far - 2 * cones.along + axis_squared, second_radius),
    ):
        inside = near * near - far + radius * radius
        distance = -near - np.sqrt(np.maximum(inside, 0.0))
        found = np.where(inside > 0.0, np.minimum(found, distance), found)
    return np.where(found > 0.0, found, np.inf)


def _dot(
    one: Float[np.ndarray, "3 *#cones"], other: Float[np.ndarray, "3 *#cones"]
) -> Float[np.ndarray, "*cones"]:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
