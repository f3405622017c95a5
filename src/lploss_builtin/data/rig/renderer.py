"""Images of the animal in its scene: shaded capsules in front of a ground with pillars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from lploss_builtin.data.rig.animal import PARTS
from lploss_builtin.data.rig.capsules import Capsules, first_hits, normals

_SUN = np.array([0.38, 0.26, 0.887])
_AMBIENT = 0.45
_SKY = np.array([0.76, 0.80, 0.82])
_SOIL = np.array([0.48, 0.42, 0.33])
_PILLAR = np.array([0.55, 0.36, 0.28])
_NOISE = 0.014
# Perspective and lens distortion stretch objects off the optical axis.
_STRETCH = 1.35

_FUR, _CREAM, _DARK = (0.80, 0.55, 0.30), (0.94, 0.88, 0.76), (0.10, 0.07, 0.06)
_COLOURS = {
    "head": (0.84, 0.62, 0.38),
    "snout": _CREAM,
    "nose": _DARK,
    "ear": (0.85, 0.50, 0.48),
    "tail": (0.45, 0.28, 0.18),
    "paw": _CREAM,
}
_PART_COLOURS = np.array([_COLOURS.get(part.split("_")[0], _FUR) for part in PARTS])


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The scene without the animal, as the cameras of a session see it.

    Attributes:
        centres: the camera centres, mm.
        rays: the viewing directions of the pixels, of unit length.
        depths: distance along the ray to the ground or to a pillar, mm; infinity at the sky.
        colours: colours of the ground, the pillars and the sky, RGB, 0 to 1.
        tints: exposure and white balance of each camera, as factors of RGB.
    """

    centres: Float64[np.ndarray, "views 3"]
    rays: Float64[np.ndarray, "views height width 3"]
    depths: Float64[np.ndarray, "views height width"]
    colours: Float64[np.ndarray, "views height width 3"]
    tints: Float64[np.ndarray, "views 1 1 3"]


def build_scene(
    centres: Float64[np.ndarray, "views 3"],
    rays: Float64[np.ndarray, "views height width 3"],
    obstacles: Capsules,
    seed: int,
) -> Scene:
    """Render the ground and the obstacles.

    Args:
        centres: the camera centres, mm.
        rays: the viewing directions of the pixels, of unit length.
        obstacles: the obstacles on the ground.
        seed: seed of the texture of the ground and of the cameras' tints.
    """
    rng = np.random.default_rng((seed, 4))
    frequencies = rng.normal(0.0, 1 / 12.0, (2, 24))
    phases = rng.uniform(0.0, 2 * np.pi, 24)
    views = len(centres)
    tints = rng.uniform(0.9, 1.08, (views, 1)) * rng.uniform(0.96, 1.04, (views, 3))
    depths = np.full(rays.shape[:3], np.inf)
    colours = np.broadcast_to(_SKY, rays.shape).copy()
    for view, centre in enumerate(centres):
        is_ground = rays[view, ..., 2] < -1e-3
        down = rays[view][is_ground]
        distances = -centre[2] / down[:, 2]
        spots = (centre + distances[:, None] * down)[:, :2]
        texture = np.cos(spots @ frequencies + phases).mean(axis=1)
        depths[view][is_ground] = distances
        colours[view][is_ground] = _SOIL * (1.0 + 1.2 * texture[:, None])
        for start, end, radius in zip(
            obstacles.starts, obstacles.ends, obstacles.radii.tolist(), strict=True
        ):
            _draw(centre, rays[view], depths[view], colours[view], start, end, radius, _PILLAR)
    return Scene(centres, rays, depths, colours, tints[:, None, None])


def render(
    scene: Scene,
    body: Capsules,
    points: tuple[Float64[np.ndarray, "views parts 2"], Float64[np.ndarray, "views parts 2"]],
    focal_lengths: Float64[np.ndarray, "views"],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "views height width 3"]:
    """Render the animal in the scene, RGB.

    Args:
        scene: the scene.
        body: the animal's `PARTS` in this frame.
        points: image positions of the starts and of the ends of the parts, px; NaN where a
            camera cannot see them.
        focal_lengths: focal length of each camera, px.
        rng: random number generator of the noise.
    """
    depths, colours = scene.depths.copy(), scene.colours.copy()
    height, width = depths.shape[1:]
    for view, centre in enumerate(scene.centres):
        low = np.full((len(PARTS), 2), np.inf)
        high = -low
        for ends, seen in ((body.starts, points[0]), (body.ends, points[1])):
            distances = np.linalg.norm(ends - centre, axis=-1)
            reach = _STRETCH * focal_lengths[view] * body.radii / (distances - body.radii) + 1.0
            low = np.minimum(low, seen[view] - reach[:, None])
            high = np.maximum(high, seen[view] + reach[:, None])
        limits = (width, height)
        first = np.clip(np.floor(np.nan_to_num(low)), 0, limits).astype(int).tolist()
        last = np.clip(np.ceil(np.nan_to_num(high)) + 1, 0, limits).astype(int).tolist()
        for part, ((left, top), (right, bottom)) in enumerate(zip(first, last, strict=True)):
            box = np.s_[top:bottom, left:right]
            _draw(
                centre,
                scene.rays[view][box],
                depths[view][box],
                colours[view][box],
                body.starts[part],
                body.ends[part],
                float(body.radii[part]),
                _PART_COLOURS[part],
            )
    light = colours * scene.tints
    light += _NOISE * rng.standard_normal(light.shape, dtype=np.float32)
    return (np.clip(light, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _draw(
    centre: Float64[np.ndarray, "3"],
    rays: Float64[np.ndarray, "rows columns 3"],
    depths: Float64[np.ndarray, "rows columns"],
    colours: Float64[np.ndarray, "rows columns 3"],
    start: Float64[np.ndarray, "3"],
    end: Float64[np.ndarray, "3"],
    radius: float,
    albedo: Float64[np.ndarray, "3"],
) -> None:
    """Draw one capsule into ``depths`` and ``colours``, a z-buffer: the nearest surface wins."""
    hits = first_hits(centre, rays, start, end, radius)
    is_nearer = hits < depths
    if not is_nearer.any():
        return
    distances = hits[is_nearer]
    outwards = normals(centre + distances[:, None] * rays[is_nearer], start, end)
    light = _AMBIENT + (1.0 - _AMBIENT) * np.maximum(outwards @ _SUN, 0.0)
    depths[is_nearer] = distances
    colours[is_nearer] = light[:, None] * albedo
