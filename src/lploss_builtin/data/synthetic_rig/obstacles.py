"""What stands in the scene, between the animal and the cameras: pillars and boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

# Each one: its azimuth, degrees; its distance from the middle, mm; its height; its radius, or the
# two sides of a box. The first ones stand before the first cameras.
_PILLARS = (
    (88.0, 192.0, 134.0, 6.0),
    (-86.0, 192.0, 152.0, 6.0),
    (16.0, 192.0, 132.0, 6.0),
    (200.0, 192.0, 160.0, 6.0),
    (60.0, 194.0, 200.0, 5.5),
)
_BOXES = (
    (112.0, 204.0, 98.0, 20.0, 17.0),
    (-64.0, 204.0, 94.0, 20.0, 20.0),
    (-10.0, 206.0, 74.0, 28.0, 20.0),
    (165.0, 204.0, 110.0, 20.0, 20.0),
)
_SPREAD = 4.0

_Points = Float64[np.ndarray, "3 rays"]
_Distances = Float64[np.ndarray, "rays"]


@dataclass(frozen=True, slots=True)
class Pillar:
    """An upright cylinder on the ground.

    Attributes:
        x: of its axis, mm.
        y: likewise.
        height: mm.
        radius: mm.
    """

    x: float
    y: float
    height: float
    radius: float

    def first_hit(self, origins: _Points, directions: _Points) -> _Distances:
        """Return how far each ray goes until it meets the pillar; infinite where it misses it.

        Example:
            >>> above = np.array([[0.0], [0.0], [9.0]])
            >>> Pillar(0.0, 0.0, 5.0, 1.0).first_hit(above, np.array([[0.0], [0.0], [-1.0]]))
            array([4.])
        """
        x, y = origins[0] - self.x, origins[1] - self.y
        square = _not_zero(directions[0] ** 2 + directions[1] ** 2)
        half = x * directions[0] + y * directions[1]
        root = half**2 - square * (x**2 + y**2 - self.radius**2)
        width = np.sqrt(np.maximum(root, 0.0))
        entry, leave = (-half - width) / square, (-half + width) / square
        low, high = _between(origins[2], directions[2], 0.0, self.height)
        entry, leave = np.maximum(entry, low), np.minimum(leave, high)
        return np.where((root > 0.0) & (entry < leave) & (entry > 0.0), entry, np.inf)

    def normals(self, points: _Points) -> _Points:
        """Return the outward directions at points of its surface."""
        out = np.stack([points[0] - self.x, points[1] - self.y, np.zeros_like(points[0])])
        out /= self.radius
        is_top = points[2] > self.height - 1e-6
        return np.where(is_top, np.array([[0.0], [0.0], [1.0]]), out)


@dataclass(frozen=True, slots=True)
class Box:
    """A box on the ground.

    Attributes:
        x: of its middle, mm.
        y: likewise.
        height: mm.
        length: of the side along its own x axis, mm.
        width: of that along its own y axis, mm.
        angle: counter-clockwise from the x axis of the world to its own, radians.
    """

    x: float
    y: float
    height: float
    length: float
    width: float
    angle: float

    def first_hit(self, origins: _Points, directions: _Points) -> _Distances:
        """Return how far each ray goes until it meets the box; infinite where it misses it.

        Example:
            >>> above = np.array([[0.0], [0.0], [9.0]])
            >>> box = Box(0.0, 0.0, 5.0, 2.0, 2.0, 0.3)
            >>> box.first_hit(above, np.array([[0.0], [0.0], [-1.0]]))
            array([4.])
        """
        here = self.local(origins)
        ahead = self._turned(directions)
        half = (0.5 * self.length, 0.5 * self.width)
        limits = [(-half[0], half[0]), (-half[1], half[1]), (0.0, self.height)]
        spans = [_between(here[i], ahead[i], *limits[i]) for i in range(3)]
        entry = np.maximum.reduce([low for low, _ in spans])
        leave = np.minimum.reduce([high for _, high in spans])
        return np.where((entry < leave) & (entry > 0.0), entry, np.inf)

    def normals(self, points: _Points) -> _Points:
        """Return the outward directions at points of its surface."""
        here = self.local(points)
        depths = np.stack(
            [
                np.abs(np.abs(here[0]) - 0.5 * self.length),
                np.abs(np.abs(here[1]) - 0.5 * self.width),
                np.abs(here[2] - self.height),
            ]
        )
        face = depths.argmin(axis=0)
        own = np.sign(here) * (face == np.arange(3)[:, None])
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.stack([cos * own[0] - sin * own[1], sin * own[0] + cos * own[1], own[2]])

    def local(self, points: _Points) -> _Points:
        """Return points in the axes of the box, from the middle of its floor."""
        return self._turned(points - np.array([[self.x], [self.y], [0.0]]))

    def _turned(self, vectors: _Points) -> _Points:
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x, y, z = vectors
        return np.stack([cos * x + sin * y, cos * y - sin * x, z])


def obstacles(seed: int, session: int) -> tuple[Pillar | Box, ...]:
    """Return what stands in the scene; it is moved a little from session to session.

    Example:
        >>> len(obstacles(0, 0))
        9
    """
    rng = np.random.default_rng((seed, 3, session))
    found: list[Pillar | Box] = []
    for azimuth, distance, height, radius in _PILLARS:
        x, y = _place(azimuth, distance, rng)
        found.append(Pillar(x, y, height, radius))
    for azimuth, distance, height, length, width in _BOXES:
        x, y = _place(azimuth, distance, rng)
        found.append(Box(x, y, height, length, width, rng.uniform(0.0, math.pi)))
    return tuple(found)


def _place(azimuth: float, distance: float, rng: np.random.Generator) -> tuple[float, float]:
    angle = math.radians(azimuth + rng.uniform(-_SPREAD, _SPREAD))
    return distance * math.cos(angle), distance * math.sin(angle)


def _between(
    start: _Distances, step: _Distances, low: float, high: float
) -> tuple[_Distances, _Distances]:
    """Return at what distances a ray enters and leaves what lies between two planes."""
    step = _not_zero(step)
    one, other = (low - start) / step, (high - start) / step
    return np.minimum(one, other), np.maximum(one, other)


def _not_zero(values: _Distances) -> _Distances:
    return np.where(np.abs(values) < 1e-12, 1e-12, values)
