"""The body of the animal: what it is made of, and how that lies in space on a walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from lploss_builtin.data.synthetic_rig.walk import NUM_MARGIN_FRAMES, Walk

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

_SPINE = (-32.0, -11.0, 11.0, 30.0)
_SPINE_RADII = (11.5, 12.0, 13.0, 11.0)
_SPINE_HEIGHT = 39.0
_NUM_TAIL_PARTS = 6
_TAIL_PART_LENGTH = 12.5
_TAIL_RADII = tuple(np.linspace(5.0, 2.6, _NUM_TAIL_PARTS + 1).tolist())


class _Leg(NamedTuple):
    """A leg: where it hangs, how it is built, when in the stride it touches down."""

    forward: float
    left: float
    touch_down: float
    # Elbows point back, knees forward.
    bends: float
    radii: tuple[float, float, float]


# Each paw by itself, one after the other, as in a slow walk.
_LEGS = {
    "front_left": _Leg(26.0, 12.0, 0.25, -1.0, (6.5, 4.6, 3.4)),
    "front_right": _Leg(26.0, -12.0, 0.75, -1.0, (6.5, 4.6, 3.4)),
    "hind_left": _Leg(-29.0, 12.0, 0.0, 1.0, (8.5, 5.2, 3.4)),
    "hind_right": _Leg(-29.0, -12.0, 0.5, 1.0, (8.5, 5.2, 3.4)),
}
_LEG_LENGTHS = (20.0, 18.0)
_ANKLE = (-3.0, 5.5)
_PAW_RADIUS = 4.0
_STANCE = 0.6
_STEP_HEIGHT = 11.0


def _radii() -> dict[str, tuple[float, float]]:
    parts: dict[str, tuple[float, float]] = {}
    for number, name in enumerate(("rump", "belly", "chest")):
        parts[name] = _SPINE_RADII[number], _SPINE_RADII[number + 1]
    parts |= {"neck": (11.0, 8.5), "head": (11.5, 6.0), "snout": (6.0, 4.2), "nose": (2.8, 2.8)}
    for side in ("left", "right"):
        parts |= {f"ear_{side}": (5.6, 2.2), f"eye_{side}": (2.6, 2.6)}
    for number in range(_NUM_TAIL_PARTS):
        parts[f"tail{number}"] = _TAIL_RADII[number], _TAIL_RADII[number + 1]
    for name, leg in _LEGS.items():
        parts[f"thigh_{name}"] = leg.radii[0], leg.radii[1]
        parts[f"shin_{name}"] = leg.radii[1], leg.radii[2]
        parts[f"paw_{name}"] = leg.radii[2], _PAW_RADIUS
    return parts


#: The parts of the body, each the hull of two balls, with the radii of these, mm.
PARTS = _radii()


@dataclass(frozen=True, slots=True)
class Poses:
    """How the body lies in space; world coordinates with z up, mm.

    Attributes:
        starts: centre of the first ball of each of `PARTS`.
        ends: centre of the second one.
        keypoints: where `KEYPOINT_NAMES` are.
        headings: radians.
    """

    starts: Float64[np.ndarray, "frames parts 3"]
    ends: Float64[np.ndarray, "frames parts 3"]
    keypoints: Float64[np.ndarray, "frames num_keypoints 3"]
    headings: Float64[np.ndarray, "frames"]


_Points = Float64[np.ndarray, "all_frames 3"]
_Angles = Float64[np.ndarray, "all_frames"]


def poses(walk: Walk) -> Poses:
    """Return how the animal lies in space on a walk.

    Example:
        >>> from lploss_builtin.data.synthetic_rig.walk import walk
        >>> poses(walk(5, np.random.default_rng(0))).keypoints.shape
        (5, 12, 3)
    """
    parts: dict[str, tuple[_Points, _Points]] = {}
    keypoints: dict[str, _Points] = {}
    _add_trunk(walk, parts, keypoints)
    _add_head(walk, parts, keypoints)
    _add_tail(walk, parts, keypoints)
    for name, leg in _LEGS.items():
        _add_leg(walk, name, leg, parts, keypoints)
    asked = slice(NUM_MARGIN_FRAMES, -NUM_MARGIN_FRAMES)
    starts, ends = (np.stack([parts[name][end][asked] for name in PARTS], axis=1) for end in (0, 1))
    points = np.stack([keypoints[name][asked] for name in KEYPOINT_NAMES], axis=1)
    return Poses(starts, ends, points, walk.heading[asked])


def _add_trunk(
    walk: Walk, parts: dict[str, tuple[_Points, _Points]], keypoints: dict[str, _Points]
) -> None:
    nodes = [_on_spine(walk, forward, _spine_height(walk, forward)) for forward in _SPINE]
    for number, name in enumerate(("rump", "belly", "chest")):
        parts[name] = nodes[number], nodes[number + 1]
    keypoints["hip"] = _above(nodes[0], _SPINE_RADII[0])
    keypoints["neck"] = _above(nodes[3], _SPINE_RADII[3])


def _add_head(
    walk: Walk, parts: dict[str, tuple[_Points, _Points]], keypoints: dict[str, _Points]
) -> None:
    height, aside, nod, _ = walk.moods
    yaw = walk.heading + 36.0 * walk.curvature + 0.55 * aside
    neck_pitch = 0.5 + 0.6 * height
    shoulders = _on_spine(walk, _SPINE[-1], _spine_height(walk, _SPINE[-1]) + 1.0)
    skull = shoulders + 25.0 * _direction(walk.heading + 0.6 * (yaw - walk.heading), neck_pitch)
    pitch = -0.3 + 0.35 * height + 0.3 * nod
    ahead = _direction(yaw, pitch)
    up = _direction(yaw, pitch + np.pi / 2)
    left = np.cross(up, ahead)
    parts["neck"] = shoulders, skull
    parts["head"] = skull, skull + 11.0 * ahead - 1.5 * up
    parts["snout"] = parts["head"][1], skull + 18.0 * ahead - 2.0 * up
    nose = skull + 21.5 * ahead - 0.5 * up
    parts["nose"] = nose, nose + 0.5 * ahead
    keypoints["nose"] = nose + PARTS["nose"][1] * ahead
    for side, sign in (("left", 1.0), ("right", -1.0)):
        outwards = sign * left
        root = skull - 1.0 * ahead + 7.5 * outwards + 7.0 * up
        tip = root - 3.0 * ahead + 7.5 * outwards + 13.5 * up
        parts[f"ear_{side}"] = root, tip
        keypoints[f"ear_{side}"] = tip
        eye = skull + 7.0 * ahead + 7.2 * outwards + 4.0 * up
        parts[f"eye_{side}"] = eye, eye + 0.5 * ahead


def _add_tail(
    walk: Walk, parts: dict[str, tuple[_Points, _Points]], keypoints: dict[str, _Points]
) -> None:
    mood = walk.moods[3]
    backwards = walk.heading + np.pi + _SPINE[0] * walk.curvature
    at = _on_spine(walk, _SPINE[0] - 8.0, _spine_height(walk, _SPINE[0]) + 6.0)
    keypoints["tail_base"] = _above(at, _TAIL_RADII[0])
    for number in range(_NUM_TAIL_PARTS):
        share = number / (_NUM_TAIL_PARTS - 1)
        swing = 0.35 * np.sin(2 * np.pi * (walk.stride - 0.45 * share))
        pitch = 0.3 + 0.25 * mood + share * (0.2 + 0.7 * mood)
        end = at + _TAIL_PART_LENGTH * _direction(backwards + share * (swing - 0.5 * mood), pitch)
        parts[f"tail{number}"] = at, end
        if number == _NUM_TAIL_PARTS // 2:
            keypoints["tail_mid"] = _above(at, _TAIL_RADII[number])
        at = end
    keypoints["tail_tip"] = at


def _add_leg(
    walk: Walk,
    name: str,
    leg: _Leg,
    parts: dict[str, tuple[_Points, _Points]],
    keypoints: dict[str, _Points],
) -> None:
    paw = _paw(walk, leg)
    ahead = _direction(walk.heading, np.zeros_like(walk.heading))
    ankle = _above(paw + _ANKLE[0] * ahead, _ANKLE[1])
    top = _on_spine(walk, leg.forward, _spine_height(walk, leg.forward) - 5.0, 0.75 * leg.left)
    knee = _knee(top, ankle, leg.bends * ahead)
    parts[f"thigh_{name}"] = top, knee
    parts[f"shin_{name}"] = knee, ankle
    parts[f"paw_{name}"] = ankle, paw
    keypoints[f"paw_{name}"] = paw


def _paw(walk: Walk, leg: _Leg) -> _Points:
    """A paw stands still while it is on the ground; between its places it swings in an arc."""
    below = _on_spine(walk, leg.forward, np.zeros_like(walk.heading), leg.left)
    at = walk.stride - leg.touch_down
    number = np.floor(at)
    swing = np.clip((at - number - _STANCE) / (1.0 - _STANCE), 0.0, 1.0)

    def standing(number: _Angles) -> _Points:
        # In the middle of its time on the ground a paw is where its leg hangs straight down.
        middle = number + leg.touch_down + 0.5 * _STANCE
        return np.stack([np.interp(middle, walk.stride, axis) for axis in below.T], axis=1)

    before, after = standing(number), standing(number + 1.0)
    share = 0.5 - 0.5 * np.cos(np.pi * swing)
    paw = before + share[:, None] * (after - before)
    paw[:, 2] = _PAW_RADIUS + _STEP_HEIGHT * np.sin(np.pi * swing) ** 2
    return paw


def _knee(top: _Points, ankle: _Points, bends: _Points) -> _Points:
    """Return where two bones meet, on the side to which they bend; too short ones grow."""
    across = ankle - top
    distance = np.linalg.norm(across, axis=1, keepdims=True)
    along = across / distance
    growth = np.maximum(1.0, distance / (0.99 * sum(_LEG_LENGTHS)))
    upper, lower = (length * growth for length in _LEG_LENGTHS)
    share = (distance**2 + upper**2 - lower**2) / (2 * distance)
    aside = bends - (bends * along).sum(axis=1, keepdims=True) * along
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return top + share * along + np.sqrt(np.maximum(upper**2 - share**2, 0.0)) * aside


def _spine_height(walk: Walk, forward: float) -> _Angles:
    """The back goes up and down twice a stride."""
    return _SPINE_HEIGHT + 1.2 * np.sin(2 * np.pi * (2 * walk.stride + forward / 120.0))


def _on_spine(walk: Walk, forward: float, height: _Angles, left: float = 0.0) -> _Points:
    """Return the points so far from the centre; the spine is bent as the path is."""
    turned = walk.heading + forward * walk.curvature
    aside = 0.5 * forward**2 * walk.curvature
    cos, sin = np.cos(walk.heading), np.sin(walk.heading)
    x = walk.position[:, 0] + forward * cos - aside * sin - left * np.sin(turned)
    y = walk.position[:, 1] + forward * sin + aside * cos + left * np.cos(turned)
    return np.stack([x, y, height], axis=1)


def _above(points: _Points, height: float) -> _Points:
    return points + np.array([0.0, 0.0, height])


def _direction(yaw: _Angles, pitch: _Angles) -> _Points:
    return np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], 1)
