"""A walking animal, seen from the side and, in a mirror, from below."""

from __future__ import annotations

import numpy as np
from einops import rearrange
from jaxtyping import Float64

BODY_PARTS = ("nose", "neck", "tail_base", "paw1LH", "paw2LF", "paw3RF", "paw4RH")
VIEWS = ("top", "bot")
KEYPOINT_NAMES = tuple(f"{part}_{view}" for view in VIEWS for part in BODY_PARTS)

# Each paw: where it stands under the body (forward, to the left; px), and when in the stride it
# touches down (0 to 1): diagonal paws move nearly together, as in a trot.
_PAWS = ((-58.0, 16.0, 0.55), (42.0, 14.0, 0.0), (42.0, -14.0, 0.5), (-58.0, -16.0, 0.05))
_SPINE = ((96.0, 0.0, 44.0), (58.0, 0.0, 52.0), (-78.0, 0.0, 50.0))
_FRAMES_A_STRIDE = 26.0
_STANCE = 0.6
_STRIDE_LENGTH = 62.0
_STEP_HEIGHT = 17.0

# Affine cameras of an image of 400 x 400 px, from (forward, left, up): the mirror below shows
# the animal from underneath, and neither view is quite square to the animal.
_CAMERAS = np.array(
    [
        [[1.0, 0.06, 0.0, 190.0], [0.02, -0.12, -1.0, 150.0]],
        [[0.98, -0.05, 0.03, 192.0], [0.03, 1.05, 0.04, 290.0]],
    ]
)


def walk(
    num_frames: int, rng: np.random.Generator
) -> Float64[np.ndarray, "frames num_keypoints 2"]:
    """Return where the keypoints `KEYPOINT_NAMES` are in the image while the animal walks.

    Args:
        num_frames: number of frames.
        rng: source of what differs from walk to walk: pace, drift, turning, posture.

    Returns:
        Exact positions, px, view by view.

    Example:
        >>> walk(5, np.random.default_rng(0)).shape
        (5, 14, 2)
    """
    pace = 1.0 + 0.18 * _wander(num_frames, 220.0, rng)
    phase = rng.uniform() + np.cumsum(pace) / _FRAMES_A_STRIDE
    points = np.stack(
        [
            *(_spine(np.array(at), phase, num_frames, rng) for at in _SPINE),
            *(_paw(forward, left, phase - touch_down) for forward, left, touch_down in _PAWS),
        ],
        axis=1,
    )
    turned = _turn(points, 0.10 * _wander(num_frames, 300.0, rng))
    drift = np.stack(
        [scale * _wander(num_frames, 260.0, rng) for scale in (16.0, 7.0, 0.0)], axis=1
    )
    return _project(turned + drift[:, None])


def _paw(
    forward: float, left: float, phase: Float64[np.ndarray, "frames"]
) -> Float64[np.ndarray, "frames 3"]:
    """On the ground a paw goes back with the belt, in the air it swings forward."""
    at = phase % 1.0
    swing = np.clip((at - _STANCE) / (1.0 - _STANCE), 0.0, 1.0)
    back = 0.5 - np.minimum(at / _STANCE, 1.0)
    along = np.where(at < _STANCE, back, -0.5 * np.cos(np.pi * swing))
    return np.stack(
        [
            forward + _STRIDE_LENGTH * along,
            np.full_like(phase, left),
            _STEP_HEIGHT * np.sin(np.pi * swing) ** 2,
        ],
        axis=1,
    )


def _spine(
    at: Float64[np.ndarray, "3"],
    phase: Float64[np.ndarray, "frames"],
    num_frames: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "frames 3"]:
    """The back bends to the side once a stride, and goes up and down twice."""
    sway = np.sin(2 * np.pi * phase + at[0] / 60.0)
    bounce = np.sin(4 * np.pi * phase + at[0] / 90.0)
    slow = _wander(num_frames, 180.0, rng)
    return at + np.stack([2.0 * slow, 3.0 * sway, 2.5 * bounce + 3.0 * slow], axis=1)


def _turn(
    points: Float64[np.ndarray, "frames parts 3"], angle: Float64[np.ndarray, "frames"]
) -> Float64[np.ndarray, "frames parts 3"]:
    """Turn the animal about the vertical; angles in radians."""
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rotation = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=1)
    return np.einsum("fij,fpj->fpi", rotation.reshape(-1, 3, 3), points)


def _project(
    points: Float64[np.ndarray, "frames parts 3"],
) -> Float64[np.ndarray, "frames num_keypoints 2"]:
    seen = np.einsum("vij,fpj->fvpi", _CAMERAS[:, :, :3], points) + _CAMERAS[:, None, :, 3]
    return rearrange(seen, "frames views parts xy -> frames (views parts) xy")


def _wander(
    num_frames: int, frames_a_turn: float, rng: np.random.Generator
) -> Float64[np.ndarray, "frames"]:
    """Return a slow, smooth, random course within about -1 to 1."""
    time = np.arange(num_frames) / frames_a_turn
    rates, phases = rng.uniform(0.6, 1.8, 3), rng.uniform(0.0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * rates * time[:, None] + phases).mean(axis=1)
