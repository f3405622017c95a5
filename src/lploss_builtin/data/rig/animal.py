"""The animal: a body of capsules, and how it walks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from lploss_builtin.data.rig.capsules import Capsules

KEYPOINT_NAMES = (
    "nose",
    "ear_left",
    "ear_right",
    "neck",
    "hip",
    "tail_base",
    "tail_mid",
    "tail_tip",
    "paw_front_left",
    "paw_front_right",
    "paw_hind_left",
    "paw_hind_right",
)

#: Radius of each part of the body, mm.
PARTS = {
    "rump": 12.0,
    "chest": 12.5,
    "neck": 9.5,
    "head": 9.0,
    "snout": 5.0,
    "nose": 3.2,
    "ear_left": 4.4,
    "ear_right": 4.4,
    "tail_base": 4.4,
    "tail_tip": 3.2,
    **{
        f"{part}_{leg}": radius
        for leg in ("front_left", "front_right", "hind_left", "hind_right")
        for part, radius in (("thigh", 6.4), ("shin", 4.2), ("paw", 4.0))
    },
}

_SHOULDERS, _HIPS = 30.0, -32.0
_SPINE_HEIGHT = 39.0
_TAIL_PART_LENGTH = 34.0

# Each leg: how far forward and to the left it hangs (mm), when in the stride its paw touches down
# (0 to 1; one paw after the other, as in a slow walk), and where the knee points (1: forward).
_LEGS = {
    "front_left": (26.0, 12.0, 0.25, -1.0),
    "front_right": (26.0, -12.0, 0.75, -1.0),
    "hind_left": (-29.0, 12.0, 0.0, 1.0),
    "hind_right": (-29.0, -12.0, 0.5, 1.0),
}
_BONE_LENGTH = 19.0
_STANCE = 0.6
_STEP_HEIGHT = 11.0

_STRIDE_LENGTH = 46.0
_PACE = 3.0
_SHARPEST_TURN = 0.085
_PROMPTNESS = 0.2
_GOAL_RADIUS = 14.0
_FRAMES_PER_GOAL = 60
# Extra frames: before the first one, until the walk has settled, and at both ends, where the paws
# need the course before and after their swing.
_SETTLING_FRAMES = 60
_MARGIN = 40

_Points = Float64[np.ndarray, "frames 3"]
_Values = Float64[np.ndarray, "frames"]


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """The poses of the animal, frame by frame, in world coordinates with z up, mm.

    Attributes:
        body: the capsules of `PARTS`.
        keypoints: positions of `KEYPOINT_NAMES`.
        positions: position of the centre of the body on the ground.
        headings: direction of the body, counter-clockwise from the x axis, radians, without jumps.
    """

    body: Capsules
    keypoints: Float64[np.ndarray, "frames num_keypoints 3"]
    positions: Float64[np.ndarray, "frames 2"]
    headings: Float64[np.ndarray, "frames"]


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """The course of the animal; ``curvature`` of its path in 1/mm, ``stride`` in strides."""

    position: Float64[np.ndarray, "frames 2"]
    heading: _Values
    curvature: _Values
    stride: _Values
    moods: Float64[np.ndarray, "4 frames"]

    def at(self, forward: float, height: _Values | float, left: float = 0.0) -> _Points:
        """Return the points at this distance from the centre; the spine bends as the path does."""
        turned = self.heading + forward * self.curvature
        aside = 0.5 * forward**2 * self.curvature
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        x = self.position[:, 0] + forward * cos - aside * sin - left * np.sin(turned)
        y = self.position[:, 1] + forward * sin + aside * cos + left * np.cos(turned)
        return np.stack([x, y, np.broadcast_to(height, x.shape)], axis=1)

    def spine_height(self, forward: float) -> _Values:
        """Return the height of the spine, which goes up and down twice per stride."""
        bounce: _Values = np.sin(2 * np.pi * (2 * self.stride + forward / 120.0))
        return _SPINE_HEIGHT + 1.2 * bounce

    def on_spine(self, forward: float) -> _Points:
        return self.at(forward, self.spine_height(forward))


def walk(num_frames: int, rng: np.random.Generator) -> Poses:
    """Let the animal walk from one place to the next, near the middle of the scene.

    Args:
        num_frames: number of frames.
        rng: random number generator, which determines the walk.

    Example:
        >>> walk(5, np.random.default_rng(0)).keypoints.shape
        (5, 12, 3)
    """
    course = _course(num_frames + 2 * _MARGIN, rng)
    parts: dict[str, tuple[_Points, _Points]] = {}
    keypoints: dict[str, _Points] = {}
    _add_trunk_and_tail(course, parts, keypoints)
    _add_head(course, parts, keypoints)
    for name, (forward, left, touch_down, bends) in _LEGS.items():
        _add_leg(course, name, (forward, left), touch_down, bends, parts)
        keypoints[f"paw_{name}"] = parts[f"paw_{name}"][1]
    wanted = slice(_MARGIN, -_MARGIN)
    starts, ends = (
        np.stack([parts[name][end][wanted] for name in PARTS], axis=1) for end in (0, 1)
    )
    return Poses(
        Capsules(starts, ends, np.array(list(PARTS.values()))),
        np.stack([keypoints[name][wanted] for name in KEYPOINT_NAMES], axis=1),
        course.position[wanted],
        course.heading[wanted],
    )


def slow_course(
    num_frames: int, frames_per_turn: float, rng: np.random.Generator
) -> Float64[np.ndarray, "num_frames"]:
    """Return a smooth random course between -1 and 1.

    Example:
        >>> bool(np.abs(slow_course(100, 20.0, np.random.default_rng(0))).max() <= 1.0)
        True
    """
    rates = rng.uniform(0.5, 1.5, (4, 1)) / frames_per_turn
    phases = rng.uniform(0.0, 1.0, (4, 1))
    waves = np.sin(2 * np.pi * (rates * np.arange(num_frames) + phases))
    return np.array([0.4, 0.3, 0.2, 0.1]) @ waves


def _course(num_frames: int, rng: np.random.Generator) -> _Walk:
    num_steps = num_frames + _SETTLING_FRAMES
    pace = _PACE * (1.0 + 0.3 * slow_course(num_steps, 90.0, rng))
    azimuths = rng.uniform(0.0, 2 * math.pi, num_steps // _FRAMES_PER_GOAL + 1)
    goals = _GOAL_RADIUS * np.stack([np.cos(azimuths), np.sin(azimuths)], axis=1)
    stride = rng.uniform() + np.cumsum(pace) / _STRIDE_LENGTH
    moods = np.stack([slow_course(num_steps, period, rng) for period in (80.0, 60.0, 50.0, 90.0)])
    x, y = rng.uniform(-_GOAL_RADIUS, _GOAL_RADIUS, 2)
    heading, aim, turn = rng.uniform(0.0, 2 * math.pi), 0.0, 0.0
    course = np.empty((num_steps, 4))
    for frame, length in enumerate(pace.tolist()):
        goal_x, goal_y = goals[frame // _FRAMES_PER_GOAL].tolist()
        aside = math.remainder(math.atan2(goal_y - y, goal_x - x) - heading, 2 * math.pi)
        # Smoothed twice: neither the turn rate nor its change jumps.
        aim += _PROMPTNESS * (_SHARPEST_TURN * max(-1.0, min(1.0, aside)) - aim)
        turn += _PROMPTNESS * (aim - turn)
        heading += turn
        x += length * math.cos(heading)
        y += length * math.sin(heading)
        course[frame] = x, y, heading, turn / _PACE
    settled = slice(_SETTLING_FRAMES, None)
    course = course[settled]
    return _Walk(course[:, :2], course[:, 2], course[:, 3], stride[settled], moods[:, settled])


def _add_trunk_and_tail(
    course: _Walk, parts: dict[str, tuple[_Points, _Points]], keypoints: dict[str, _Points]
) -> None:
    hips, middle, shoulders = (course.on_spine(at) for at in (_HIPS, 0.0, _SHOULDERS))
    parts |= {"rump": (hips, middle), "chest": (middle, shoulders)}
    keypoints["hip"] = _above(hips, PARTS["rump"])
    keypoints["neck"] = _above(shoulders, PARTS["chest"])
    mood = course.moods[3]
    backwards = course.heading + np.pi + _HIPS * course.curvature
    root = course.at(_HIPS - 8.0, course.spine_height(_HIPS) + 6.0)
    swing = 0.3 * np.sin(2 * np.pi * course.stride)
    middle = root + _TAIL_PART_LENGTH * _direction(
        backwards + 0.3 * (swing - 0.5 * mood), 0.3 + 0.3 * mood
    )
    lag = 0.3 * np.sin(2 * np.pi * (course.stride - 0.3))
    tip = middle + _TAIL_PART_LENGTH * _direction(backwards + lag - 0.5 * mood, 0.5 + 0.8 * mood)
    parts |= {"tail_base": (root, middle), "tail_tip": (middle, tip)}
    keypoints["tail_base"] = _above(root, PARTS["tail_base"])
    keypoints["tail_mid"] = _above(middle, PARTS["tail_base"])
    keypoints["tail_tip"] = tip


def _add_head(
    course: _Walk, parts: dict[str, tuple[_Points, _Points]], keypoints: dict[str, _Points]
) -> None:
    height, aside, nod, _ = course.moods
    yaw = course.heading + 36.0 * course.curvature + 0.55 * aside
    shoulders = course.on_spine(_SHOULDERS)
    skull = shoulders + 25.0 * _direction(
        course.heading + 0.6 * (yaw - course.heading), 0.5 + 0.6 * height
    )
    pitch = -0.3 + 0.35 * height + 0.3 * nod
    ahead, up = _direction(yaw, pitch), _direction(yaw, pitch + np.pi / 2)
    left = np.cross(up, ahead)
    muzzle, nose = skull + 10.0 * ahead - 1.5 * up, skull + 21.0 * ahead - 1.0 * up
    parts |= {
        "neck": (shoulders, skull),
        "head": (skull, muzzle),
        "snout": (muzzle, skull + 17.0 * ahead - 2.0 * up),
        "nose": (nose, nose),
    }
    keypoints["nose"] = nose + PARTS["nose"] * ahead
    for side, sign in (("left", 1.0), ("right", -1.0)):
        root = skull - 1.0 * ahead + 8.0 * sign * left + 6.0 * up
        tip = root - 2.0 * ahead + 6.0 * sign * left + 10.0 * up
        parts[f"ear_{side}"] = root, tip
        keypoints[f"ear_{side}"] = tip


def _add_leg(
    course: _Walk,
    name: str,
    hangs: tuple[float, float],
    touch_down: float,
    bends: float,
    parts: dict[str, tuple[_Points, _Points]],
) -> None:
    forward, left = hangs
    paw = _paw(course, forward, left, touch_down)
    ahead = _direction(course.heading, np.zeros_like(course.heading))
    ankle = _above(paw - 3.0 * ahead, 5.5)
    top = course.at(forward, course.spine_height(forward) - 5.0, 0.75 * left)
    knee = _knee(top, ankle, bends * ahead)
    parts |= {
        f"thigh_{name}": (top, knee),
        f"shin_{name}": (knee, ankle),
        f"paw_{name}": (ankle, paw),
    }


def _paw(course: _Walk, forward: float, left: float, touch_down: float) -> _Points:
    """A paw stands still while it is on the ground; between its places it swings in an arc."""
    below = course.at(forward, 0.0, left)
    at = course.stride - touch_down
    number = np.floor(at)
    swing = np.clip((at - number - _STANCE) / (1.0 - _STANCE), 0.0, 1.0)

    def standing(number: _Values) -> _Points:
        # Halfway through its time on the ground a paw is straight below its leg.
        middle = number + touch_down + 0.5 * _STANCE
        return np.stack([np.interp(middle, course.stride, axis) for axis in below.T], axis=1)

    before, after = standing(number), standing(number + 1.0)
    share = 0.5 - 0.5 * np.cos(np.pi * swing)
    paw = before + share[:, None] * (after - before)
    radius = PARTS["paw_front_left"]
    paw[:, 2] = radius + _STEP_HEIGHT * np.sin(np.pi * swing) ** 2
    return paw


def _knee(top: _Points, ankle: _Points, bends: _Points) -> _Points:
    """Return where two bones of equal length meet, on the side to which they bend."""
    across = ankle - top
    distance = np.linalg.norm(across, axis=1, keepdims=True)
    along = across / distance
    # Bones that are too short for the distance grow.
    bone = np.maximum(_BONE_LENGTH, 0.505 * distance)
    aside = bends - (bends * along).sum(axis=1, keepdims=True) * along
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return top + 0.5 * across + np.sqrt(bone**2 - 0.25 * distance**2) * aside


def _above(points: _Points, height: float) -> _Points:
    return points + np.array([0.0, 0.0, height])


def _direction(yaw: _Values, pitch: _Values | float) -> _Points:
    x, y, z = np.broadcast_arrays(
        np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)
    )
    return np.stack([x, y, z], axis=1)
