"""The animal on a treadmill, seen by one camera from the side and, in a mirror, from below."""

from __future__ import annotations

import numpy as np
from einops import rearrange
from jaxtyping import Float64

from lploss_builtin.data.rig.animal import KEYPOINT_NAMES as _BODY
from lploss_builtin.data.rig.animal import slow_course, walk

BODY_PARTS = (
    "nose",
    "neck",
    "tail_base",
    "paw_front_left",
    "paw_front_right",
    "paw_hind_left",
    "paw_hind_right",
)
VIEWS = ("top", "bot")
KEYPOINT_NAMES = tuple(f"{part}_{view}" for view in VIEWS for part in BODY_PARTS)

# Affine cameras with an image of 400 x 400 px, from (forward, left, up) in mm. The mirror below
# shows the animal from underneath, and neither view is quite square to the animal.
_CAMERAS = np.array(
    [
        [[1.25, 0.08, 0.0, 190.0], [0.02, -0.15, -1.25, 150.0]],
        [[1.22, -0.06, 0.04, 192.0], [0.04, 1.3, 0.05, 290.0]],
    ]
)


def treadmill_walk(
    num_frames: int, rng: np.random.Generator
) -> Float64[np.ndarray, "frames num_keypoints 2"]:
    """Return the positions of `KEYPOINT_NAMES` in the image while the animal walks.

    Args:
        num_frames: number of frames.
        rng: random number generator, which determines the walk.

    Returns:
        Exact positions, px, view by view.

    Example:
        >>> treadmill_walk(5, np.random.default_rng(0)).shape
        (5, 14, 2)
    """
    poses = walk(num_frames, rng)
    points = poses.keypoints[:, [_BODY.index(part) for part in BODY_PARTS]]
    points[..., :2] -= poses.positions[:, None]
    # On a treadmill the animal looks ahead, turns a little, and drifts.
    angles = 0.1 * slow_course(num_frames, 300.0, rng) - poses.headings
    cos, sin, zero, one = np.cos(angles), np.sin(angles), 0 * angles, 0 * angles + 1
    rotations = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=1)
    points = np.einsum("fij,fpj->fpi", rotations.reshape(-1, 3, 3), points)
    for axis, extent in enumerate((10.0, 4.0)):
        points[..., axis] += extent * slow_course(num_frames, 260.0, rng)[:, None]
    seen = np.einsum("vij,fpj->fvpi", _CAMERAS[:, :, :3], points) + _CAMERAS[:, None, :, 3]
    return rearrange(seen, "frames views parts xy -> frames (views parts) xy")
