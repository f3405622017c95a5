"""What losses on unlabelled video bring a multi-view transformer that has few labels.

On images of the synthetic rig, networks learn from 20, 50 or 100 labelled frames: one from these
alone, the others with an unsupervised loss on a video of the same animals. All take the same number
of steps. What is measured in a walk that is held out: the distances to the truth, of visible and of
occluded keypoints, and the share of impossible jumps: steps from one frame to the next longer than
any that a keypoint truly makes in this walk. For each seed there are other images, other labels and
other weights. What is done in the folder is not done again, so that the work can be cut off.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from benchmarks import report, rig_projects
from benchmarks.report import Options
from lploss_builtin.data.rig.project import RigProject
from lploss_builtin.demo.measuring import (
    HeldOut,
    Predicted,
    errors_of,
    mean_pose,
    predicted_by,
    read_held_out,
)

_COMMON = Path(__file__).parent / "configs" / "unlabelled_video" / "common.yaml"
_YARDSTICK = "mean_pose"
_SUPERVISED = "supervised"
_IN_PX = {"prob_threshold": 0.05, "log_weight": 6.5}
# Epsilons in px of the frames of 128 px: a paw moves by up to 6 from one frame to the next.
_REPROJECTION = {"epsilon": 1.0, **_IN_PX}
_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    _SUPERVISED: {},
    "temporal": {"temporal": {"epsilon": 6.0, **_IN_PX}},
    # The mean over the pixels of maps of 32 x 32: 2 less ln(32 * 32).
    "temporal_heatmap_mse": {"temporal_heatmap_mse": {"log_weight": -4.93}},
    "temporal_heatmap_kl": {"temporal_heatmap_kl": {"log_weight": 4.0}},
    "pca_multiview": {"pca_multiview": {"components_to_keep": 3, "log_weight": 6.5}},
    "multiview_reprojection": {"multiview_reprojection": _REPROJECTION},
    "multiview_reprojection 4.5 times as heavy": {
        "multiview_reprojection": {**_REPROJECTION, "log_weight": 5.0}
    },
}
_ERRORS = ("visible", "occluded", "in_space")


@dataclass(frozen=True, slots=True)
class Row:
    """How good a network is.

    Attributes:
        variant: its unsupervised losses; or the mean pose, whatever the image shows.
        num_labels: labelled frames.
        seed: of its images and weights.
        visible: mean distance of keypoints that can be seen, px.
        occluded: mean distance of those that something hides, px.
        in_space: mean distance of the points that the views together give, mm.
        jumps: share of steps that are longer than any true one.
    """

    variant: str
    num_labels: int
    seed: int
    visible: float
    occluded: float
    in_space: float
    jumps: float


@dataclass(frozen=True, slots=True)
class _Job:
    project: RigProject
    variant: str
    num_labels: int
    seed: int
    num_steps: int
    overrides: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.project.folder / f"{self.num_labels}_{self.variant.replace(' ', '_')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--variants", nargs="+", choices=_VARIANTS, default=list(_VARIANTS))
    parser.add_argument("--steps", type=int, default=600, help="of the optimizer")
    parser.add_argument("--video-frames", type=int, default=600, help="unlabelled frames")
    parser.add_argument("--test-frames", type=int, default=200, help="frames of the held-out walk")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time")
    parser.add_argument("--work", type=Path, required=True, help="folder of images and trainings")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the results")
    parser.add_argument("overrides", nargs="*", help="key=value, for the configs of all networks")
    given = parser.parse_args()
    projects = {
        seed: rig_projects.made(
            given.work / f"seed{seed}",
            rig_projects.content(_COMMON),
            num_frames=120,
            num_sessions=3,
            num_test_frames=given.test_frames,
            num_video_frames=given.video_frames,
            seed=seed,
        )
        for seed in given.seeds
    }
    jobs = [
        _Job(projects[seed], variant, number, seed, given.steps, tuple(given.overrides))
        for seed, number, variant in product(given.seeds, given.labels, given.variants)
    ]
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(_measured, jobs))
    for seed, number in product(given.seeds, given.labels):
        held_out = read_held_out(projects[seed])
        rows.append(_row(mean_pose(_YARDSTICK, held_out), number, seed, held_out))
    options = Options(threads=1, rounds=len(given.seeds), out=given.out)
    _publish(rows, options, given.labels, given.variants, given.steps, given.video_frames)


def _measured(job: _Job) -> Row:
    """Train one network, and measure how good it is."""
    kept = job.folder / "row.json"
    if kept.exists():
        return Row(**json.loads(kept.read_text(encoding="utf-8")))
    run = rig_projects.trained(job.project, job.folder, _sections(job), job.overrides)
    held_out = read_held_out(job.project)
    row = _row(
        predicted_by(job.variant, run.model("last"), held_out), job.num_labels, job.seed, held_out
    )
    kept.write_text(json.dumps(asdict(row)), encoding="utf-8")
    print(row, flush=True)
    return row


def _sections(job: _Job) -> dict[str, Any]:
    """Return the config of a network: the losses come in between a fifth and half of the steps."""
    num_epochs = job.num_steps // -(-job.num_labels // 8)
    losses = _VARIANTS[job.variant]
    return {
        "model": {"losses_to_use": list(losses)},
        "losses": losses,
        "callbacks": {
            "anneal_weight": {
                "freeze_until_epoch": num_epochs // 5,
                "increase_factor": 1 / max(1, num_epochs * 3 // 10),
            }
        },
        "training": {
            "train_frames": job.num_labels,
            "max_epochs": num_epochs,
            "check_val_every_n_epoch": num_epochs,
            "rng_seed_data_pt": job.seed,
            "rng_seed_model_pt": job.seed,
            "lr_scheduler_params": {
                "multisteplr": {
                    "milestones": [num_epochs * 6 // 10, num_epochs * 8 // 10],
                    "gamma": 0.3,
                }
            },
        },
    }


def _row(predicted: Predicted, num_labels: int, seed: int, held_out: HeldOut) -> Row:
    errors = errors_of(predicted, held_out)
    return Row(
        predicted.name,
        num_labels,
        seed,
        **{name: getattr(errors, name).mean for name in _ERRORS},
        jumps=_share_of_jumps(predicted.keypoints, held_out.keypoints),
    )


def _share_of_jumps(
    found: Float64[np.ndarray, "frames views num_keypoints 2"],
    true: Float64[np.ndarray, "frames views num_keypoints 2"],
) -> float:
    """Return the share of steps that are longer than any that is true."""
    steps, true_steps = (np.linalg.norm(np.diff(own, axis=0), axis=-1) for own in (found, true))
    is_known = np.isfinite(true_steps)
    return float((steps[is_known] > np.nanmax(true_steps)).mean())


def _publish(
    rows: list[Row],
    options: Options,
    labels: list[int],
    variants: list[str],
    num_steps: int,
    num_frames: int,
) -> None:
    shown = list(product(labels, (_YARDSTICK, *variants)))
    table: dict[str, list[str]] = {
        "unsupervised losses": [variant.replace("_pose", " pose") for _, variant in shown],
        "labels": [str(number) for number, _ in shown],
    }
    for name in _ERRORS:
        unit = "mm" if name == "in_space" else "px"
        table[f"{name.replace('_', ' ')}, {unit}"] = [
            rig_projects.spread(_of(rows, *key, name)) for key in shown
        ]
    table["impossible jumps, %"] = [
        rig_projects.spread([100 * value for value in _of(rows, *key, "jumps")]) for key in shown
    ]
    for name in ("visible", "occluded", "jumps"):
        table[f"{name}, against supervised"] = [_against(rows, *key, name) for key in shown]
    note = (
        f"{num_steps} steps each, with {num_frames} frames of video from four cameras. Mean over "
        "the seeds, and the standard deviation between them; against supervised, that of the "
        "differences between networks of one seed and as many labels."
    )
    report.publish("unlabelled_video", options, table, rows, note=note)


def _of(rows: list[Row], num_labels: int, variant: str, name: str) -> list[float]:
    chosen = [row for row in rows if (row.num_labels, row.variant) == (num_labels, variant)]
    return [getattr(row, name) for row in sorted(chosen, key=lambda row: row.seed)]


def _against(rows: list[Row], num_labels: int, variant: str, name: str) -> str:
    of_supervised = _of(rows, num_labels, _SUPERVISED, name)
    own = _of(rows, num_labels, variant, name)
    if len(own) != len(of_supervised):
        return ""
    differences = [100 * (a / b - 1) for a, b in zip(own, of_supervised, strict=True)]
    return f"{rig_projects.spread(differences, 1)} %"


if __name__ == "__main__":
    main()
