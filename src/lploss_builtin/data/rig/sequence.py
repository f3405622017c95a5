"""Consecutive frames of the animal in memory: their ground truth, and their images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from lploss.errors import ArgumentValueError
from lploss_builtin.data.rig.animal import PARTS, Poses, walk
from lploss_builtin.data.rig.cameras import VIEW_NAMES, camera_centres, pixel_rays, rig_cameras
from lploss_builtin.data.rig.capsules import Capsules, first_hits, in_sight, normals, pillars
from lploss_builtin.ops.geometry import Cameras, project_points

#: How deep below the surface of the body a visible keypoint may lie, mm.
TOLERANCE = 8.0
_MIN_SIDE = 16


_SUN = np.array([0.38, 0.26, 0.887])
_AMBIENT = 0.45
_SKY = np.array([0.76, 0.80, 0.82])
_SOIL = np.array([0.48, 0.42, 0.33])
_PILLAR = np.array([0.55, 0.36, 0.28])
_NOISE = 0.014

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


@dataclass(frozen=True, slots=True, eq=False)
class RigSequence:
    """Consecutive frames of one session, and the ground truth.

    Attributes:
        keypoints_3d: positions of `KEYPOINT_NAMES` in the world, mm.
        keypoints: their positions in the images, px; NaN outside of the image.
        visibility: 0 outside of the image, 1 occluded, 2 visible.
        cameras: the cameras of the session.
        rotations: rotation of each camera, as a Rodrigues vector.
        poses: the poses of the animal.
        obstacles: the obstacles in the scene.
        image_size: height and width, px.
        seed: seed of the sequence.
        session: number of the session.
    """

    keypoints_3d: Float64[np.ndarray, "frames num_keypoints 3"]
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"]
    visibility: UInt8[np.ndarray, "frames views num_keypoints"]
    cameras: Cameras
    rotations: Float64[np.ndarray, "views 3"]
    poses: Poses
    obstacles: Capsules
    image_size: tuple[int, int]
    seed: int
    session: int

    def images(self) -> Iterator[UInt8[np.ndarray, "views height width 3"]]:
        """Yield the images of all views, RGB, frame by frame."""
        scene = self.scene()
        body = self.poses.body
        for frame in range(len(body.starts)):
            capsules = Capsules(body.starts[frame], body.ends[frame], body.radii)
            depths, colours = scene.depths.copy(), scene.colours.copy()
            for view in zip(scene.centres, scene.rays, depths, colours, strict=True):
                _draw(*view, capsules, _PART_COLOURS)
            rng = np.random.default_rng((self.seed, 6, self.session, frame))
            light = colours * scene.tints
            light += _NOISE * rng.standard_normal(light.shape, dtype=np.float32)
            yield (np.clip(light, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)

    def scene(self) -> Scene:
        """Return what the cameras see without the animal: the ground, the pillars and the sky."""
        rng = np.random.default_rng((self.seed, 4))
        frequencies = rng.normal(0.0, 1 / 12.0, (2, 24))
        phases = rng.uniform(0.0, 2 * np.pi, 24)
        centres = camera_centres(self.cameras)
        rays = pixel_rays(self.cameras, self.image_size)
        tints = rng.uniform(0.9, 1.08, (len(rays), 1)) * rng.uniform(0.96, 1.04, (len(rays), 3))
        depths = np.full(rays.shape[:3], np.inf)
        colours = np.broadcast_to(_SKY, rays.shape).copy()
        is_ground = rays[..., 2] < -1e-3
        views = np.nonzero(is_ground)[0]
        depths[is_ground] = -centres[views, 2] / rays[is_ground][:, 2]
        spots = (centres[views] + depths[is_ground][:, None] * rays[is_ground])[:, :2]
        texture = np.cos(spots @ frequencies + phases).mean(axis=1)
        colours[is_ground] = _SOIL * (1.0 + 1.2 * texture[:, None])
        pillar_colours = np.tile(_PILLAR, (len(self.obstacles.radii), 1))
        for view in zip(centres, rays, depths, colours, strict=True):
            _draw(*view, self.obstacles, pillar_colours)
        return Scene(centres, rays, depths, colours, tints[:, None, None])


def simulate(
    num_frames: int,
    *,
    num_views: int = 4,
    image_size: tuple[int, int] = (128, 128),
    seed: int = 0,
    session: int = 0,
) -> RigSequence:
    """Let the animal walk through the scene, and return what the cameras see.

    Args:
        num_frames: number of consecutive frames; a shorter sequence is the start of a longer one.
        num_views: 2 to 6; the first ones of `VIEW_NAMES`.
        image_size: height and width, px.
        seed: of everything that is random.
        session: another session of the same seed is another walk through the same scene, with the
            same lenses; cameras and obstacles have moved a little.

    Raises:
        ArgumentValueError: a number is out of its range.

    Example:
        >>> sequence = simulate(2, num_views=3, image_size=(32, 40))
        >>> sequence.keypoints.shape, [images.shape for images in sequence.images()]
        ((2, 3, 12, 2), [(3, 32, 40, 3), (3, 32, 40, 3)])
    """
    if num_frames < 1:
        raise ArgumentValueError(f"num_frames must be at least 1, got {num_frames}")
    if not 2 <= num_views <= len(VIEW_NAMES):
        raise ArgumentValueError(f"num_views must be from 2 to {len(VIEW_NAMES)}, got {num_views}")
    if min(image_size) < _MIN_SIDE:
        raise ArgumentValueError(
            f"image_size must be (height, width) of at least {_MIN_SIDE} px each, got {image_size}"
        )
    if seed < 0 or session < 0:
        raise ArgumentValueError(
            f"seed and session must be at least 0, got seed {seed} and session {session}"
        )
    cameras, rotations = rig_cameras(num_views, image_size, seed, session)
    obstacles = pillars(seed, session)
    poses = walk(num_frames, np.random.default_rng((seed, 0, session)))
    height, width = image_size
    keypoints = _seen(poses.keypoints, cameras)
    is_inside = np.all((keypoints >= 0) & (keypoints <= (width - 1, height - 1)), axis=-1)
    is_seen = in_sight(poses.keypoints, camera_centres(cameras), poses.body, obstacles, TOLERANCE)
    return RigSequence(
        poses.keypoints,
        np.where(is_inside[..., None], keypoints, math.nan),
        np.where(is_inside, np.where(is_seen, 2, 1), 0).astype(np.uint8),
        cameras,
        rotations,
        poses,
        obstacles,
        image_size,
        seed,
        session,
    )


def _seen(
    points: Float64[np.ndarray, "frames num_points 3"], cameras: Cameras
) -> Float64[np.ndarray, "frames views num_points 2"]:
    return project_points(torch.from_numpy(points), cameras).numpy()


def _draw(
    centre: Float64[np.ndarray, "3"],
    rays: Float64[np.ndarray, "height width 3"],
    depths: Float64[np.ndarray, "height width"],
    colours: Float64[np.ndarray, "height width 3"],
    capsules: Capsules,
    albedos: Float64[np.ndarray, "capsules 3"],
) -> None:
    """Draw capsules into ``depths`` and ``colours``, a z-buffer: the nearest surface wins."""
    rays, depths, colours = rays.reshape(-1, 3), depths.reshape(-1), colours.reshape(-1, 3)
    middles = 0.5 * (capsules.starts + capsules.ends) - centre
    distances = np.linalg.norm(middles, axis=1)
    reaches = 0.5 * np.linalg.norm(capsules.ends - capsules.starts, axis=1) + capsules.radii
    # Only rays into the ball around a capsule can hit it.
    cosines = np.sqrt(1.0 - (reaches / distances) ** 2)
    is_near = (middles / distances[:, None]) @ rays.T >= cosines[:, None]
    for number, albedo in enumerate(albedos):
        pixels = np.flatnonzero(is_near[number])
        start, end = capsules.starts[number], capsules.ends[number]
        hits = first_hits(centre, rays[pixels], start, end, capsules.radii[number])
        is_nearer = hits < depths[pixels]
        pixels, hits = pixels[is_nearer], hits[is_nearer]
        outwards = normals(centre + hits[:, None] * rays[pixels], start, end)
        light = _AMBIENT + (1.0 - _AMBIENT) * np.maximum(outwards @ _SUN, 0.0)
        depths[pixels] = hits
        colours[pixels] = light[:, None] * albedo
