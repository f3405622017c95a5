"""The project of the scoring demo: an animal on a treadmill, and faults that trackers make.

One camera sees the animal from the side and, in a mirror, from below. Its labels and predictions
are written as a lab would have them; all faults are on record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from einops import rearrange
from jaxtyping import Float64

from lploss_builtin.data.poses.columns import header_rows, write_rows
from lploss_builtin.data.rig.animal import KEYPOINT_NAMES as _BODY
from lploss_builtin.data.rig.animal import slow_course, walk
from lploss_builtin.dependencies import require

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

#: A keypoint that is at least so far off is at an impossible place, px.
IMPOSSIBLE = 5.0
FRAMES_A_FAULT_OF_EACH_KIND = 150
_MAX_FRAMES = 16

_NUM_LABELLED = 100
_NUM_PREDICTIONS = 3
_LABEL_NOISE = 0.6
_PREDICTION_NOISE = 0.9
_MISSING_SHARE = 0.04

# Affine cameras with an image of 400 x 400 px, from (forward, left, up) in mm. The mirror below
# shows the animal from underneath, and neither view is quite square to the animal.
_CAMERAS = np.array(
    [
        [[1.25, 0.08, 0.0, 190.0], [0.02, -0.15, -1.25, 150.0]],
        [[1.22, -0.06, 0.04, 192.0], [0.04, 1.3, 0.05, 290.0]],
    ]
)


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


def make_demo_project(folder: Path, num_frames: int, seed: int) -> dict[str, list[Fault]]:
    """Write labels, predictions with faults, and a config; the same for the same seed.

    ``faults.csv`` says what was put into the predictions. Half of the faults have the likelihood
    of a good prediction.

    Args:
        folder: an existing folder; the files are ``CollectedData.csv``, ``config.yaml``,
            ``faults.csv`` and those in ``predictions``.
        num_frames: frames in each file of predictions.
        seed: seed of the random numbers.

    Returns:
        For each file in ``predictions`` the faults put into it.
    """
    pandas = require("pandas", "score", "to write CSV")
    rng = np.random.default_rng(seed)
    num_all = 40 * _NUM_LABELLED
    frames = np.sort(rng.choice(num_all, _NUM_LABELLED, replace=False))
    labels = treadmill_walk(num_all, rng)[frames]
    labels += rng.normal(0.0, _LABEL_NOISE, labels.shape)
    labels[rng.uniform(size=labels.shape[:2]) < _MISSING_SHARE] = np.nan
    names = [f"labeled-data/walk/img{frame:05d}.png" for frame in frames]
    _write(folder / "CollectedData.csv", "someone", names, ("x", "y"), labels)
    (folder / "predictions").mkdir()
    faults: dict[str, list[Fault]] = {}
    for number in range(_NUM_PREDICTIONS):
        keypoints, found = put_faults(treadmill_walk(num_frames, rng), rng)
        keypoints += rng.normal(0.0, _PREDICTION_NOISE, keypoints.shape)
        likelihoods = rng.beta(60.0, 1.0, keypoints.shape[:2])
        for fault in found:
            if rng.uniform() < 0.5:
                at = fault.frame, KEYPOINT_NAMES.index(fault.keypoint)
                likelihoods[at] = rng.uniform(0.1, 0.9)
        values = np.concatenate([keypoints, likelihoods[..., None]], axis=-1)
        faults[f"walk{number}.csv"] = found
        path = folder / "predictions" / f"walk{number}.csv"
        _write(path, "network", [*map(str, range(num_frames))], ("x", "y", "likelihood"), values)
    pandas.DataFrame(
        [
            (file, fault.frame, fault.keypoint, fault.kind, f"{fault.distance:.1f}")
            for file, found in faults.items()
            for fault in found
        ],
        columns=["file", "frame", "keypoint", "fault", "distance_px"],
    ).to_csv(folder / "faults.csv", index=False)
    num_parts = len(BODY_PARTS)
    config = {
        "data": {
            "csv_file": "CollectedData.csv",
            "num_keypoints": len(KEYPOINT_NAMES),
            "keypoint_names": list(KEYPOINT_NAMES),
            "mirrored_column_matches": [
                list(range(view * num_parts, (view + 1) * num_parts)) for view in range(len(VIEWS))
            ],
        },
        "model": {"losses_to_use": ["temporal", "pca_multiview", "pca_singleview"]},
        "losses": {
            "temporal": {"epsilon": 20.0, "prob_threshold": 0.05, "log_weight": 5.0},
            # Of good poses too, one error in a hundred is above the percentile of the labels: in a
            # frame of 14 keypoints that would be one frame in eight.
            "pca_multiview": {"empirical_epsilon_multiplier": 3.0, "log_weight": 5.0},
            "pca_singleview": {
                "components_to_keep": 0.99,
                "empirical_epsilon_multiplier": 3.0,
                "log_weight": 5.0,
            },
        },
    }
    text = yaml.safe_dump(config, sort_keys=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return faults


def _write(
    path: Path,
    scorer: str,
    frames: list[str],
    coords: tuple[str, ...],
    values: Float64[np.ndarray, "frames num_keypoints coords"],
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        header = header_rows(scorer, KEYPOINT_NAMES, coords)
        write_rows(file, frames, values.round(4), header=header)


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


_Keypoints = Float64[np.ndarray, "frames num_keypoints 2"]


def _jump(keypoints: _Keypoints, frames: range, rng: np.random.Generator) -> None:
    offset = _somewhere(rng, 30.0, 110.0)
    keypoints[frames, rng.integers(len(KEYPOINT_NAMES))] += offset


def _swap(keypoints: _Keypoints, frames: range, rng: np.random.Generator) -> None:
    leg = ("front", "hind")[rng.integers(2)]
    first_of_view = len(BODY_PARTS) * int(rng.integers(len(VIEWS)))
    pair = [first_of_view + BODY_PARTS.index(f"paw_{leg}_{side}") for side in ("left", "right")]
    keypoints[np.ix_(frames, pair)] = keypoints[np.ix_(frames, pair[::-1])]


def _slide(keypoints: _Keypoints, frames: range, rng: np.random.Generator) -> None:
    share = np.sin(np.pi * (np.arange(len(frames)) + 1) / (len(frames) + 1))
    offset = _somewhere(rng, 25.0, 45.0)
    keypoints[frames, rng.integers(len(KEYPOINT_NAMES))] += share[:, None] * offset


def _somewhere(
    rng: np.random.Generator, nearest: float, farthest: float
) -> Float64[np.ndarray, "2"]:
    angle, distance = rng.uniform(0.0, 2 * np.pi), rng.uniform(nearest, farthest)
    return distance * np.array([np.cos(angle), np.sin(angle)])
