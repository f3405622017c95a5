"""Consecutive frames of the animal in memory, with their ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from lploss.errors import ArgumentValueError
from lploss_builtin.data.rig.animal import Poses, walk
from lploss_builtin.data.rig.cameras import VIEW_NAMES, camera_centres, pixel_rays, rig_cameras
from lploss_builtin.data.rig.capsules import Capsules, in_sight, pillars
from lploss_builtin.data.rig.renderer import build_scene, render
from lploss_builtin.ops.geometry import Cameras, project_points

#: How deep below the surface of the body a visible keypoint may lie, mm.
TOLERANCE = 8.0
_MIN_SIDE = 16


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
        scene = build_scene(
            camera_centres(self.cameras),
            pixel_rays(self.cameras, self.image_size),
            self.obstacles,
            self.seed,
        )
        body = self.poses.body
        starts, ends = (_seen(points, self.cameras) for points in (body.starts, body.ends))
        focal_lengths = self.cameras.intrinsics[:, 0, 0].numpy()
        for frame in range(len(starts)):
            yield render(
                scene,
                Capsules(body.starts[frame], body.ends[frame], body.radii),
                (starts[frame], ends[frame]),
                focal_lengths,
                np.random.default_rng((self.seed, 6, self.session, frame)),
            )


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
