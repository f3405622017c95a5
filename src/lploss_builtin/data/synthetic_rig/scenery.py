"""What the cameras see where the animal is not: ground, obstacles, their shadows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange, reduce
from jaxtyping import Float, Float32, Float64

from lploss_builtin.data.synthetic_rig.colours import (
    SUN,
    colour,
    lit,
    mixed,
    noise,
    noise_table,
    smooth_step,
    wave,
)
from lploss_builtin.data.synthetic_rig.obstacles import Box, Pillar

#: Rays a pixel, along each side of it.
SAMPLES = 2

_HAZE = np.array(colour("#c3ccd0"))[:, None]
_Points = Float64[np.ndarray, "3 rays"]
_Colours = Float64[np.ndarray, "3 rays"]


@dataclass(frozen=True, slots=True)
class Scenery:
    """The empty scene as the cameras of a session see it.

    Attributes:
        centres: where the cameras stand, mm.
        rays: directions in which the samples of the pixels look, row by row.
        depths: how far it is to the scenery there, mm; infinite at the sky.
        colours: of the scenery there.
        pixels: of the scenery, the mean over the samples of each pixel.
        image_size: height and width, px.
        ground: where the middle of each pixel meets the ground, mm.
        ground_share: which share of each pixel is ground.
        sensors: by what each pixel of a camera multiplies the light.
    """

    centres: Float64[np.ndarray, "views 3"]
    rays: Float32[np.ndarray, "3 views samples"]
    depths: Float32[np.ndarray, "views samples"]
    colours: Float32[np.ndarray, "3 views samples"]
    pixels: Float32[np.ndarray, "3 views height width"]
    image_size: tuple[int, int]
    ground: Float32[np.ndarray, "2 views height width"]
    ground_share: Float32[np.ndarray, "views height width"]
    sensors: Float32[np.ndarray, "3 views height width"]


def sample_positions(image_size: tuple[int, int]) -> Float64[np.ndarray, "samples 2"]:
    """Return where the samples of the pixels of an image lie, row by row.

    Args:
        image_size: height and width, px.

    Returns:
        Px; the middle of a pixel is at whole numbers.

    Example:
        >>> sample_positions((1, 2))[:, 0]
        array([-0.25,  0.25,  0.75,  1.25, -0.25,  0.25,  0.75,  1.25])
    """
    rows, columns = ((np.arange(SAMPLES * size) + 0.5) / SAMPLES - 0.5 for size in image_size)
    grid = np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), axis=-1)
    return rearrange(grid, "rows columns xy -> (rows columns) xy")


def scenery(
    centres: Float64[np.ndarray, "views 3"],
    rays: Float64[np.ndarray, "views samples 3"],
    image_size: tuple[int, int],
    obstacles: Sequence[Pillar | Box],
    seed: int,
) -> Scenery:
    """Return the empty scene as the cameras of a session see it.

    Args:
        centres: where the cameras stand, mm.
        rays: directions in which the samples of their pixels look; see `sample_positions`.
        image_size: height and width of the images, px.
        obstacles: what stands in the scene.
        seed: of the texture of the ground, and of the sensors.
    """
    height, width = image_size
    views = len(centres)
    rays = rearrange(rays, "views samples xyz -> xyz views samples")
    origins = np.broadcast_to(centres.T[:, :, None], rays.shape)
    flat_origins, flat = (
        rearrange(x, "xyz views samples -> xyz (views samples)") for x in (origins, rays)
    )
    depths, colours, is_ground = _seen(flat_origins, flat, obstacles, seed)
    down = np.minimum(rays[2], -1e-3)
    spots = origins[:2] - rays[:2] * (origins[2] / down)
    colours = colours.reshape(3, views, -1)

    def mean(samples: Float64[np.ndarray, "n views samples"]) -> Float32[np.ndarray, "n views h w"]:
        sizes = {"h": height, "w": width, "sy": SAMPLES, "sx": SAMPLES}
        pixels = reduce(samples, "n views (h sy w sx) -> n views h w", "mean", **sizes)
        return pixels.astype(np.float32)

    return Scenery(
        centres,
        rays.astype(np.float32),
        depths.reshape(views, -1).astype(np.float32),
        colours.astype(np.float32),
        mean(colours),
        image_size,
        mean(spots),
        mean(is_ground.reshape(1, views, -1))[0],
        _sensors(views, image_size, seed),
    )


def _seen(
    origins: _Points, rays: _Points, obstacles: Sequence[Pillar | Box], seed: int
) -> tuple[Float64[np.ndarray, "rays"], _Colours, Float[np.ndarray, "rays"]]:
    """Return how far the rays go, the colours that they meet, and where that is the ground."""
    rng = np.random.default_rng((seed, 4))
    tables = [noise_table(rng) for _ in range(3)]
    down = np.where(rays[2] < -1e-3, rays[2], -1e-3)
    to_ground = np.where(rays[2] < -1e-3, -origins[2] / down, np.inf)
    hits = np.stack([to_ground, *(obstacle.first_hit(origins, rays) for obstacle in obstacles)])
    nearest = hits.argmin(axis=0)
    depths = hits.min(axis=0)
    is_ground = (nearest == 0) & np.isfinite(depths)
    colours = np.broadcast_to(_HAZE, rays.shape).copy()
    points = origins + rays * np.where(np.isfinite(depths), depths, 0.0)
    colours[:, is_ground] = _ground(points[:, is_ground], obstacles, tables)
    for number, obstacle in enumerate(obstacles, start=1):
        mask = nearest == number
        if mask.any():
            colours[:, mask] = _obstacle(points[:, mask], obstacle, tables, number)
    return depths, colours, is_ground.astype(np.float64)


def _ground(
    points: _Points,
    obstacles: Sequence[Pillar | Box],
    tables: Sequence[Float32[np.ndarray, "64 64"]],
) -> _Colours:
    """Soil with moss, pebbles and leaves, lighter where it is worn, hazy far away."""
    x, y, _ = points
    soil = mixed(_column("#6d5a45"), _column("#a08a68"), noise(tables[0], x / 55.0, y / 55.0, 4))
    moss = noise(tables[1], x / 70.0, y / 70.0, 3)
    soil = mixed(soil, _column("#5f6f3c"), 0.85 * smooth_step(moss, 0.5, 0.66))
    grain = noise(tables[2], x / 4.0, y / 4.0, 2)
    soil = soil * (0.82 + 0.36 * grain)
    normals = np.zeros_like(points)
    normals[2] = 1.0
    soil, normals = _with_pebbles(soil, normals, x, y, tables)
    sunny = np.ones_like(x)
    for obstacle in obstacles:
        to_sun = np.broadcast_to(SUN[:, None], points.shape)
        sunny[np.isfinite(obstacle.first_hit(points, to_sun))] = 0.0
    seen = lit(soil, normals, sunny)
    return mixed(seen, _HAZE, smooth_step(np.hypot(x, y), 260.0, 900.0))


def _with_pebbles(
    soil: _Colours,
    normals: _Points,
    x: Float64[np.ndarray, "rays"],
    y: Float64[np.ndarray, "rays"],
    tables: Sequence[Float32[np.ndarray, "64 64"]],
) -> tuple[_Colours, _Points]:
    """Pebbles lie one in a cell of a lattice, some of them as brown or as pale as the animal."""
    cell = 17.0
    column, row = np.floor(x / cell), np.floor(y / cell)
    i, j = row.astype(np.int64) % 64, column.astype(np.int64) % 64
    chance, right, down = (table[i, j] for table in tables)
    radius = np.where(chance > 0.45, 1.5 + 4.5 * (chance - 0.45), 0.0)
    from_x = x / cell - column - (0.3 + 0.4 * right)
    from_y = y / cell - row - (0.3 + 0.4 * down)
    share = np.hypot(from_x, from_y) * cell / np.maximum(radius, 1e-6)
    on_it = smooth_step(share, 1.0, 0.8)
    kind = (down * 97.0) % 1.0
    stone = mixed(_column("#8d8a84"), _column("#b3753c"), (kind > 0.7).astype(np.float64))
    stone = mixed(stone, _column("#e6ddc8"), ((kind > 0.45) & (kind < 0.6)).astype(np.float64))
    # A little shadow on the side that is away from the sun.
    away = -(SUN[0] * from_x + SUN[1] * from_y) * cell
    soil = soil * (1.0 - 0.45 * smooth_step(share, 1.7, 1.0) * smooth_step(away, -0.3, 1.5))
    bulge = np.stack([from_x, from_y]) * cell / np.maximum(radius, 1e-6)
    normals = normals.copy()
    normals[:2] = 0.8 * on_it * bulge
    return mixed(soil, stone, on_it), normals / np.linalg.norm(normals, axis=0)


def _obstacle(
    points: _Points,
    obstacle: Pillar | Box,
    tables: Sequence[Float32[np.ndarray, "64 64"]],
    number: int,
) -> _Colours:
    normals = obstacle.normals(points)
    if isinstance(obstacle, Pillar):
        around = np.arctan2(points[1] - obstacle.y, points[0] - obstacle.x) * obstacle.radius
        albedo = _bark(around, points[2] + 40.0 * number, tables)
    else:
        here = obstacle.local(points)
        across = np.where(np.abs(np.abs(here[0]) - 0.5 * obstacle.length) < 1e-6, here[1], here[0])
        is_top = normals[2] > 0.5
        albedo = _bricks(across + 11.0 * number, np.where(is_top, here[1], here[2]), tables)
    low = 0.6 + 0.4 * smooth_step(points[2], 0.0, 18.0)
    return lit(albedo, normals) * low


def _bark(
    around: Float64[np.ndarray, "rays"],
    height: Float64[np.ndarray, "rays"],
    tables: Sequence[Float32[np.ndarray, "64 64"]],
) -> _Colours:
    """The white bark of a birch with dark marks across."""
    marks = smooth_step(noise(tables[0], around / 9.0, height / 3.5, 2), 0.6, 0.7)
    marks *= smooth_step(noise(tables[1], around / 22.0, height / 14.0), 0.35, 0.6)
    bark = mixed(
        _column("#d9d3c4"), _column("#b9ad98"), noise(tables[2], around / 6.0, height / 20.0)
    )
    return mixed(bark, _column("#3a322b"), 0.9 * marks)


def _bricks(
    across: Float64[np.ndarray, "rays"],
    height: Float64[np.ndarray, "rays"],
    tables: Sequence[Float32[np.ndarray, "64 64"]],
) -> _Colours:
    course = np.floor(height / 9.0)
    across = across + 9.0 * (course % 2)
    joint = np.maximum(wave(height / 9.0 - 0.25), wave(across / 18.0 - 0.25))
    brick = mixed(
        _column("#8c4a36"),
        _column("#b0694a"),
        tables[0][course.astype(np.int64) % 64, np.floor(across / 18.0).astype(np.int64) % 64],
    )
    brick = brick * (0.8 + 0.4 * noise(tables[2], across / 3.0, height / 3.0, 2))
    return mixed(brick, _column("#b8aea0"), smooth_step(joint, 0.9, 0.98))


def _sensors(
    views: int, image_size: tuple[int, int], seed: int
) -> Float32[np.ndarray, "3 views height width"]:
    """Each camera has its own exposure and tint, and is darker in the corners."""
    height, width = image_size
    y = (np.arange(height) - 0.5 * (height - 1)) / height
    x = (np.arange(width) - 0.5 * (width - 1)) / width
    corners = 1.0 - 0.35 * (x[None, :] ** 2 + y[:, None] ** 2)
    rng = np.random.default_rng((seed, 5))
    tints = rng.uniform(0.9, 1.08, (views, 1)) * rng.uniform(0.96, 1.04, (views, 3))
    sensors: Float64[np.ndarray, "3 views height width"] = tints.T[:, :, None, None] * corners
    return sensors.astype(np.float32)


def _column(text: str) -> Float64[np.ndarray, "3 1"]:
    return np.array(colour(text))[:, None]
