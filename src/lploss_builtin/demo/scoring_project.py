"""A small project as a lab would have it, made on the spot: labels, predictions, a config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float64

from lploss_builtin.data.poses.columns import header_rows
from lploss_builtin.data.rig.treadmill import BODY_PARTS, KEYPOINT_NAMES, VIEWS, treadmill_walk
from lploss_builtin.demo.tracking_faults import Fault, put_faults

_NUM_LABELLED = 100
_NUM_PREDICTIONS = 3
_LABEL_NOISE = 0.6
_PREDICTION_NOISE = 0.9
_MISSING_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class DemoProject:
    """Where the files of the project are, and what is wrong in them.

    Attributes:
        labels: the label file.
        predictions: the files of predictions.
        config: the config.
        faults: for each file of predictions the faults put into it.
    """

    labels: Path
    predictions: tuple[Path, ...]
    config: Path
    faults: tuple[tuple[Fault, ...], ...]


def make_demo_project(folder: Path, num_frames: int, seed: int) -> DemoProject:
    """Write labels, predictions with faults, and a config; the same for the same seed.

    ``faults.csv`` says what was put into the predictions. Half of the faults have the likelihood
    of a good prediction.

    Args:
        folder: an existing folder.
        num_frames: frames in each file of predictions.
        seed: seed of all that is random.
    """
    rng = np.random.default_rng(seed)
    labels = folder / "CollectedData.csv"
    _write_labels(labels, rng)
    predictions: list[Path] = []
    faults: list[tuple[Fault, ...]] = []
    (folder / "predictions").mkdir()
    for number in range(_NUM_PREDICTIONS):
        predictions.append(folder / "predictions" / f"walk{number}.csv")
        faults.append(_write_predictions(predictions[-1], num_frames, rng))
    rows = [
        f"{path.name},{fault.frame},{fault.keypoint},{fault.kind},{fault.distance:.1f}"
        for path, found in zip(predictions, faults, strict=True)
        for fault in found
    ]
    _write_lines(folder / "faults.csv", ["file,frame,keypoint,fault,distance_px", *rows])
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(_config(), sort_keys=False), encoding="utf-8")
    return DemoProject(labels, tuple(predictions), config, tuple(faults))


def _config() -> dict[str, object]:
    num_parts = len(BODY_PARTS)
    return {
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


def _write_labels(path: Path, rng: np.random.Generator) -> None:
    num_frames = 40 * _NUM_LABELLED
    frames = np.sort(rng.choice(num_frames, _NUM_LABELLED, replace=False))
    keypoints = treadmill_walk(num_frames, rng)[frames]
    keypoints += rng.normal(0.0, _LABEL_NOISE, keypoints.shape)
    keypoints[rng.uniform(size=keypoints.shape[:2]) < _MISSING_SHARE] = np.nan
    index = [f"labeled-data/walk/img{frame:05d}.png" for frame in frames]
    _write_table(path, "someone", index, ("x", "y"), keypoints)


def _write_predictions(path: Path, num_frames: int, rng: np.random.Generator) -> tuple[Fault, ...]:
    exact = treadmill_walk(num_frames, rng)
    keypoints, faults = put_faults(exact, rng)
    keypoints += rng.normal(0.0, _PREDICTION_NOISE, keypoints.shape)
    likelihoods = rng.beta(60.0, 1.0, keypoints.shape[:2])
    for fault in faults:
        if rng.uniform() < 0.5:
            at = fault.frame, KEYPOINT_NAMES.index(fault.keypoint)
            likelihoods[at] = rng.uniform(0.1, 0.9)
    columns = np.concatenate([keypoints, likelihoods[..., None]], axis=-1)
    _write_table(path, "network", [*map(str, range(num_frames))], _PREDICTED, columns)
    return tuple(faults)


_PREDICTED = ("x", "y", "likelihood")


def _write_table(
    path: Path,
    scorer: str,
    index: list[str],
    coords: tuple[str, ...],
    values: Float64[np.ndarray, "frames num_keypoints coords"],
) -> None:
    header = header_rows(scorer, KEYPOINT_NAMES, coords)
    rows = [
        [frame, *("" if np.isnan(value) else f"{value:.4f}" for value in row)]
        for frame, row in zip(index, values.reshape(len(index), -1).tolist(), strict=True)
    ]
    _write_lines(path, [",".join(row) for row in (*header, *rows)])


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
