"""Capsules, of which the animal and the obstacles are made, and rays that hit them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float64

# Each pillar: azimuth (degrees) and distance (mm) from the middle of the scene, height and radius
# (mm). The first ones stand in front of the first cameras.
_PILLARS = (
    (88.0, 192.0, 134.0, 7.0),
    (-86.0, 192.0, 152.0, 7.0),
    (16.0, 192.0, 132.0, 7.0),
    (200.0, 192.0, 160.0, 7.0),
    (60.0, 194.0, 200.0, 6.0),
    (112.0, 204.0, 98.0, 11.0),
    (-64.0, 204.0, 94.0, 11.0),
    (-10.0, 206.0, 74.0, 14.0),
    (165.0, 204.0, 110.0, 11.0),
)
_AZIMUTH_SPREAD = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Capsules:
    """Capsules in the world: all points within ``radii`` of the segments ``starts`` to ``ends``.

    Attributes:
        starts: mm; leading axes, such as frames, are free.
        ends: mm.
        radii: mm, one per capsule.
    """

    starts: Float64[np.ndarray, "*frames capsules 3"]
    ends: Float64[np.ndarray, "*frames capsules 3"]
    radii: Float64[np.ndarray, "capsules"]


def pillars(seed: int, session: int) -> Capsules:
    """Return the obstacles: upright capsules, which move a little from session to session.

    Example:
        >>> pillars(0, 0).radii.shape
        (9,)
    """
    rng = np.random.default_rng((seed, 3, session))
    azimuths, distances, heights, radii = np.array(_PILLARS).T
    angles = np.radians(azimuths + rng.uniform(-_AZIMUTH_SPREAD, _AZIMUTH_SPREAD, len(azimuths)))
    x, y = distances * np.cos(angles), distances * np.sin(angles)
    feet = np.stack([x, y, np.zeros_like(x)], axis=1)
    return Capsules(feet, np.stack([x, y, heights - radii], axis=1), radii)


def first_hits(
    origins: Float64[np.ndarray, "... 3"],
    directions: Float64[np.ndarray, "... 3"],
    starts: Float64[np.ndarray, "... 3"],
    ends: Float64[np.ndarray, "... 3"],
    radii: Float64[np.ndarray, "..."] | float,
) -> Float64[np.ndarray, "..."]:
    """Return the distance along each ray to its capsule, infinity where the ray misses it.

    Args:
        origins: origin of each ray, outside of the capsules, mm.
        directions: direction of each ray, of unit length.
        starts: start of the axis of each capsule, mm.
        ends: end of the axis of each capsule, mm.
        radii: radius of each capsule, mm.

    Source: the quadratic equations of the cylinder and of the ball at either end.

    Example:
        >>> ball = np.array([0.0, 0.0, 9.0])
        >>> float(first_hits(np.zeros(3), np.array([0.0, 0.0, 1.0]), ball, ball, 1.0))
        8.0
    """
    axis, offset = ends - starts, origins - starts
    length, rise = _dot(axis, axis), _dot(axis, directions)
    along, near = _dot(axis, offset), _dot(directions, offset)
    far = _dot(offset, offset) - np.square(radii)
    square = length - rise * rise
    half = length * near - along * rise
    root = half * half - square * (length * far - along * along)
    # A ray along the axis hits one of the balls.
    with np.errstate(divide="ignore", invalid="ignore"):
        side = (-half - np.sqrt(root)) / square
    at = along + side * rise
    on_side = (root > 0.0) & (at > 0.0) & (at < length)
    hits = np.where(on_side, side, np.inf)
    for near_ball, far_ball in ((near, far), (near - rise, far - 2.0 * along + length)):
        root = near_ball * near_ball - far_ball
        with np.errstate(invalid="ignore"):
            ball = np.where(root > 0.0, -near_ball - np.sqrt(root), np.inf)
        hits = np.minimum(hits, ball)
    return np.where(hits > 0.0, hits, np.inf)


def normals(
    points: Float64[np.ndarray, "points 3"],
    start: Float64[np.ndarray, "3"],
    end: Float64[np.ndarray, "3"],
) -> Float64[np.ndarray, "points 3"]:
    """Return the outward unit normals at points on a capsule's surface.

    Example:
        >>> normals(np.array([[0.0, 2.0, 5.0]]), np.zeros(3), np.array([0.0, 0.0, 9.0]))
        array([[0., 1., 0.]])
    """
    axis = end - start
    share = np.clip((points - start) @ axis / max(axis @ axis, math.ulp(1.0)), 0.0, 1.0)
    away = points - start - share[:, None] * axis
    return away / np.linalg.norm(away, axis=1, keepdims=True)


def in_sight(
    points: Float64[np.ndarray, "frames points 3"],
    centres: Float64[np.ndarray, "views 3"],
    body: Capsules,
    obstacles: Capsules,
    tolerance: float,
) -> Bool[np.ndarray, "frames views points"]:
    """Return whether the cameras see points of the body, by frame, view and point.

    Args:
        points: the points, mm.
        centres: the camera centres, mm.
        body: the body of the animal in each frame.
        obstacles: the obstacles in the scene.
        tolerance: how deep below the surface of the body a visible point may lie, mm.
    """
    seen = np.empty((len(points), len(centres), points.shape[1]), dtype=bool)
    for frame, targets in enumerate(points):
        lines = targets - centres[:, None]
        lengths = np.linalg.norm(lines, axis=-1)
        starts = np.concatenate([body.starts[frame], obstacles.starts])
        ends = np.concatenate([body.ends[frame], obstacles.ends])
        hits = first_hits(
            rearrange(centres, "views xyz -> views 1 1 xyz"),
            rearrange(lines / lengths[..., None], "views points xyz -> views points 1 xyz"),
            starts,
            ends,
            np.concatenate([body.radii, obstacles.radii]),
        )
        seen[frame] = hits.min(axis=-1) > lengths - tolerance
    return seen


def _dot(a: Any, b: Any) -> Any:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
