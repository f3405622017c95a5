"""What several views, masked patches, and 3D augmentation with a loss on reprojections bring.

Four networks learn from the same images of the synthetic rig: one that sees each view by itself,
the multi-view transformer, the same with masked patches, and that with 3D augmentation and a loss
on reprojections on top. What is measured are the distances to the truth in a walk that is held
out, of visible and of occluded keypoints. For each seed there are other images, other weights and
another order of the images. What is done in the folder is not done again, so that the work can be
cut off.
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

from omegaconf import OmegaConf

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

_CONFIGS = Path(__file__).parent / "configs" / "ablation"
# Each adds something to the one before it.
_VARIANTS = ("single_view", "multi_view", "masking", "masking_3d")
_YARDSTICK = "mean_pose"
_ERRORS = ("visible", "occluded", "all", "in_space")


@dataclass(frozen=True, slots=True)
class Row:
    """How far off a network is, on average.

    Attributes:
        variant: which network, or the mean pose, whatever the image shows.
        seed: of its images and weights.
        visible: px, in all views, of keypoints that can be seen.
        occluded: px, of those that something hides.
        all: px, of both.
        in_space: mm, of the points that the views together give.
    """

    variant: str
    seed: int
    visible: float
    occluded: float
    all: float
    in_space: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, default=480, help="labelled frames to train with")
    parser.add_argument("--test-frames", type=int, default=200, help="frames of the held-out walk")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time")
    parser.add_argument("--work", type=Path, required=True, help="folder of images and trainings")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the results")
    parser.add_argument("overrides", nargs="*", help="key=value, for the configs of all networks")
    given = parser.parse_args()
    projects = {
        seed: rig_projects.made(
            given.work / f"seed{seed}",
            _content("common"),
            num_frames=given.frames,
            num_sessions=given.frames // 40,
            num_test_frames=given.test_frames,
            seed=seed,
        )
        for seed in given.seeds
    }
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        jobs = list(product(given.seeds, _VARIANTS))
        rows = list(
            pool.map(
                _trained,
                [projects[seed] for seed, _ in jobs],
                [variant for _, variant in jobs],
                [seed for seed, _ in jobs],
                [given.overrides for _ in jobs],
            )
        )
    rows += [_mean_pose(projects[seed], seed) for seed in given.seeds]
    options = Options(threads=1, rounds=len(given.seeds), out=given.out)
    _publish(rows, options, given.overrides)


def _trained(project: RigProject, variant: str, seed: int, overrides: list[str]) -> Row:
    """Train one network, and measure how far off it is."""
    folder = project.folder / variant
    if (folder / "row.json").exists():
        return Row(**json.loads((folder / "row.json").read_text(encoding="utf-8")))
    seeds = {"training": {"rng_seed_data_pt": seed, "rng_seed_model_pt": seed}}
    sections = OmegaConf.merge(_content(variant), seeds)
    run = rig_projects.trained(project, folder, sections, overrides)
    held_out = read_held_out(project)
    row = _row(predicted_by(variant, run.model("last"), held_out), seed, held_out)
    (folder / "row.json").write_text(json.dumps(asdict(row)), encoding="utf-8")
    print(row, flush=True)
    return row


def _content(name: str) -> dict[str, Any]:
    """Return what a config in the folder says."""
    return rig_projects.content(_CONFIGS / f"{name}.yaml")


def _mean_pose(project: RigProject, seed: int) -> Row:
    """Measure how far off the mean of the labels is."""
    held_out = read_held_out(project)
    return _row(mean_pose(_YARDSTICK, held_out), seed, held_out)


def _row(predicted: Predicted, seed: int, held_out: HeldOut) -> Row:
    errors = errors_of(predicted, held_out)
    return Row(predicted.name, seed, **{name: getattr(errors, name).mean for name in _ERRORS})


def _publish(rows: list[Row], options: Options, overrides: list[str]) -> None:
    shown = (_YARDSTICK, *_VARIANTS)
    table: dict[str, list[str]] = {"network": [variant.replace("_", " ") for variant in shown]}
    for name in _ERRORS:
        unit = "mm" if name == "in_space" else "px"
        table[f"{name.replace('_', ' ')}, {unit}"] = [
            rig_projects.spread(_of(rows, variant, name)) for variant in shown
        ]
    for name in ("visible", "occluded"):
        single = _of(rows, _VARIANTS[0], name)
        table[f"{name}, against single view"] = [
            rig_projects.spread(
                [100 * (a / b - 1) for a, b in zip(_of(rows, variant, name), single, strict=True)]
            )
            + " %"
            for variant in shown
        ]
    note = (
        "Mean over the seeds, and the standard deviation between them; against single view, that "
        "of the differences between networks of one seed."
    )
    if overrides:
        note += f" With {', '.join(overrides)}."
    report.publish("ablation", options, table, rows, note=note)


def _of(rows: list[Row], variant: str, name: str) -> list[float]:
    return [getattr(row, name) for row in rows if row.variant == variant]


if __name__ == "__main__":
    main()
