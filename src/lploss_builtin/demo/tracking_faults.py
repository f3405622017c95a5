"""Faults that trackers make, put into exact tracks, each on record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from lploss_builtin.data.rig.treadmill import BODY_PARTS, KEYPOINT_NAMES, VIEWS

#: A keypoint that is at least so far off is at an impossible place, px.
IMPOSSIBLE = 5.0

FRAMES_A_FAULT_OF_EACH_KIND = 150
_MAX_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Fault:
    """One keypoint in one frame that is not where the animal is.

    Attributes:
        kind: what went wrong.
        frame: number of the frame.
        keypoint: name of the keypoint.
        distance: from where it should be, px.
    """

    kind: str
    frame: int
    keypoint: str
    distance: float


def put_faults(
    keypoints: Float64[np.ndarray, "frames num_keypoints 2"], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "frames num_keypoints 2"], list[Fault]]:
    """Return tracks of a walking animal with faults in them.

    In each 150 frames there are one ``jump`` (a keypoint is elsewhere for up to 3 frames), one
    ``swap`` (a left and a right paw change places in one view for up to 8 frames), and one
    ``wrong view`` (a keypoint slides away in one view only and comes back, within 16 frames).

    Args:
        keypoints: the keypoints `KEYPOINT_NAMES`, px.
        rng: where and when the faults are.

    Returns:
        The tracks, and the faults by which a keypoint is off by at least `IMPOSSIBLE`: the
        others nobody could tell from noise.
    """
    faulty = keypoints.copy()
    kinds: dict[str, Callable[[range], None]] = {
        "jump": lambda frames: _jump(faulty, frames[: rng.integers(1, 4)], rng),
        "swap": lambda frames: _swap(faulty, frames[: rng.integers(3, 9)], rng),
        "wrong view": lambda frames: _slide(faulty, frames, rng),
    }
    found: list[Fault] = []
    num_slots = len(keypoints) // FRAMES_A_FAULT_OF_EACH_KIND * len(kinds)
    starts = np.linspace(0, len(keypoints), num_slots + 1)[:-1].astype(int)
    order = rng.permutation(num_slots)
    for slot, start in zip(order.tolist(), starts.tolist(), strict=True):
        kind = list(kinds)[slot % len(kinds)]
        first = start + int(rng.integers(1, 8))
        frames = range(first, first + _MAX_FRAMES)
        before = faulty.copy()
        kinds[kind](frames)
        distances = np.linalg.norm(faulty - before, axis=-1)
        found += [
            Fault(kind, frame, KEYPOINT_NAMES[keypoint], float(distances[frame, keypoint]))
            for frame, keypoint in np.argwhere(distances >= IMPOSSIBLE).tolist()
        ]
    return faulty, found


def _jump(
    keypoints: Float64[np.ndarray, "frames num_keypoints 2"],
    frames: range,
    rng: np.random.Generator,
) -> None:
    angle, distance = rng.uniform(0.0, 2 * np.pi), rng.uniform(30.0, 110.0)
    keypoint = rng.integers(len(KEYPOINT_NAMES))
    keypoints[frames, keypoint] += distance * np.array([np.cos(angle), np.sin(angle)])


def _swap(
    keypoints: Float64[np.ndarray, "frames num_keypoints 2"],
    frames: range,
    rng: np.random.Generator,
) -> None:
    leg = ("front", "hind")[rng.integers(2)]
    left, right = (f"paw_{leg}_{side}" for side in ("left", "right"))
    first_of_view = len(BODY_PARTS) * int(rng.integers(len(VIEWS)))
    pair = [first_of_view + BODY_PARTS.index(part) for part in (left, right)]
    keypoints[np.ix_(frames, pair)] = keypoints[np.ix_(frames, pair[::-1])]


def _slide(
    keypoints: Float64[np.ndarray, "frames num_keypoints 2"],
    frames: range,
    rng: np.random.Generator,
) -> None:
    angle, distance = rng.uniform(0.0, 2 * np.pi), rng.uniform(25.0, 45.0)
    keypoint = rng.integers(len(KEYPOINT_NAMES))
    share = np.sin(np.pi * (np.arange(len(frames)) + 1) / (len(frames) + 1))
    keypoints[frames, keypoint] += (
        distance * share[:, None] * np.array([np.cos(angle), np.sin(angle)])
    )
