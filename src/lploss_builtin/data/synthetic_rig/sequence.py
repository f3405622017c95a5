"""A film of the animal with what is true of it, in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from lploss.errors import ArgumentValueError
from lploss_builtin.data.synthetic_rig.animal import Poses, poses
from lploss_builtin.data.synthetic_rig.line_of_sight import is_in_sight
from lploss_builtin.data.synthetic_rig.obstacles import obstacles
from lploss_builtin.data.synthetic_rig.renderer import Shot, pictures
from lploss_builtin.data.synthetic_rig.rig_cameras import (
    VIEW_NAMES,
    camera_centres,
    lines_of_sight,
    rig_cameras,
)
from lploss_builtin.data.synthetic_rig.scenery import sample_positions, scenery
from lploss_builtin.data.synthetic_rig.walk import walk
from lploss_builtin.ops.geometry import Cameras, project_points

_MIN_SIDE = 16


@dataclass(frozen=True, slots=True, eq=False)
class RigSequence:
    """Consecutive frames of one session, and what is true of them.

    Attributes:
        keypoints_3d: where `KEYPOINT_NAMES` are in the world, mm.
        keypoints: where the cameras see them, px; NaN where that is not in the image.
        visibility: 0 not in the image, 1 hidden, 2 visible.
        cameras: of the session.
        rotations: of the cameras, as Rodrigues vectors.
        shot: what the pictures are made from.
    """

    keypoints_3d: Float64[np.ndarray, "frames num_keypoints 3"]
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"]
    visibility: UInt8[np.ndarray, "frames views num_keypoints"]
    cameras: Cameras
    rotations: Float64[np.ndarray, "views 3"]
    shot: Shot

    def images(self) -> Iterator[UInt8[np.ndarray, "views height width 3"]]:
        """Yield the pictures of all views, RGB, frame by frame."""
        return pictures(self.shot)

    def pieces(self, max_frames: int) -> Iterator[Shot]:
        """Yield the shot in pieces, whose pictures are those of the whole."""
        shot, own = self.shot, self.shot.poses
        *key, first_frame = shot.key
        for first in range(0, len(self.keypoints_3d), max_frames):
            some = slice(first, first + max_frames)
            yield replace(
                shot,
                poses=Poses(
                    own.starts[some], own.ends[some], own.keypoints[some], own.headings[some]
                ),
                starts=shot.starts[some],
                ends=shot.ends[some],
                key=(*key, first_frame + first),
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
        num_frames: consecutive frames; those of a shorter sequence are its beginning.
        num_views: from 2 to 6; the first of `VIEW_NAMES`.
        image_size: height and width, px.
        seed: of all that is random.
        session: another one of the same seed is another walk in the same scene, with the same
            lenses; the cameras and the obstacles are moved a little.

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
    own_obstacles = obstacles(seed, session)
    body = poses(walk(num_frames, np.random.default_rng((seed, 0, session))))
    height, width = image_size
    keypoints = _seen(body.keypoints, cameras)
    last_pixel = np.array([width - 1, height - 1])
    is_in_image = np.all((keypoints >= 0) & (keypoints <= last_pixel), axis=-1)
    centres = camera_centres(cameras)
    in_sight = is_in_sight(body, centres, own_obstacles)
    rays = lines_of_sight(cameras, sample_positions(image_size))
    return RigSequence(
        body.keypoints,
        np.where(is_in_image[..., None], keypoints, math.nan),
        np.where(is_in_image, np.where(in_sight, 2, 1), 0).astype(np.uint8),
        cameras,
        rotations,
        Shot(
            scenery(centres, rays, image_size, own_obstacles, seed),
            body,
            _seen(body.starts, cameras),
            _seen(body.ends, cameras),
            cameras.intrinsics[:, 0, 0].numpy(),
            (seed, 6, session, 0),
        ),
    )


def _seen(
    points: Float64[np.ndarray, "frames num_points 3"], cameras: Cameras
) -> Float64[np.ndarray, "frames views num_points 2"]:
    return project_points(torch.from_numpy(points), cameras).numpy()
