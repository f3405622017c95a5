"""Where an animal goes, and how it moves on its way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

#: Way that a stride takes, mm.
STRIDE_LENGTH = 46.0
#: Frames before the first and after the last one, where paws are that are on their way.
NUM_MARGIN_FRAMES = 40

_PACE = 3.0
_SHARPEST_TURN = 0.085
_PROMPTNESS = 0.2
# The animal goes for one place after the other.
_GOAL_RADIUS = 14.0
_FRAMES_A_GOAL = 60
_SETTLING_FRAMES = 60


@dataclass(frozen=True, slots=True)
class Walk:
    """The course of an animal, with some frames before and after those that are asked for.

    Attributes:
        position: of the centre of the body on the ground, mm.
        heading: counter-clockwise from the x axis, radians, without jumps.
        curvature: of the path, to the left; 1 / mm.
        stride: number of strides made.
        moods: slow courses within -1 to 1: height of head, looking aside, nodding, tail.
    """

    position: Float64[np.ndarray, "all_frames 2"]
    heading: Float64[np.ndarray, "all_frames"]
    curvature: Float64[np.ndarray, "all_frames"]
    stride: Float64[np.ndarray, "all_frames"]
    moods: Float64[np.ndarray, "4 all_frames"]


def walk(num_frames: int, rng: np.random.Generator) -> Walk:
    """Return a walk of so many frames; that of fewer frames is its beginning.

    Example:
        >>> walk(10, np.random.default_rng(0)).heading.shape
        (90,)
    """
    num_all = num_frames + 2 * NUM_MARGIN_FRAMES
    num_steps = num_all + _SETTLING_FRAMES
    pace = _PACE * (1.0 + 0.3 * _slow_course(num_steps, 90.0, rng))
    turns = rng.uniform(0.0, 2 * math.pi, num_steps // _FRAMES_A_GOAL + 1)
    goals = _GOAL_RADIUS * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    stride = rng.uniform() + np.cumsum(pace) / STRIDE_LENGTH
    moods = np.stack([_slow_course(num_steps, period, rng) for period in (80.0, 60.0, 50.0, 90.0)])
    x, y = rng.uniform(-_GOAL_RADIUS, _GOAL_RADIUS, 2)
    heading, aim, turn = rng.uniform(0.0, 2 * math.pi), 0.0, 0.0
    course = np.empty((num_steps, 4))
    for frame, length in enumerate(pace.tolist()):
        goal_x, goal_y = goals[frame // _FRAMES_A_GOAL].tolist()
        aside = math.remainder(math.atan2(goal_y - y, goal_x - x) - heading, 2 * math.pi)
        # Smoothed twice: neither the turning nor its change jumps.
        aim += _PROMPTNESS * (_SHARPEST_TURN * max(-1.0, min(1.0, aside)) - aim)
        turn += _PROMPTNESS * (aim - turn)
        heading += turn
        x += length * math.cos(heading)
        y += length * math.sin(heading)
        course[frame] = x, y, heading, turn / _PACE
    course = course[_SETTLING_FRAMES:]
    return Walk(
        course[:, :2],
        course[:, 2],
        course[:, 3],
        stride[_SETTLING_FRAMES:],
        moods[:, _SETTLING_FRAMES:],
    )


def _slow_course(
    num_frames: int, frames_a_turn: float, rng: np.random.Generator
) -> Float64[np.ndarray, "num_frames"]:
    """Return a smooth random course within -1 to 1."""
    rates = rng.uniform(0.5, 1.5, (4, 1)) / frames_a_turn
    phases = rng.uniform(0.0, 1.0, (4, 1))
    waves = np.sin(2 * np.pi * (rates * np.arange(num_frames) + phases))
    weights = np.array([[0.4], [0.3], [0.2], [0.1]])
    return (weights * waves).sum(axis=0)
