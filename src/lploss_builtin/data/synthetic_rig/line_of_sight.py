"""Which keypoints a camera sees, and which are hidden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float64

from lploss_builtin.data.synthetic_rig.animal import PARTS, Poses
from lploss_builtin.data.synthetic_rig.obstacles import Box, Pillar
from lploss_builtin.data.synthetic_rig.round_cones import first_hit, round_cones

#: How deep below the surface of the body a keypoint may lie and still be seen, mm.
TOLERANCE = 8.0
_FRAMES_AT_ONCE = 100


def is_in_sight(
    poses: Poses,
    centres: Float64[np.ndarray, "views 3"],
    obstacles: Sequence[Pillar | Box],
) -> Bool[np.ndarray, "frames views num_keypoints"]:
    """Return for each keypoint whether nothing stands between it and the cameras.

    Args:
        poses: of the animal.
        centres: where the cameras stand.
        obstacles: what stands in the scene.

    Returns:
        Whether the first that the line of sight meets is at most `TOLERANCE` before the keypoint.
    """
    lines = poses.keypoints[:, None] - centres[:, None]
    lengths = np.linalg.norm(lines, axis=-1)
    directions = lines / lengths[..., None]
    nearest = np.concatenate(
        [
            _to_body(poses, centres, directions, slice(start, start + _FRAMES_AT_ONCE))
            for start in range(0, len(lengths), _FRAMES_AT_ONCE)
        ]
    )
    flat = rearrange(directions, "f v k xyz -> xyz (f v k)")
    origins = rearrange(
        np.broadcast_to(centres[:, None], directions.shape), "f v k xyz -> xyz (f v k)"
    )
    for obstacle in obstacles:
        nearest = np.minimum(nearest, obstacle.first_hit(origins, flat).reshape(nearest.shape))
    return nearest > lengths - TOLERANCE


def _to_body(
    poses: Poses,
    centres: Float64[np.ndarray, "views 3"],
    directions: Float64[np.ndarray, "frames views num_keypoints 3"],
    frames: slice,
) -> Float64[np.ndarray, "some_frames views num_keypoints"]:
    start_radii, end_radii = np.array([*PARTS.values()]).T
    cones = round_cones(
        centres[None, :, None, None],
        poses.starts[frames, None, None],
        poses.ends[frames, None, None],
        start_radii,
        end_radii,
    )
    rays = rearrange(directions[frames], "f v k xyz -> xyz f v k 1")
    return first_hit(cones, rays).min(axis=-1)
