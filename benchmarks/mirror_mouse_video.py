"""What losses on a real video bring: a mouse on a treadmill, and it in a mirror, with few labels.

    python -m benchmarks.mirror_mouse_video --data FOLDER

Two networks learn from the same labelled frames, from random weights; one of them also from the
video, by `temporal` and `pca_multiview`. Both predict the video, and `lploss score` says how far
keypoints move from frame to frame, and how far the two sides of the animal are from agreeing.
The losses are fitted to the labels, which neither network saw more of than the other. Frames that
are held out say whether poses are right, not only smooth and consistent: the network that learned
from the video must have an error there that is at most that of the other one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import report
from benchmarks.report import Figure, Options
from lploss import load_config
from lploss_builtin.data.project.labelled_project import read_project
from lploss_builtin.predicting import predict_files, predict_frames
from lploss_builtin.scoring import ScoreOptions, score_files
from lploss_builtin.training.data_module import LabelledDataModule
from lploss_builtin.training.run import TrainingRun, train

_NAME = "mirror_mouse_video"
_CONFIG = Path(__file__).parent / "configs" / f"{_NAME}.yaml"
_LOSSES = ("temporal", "pca_multiview")
_WHEN_SCORED: dict[str, dict[str, float]] = {"temporal": {"prob_threshold": 0.0}}
_VARIANTS = {"supervised": (), "with the video": _LOSSES}


@dataclass(frozen=True, slots=True)
class Row:
    """How good a network is.

    Attributes:
        variant: which one.
        held_out: mean distance to the labels of frames that were held out, px.
        temporal: of the predicted video, median, 95th and 99th percentile and the greatest step
            of a keypoint from one frame to the next, px.
        jumps: share of steps longer than the epsilon of the loss.
        pca_multiview: the same of the distance to poses on which both sides agree, px.
        disagreements: share of distances above the epsilon of the loss.
        seconds: how long the training took.
    """

    variant: str
    held_out: float
    temporal: tuple[float, ...]
    jumps: float
    pca_multiview: tuple[float, ...]
    disagreements: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help=f"section.key=value, for {_CONFIG.name}")
    parser.add_argument("--data", type=Path, required=True, help="folder with CollectedData.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data, work = given.data.absolute(), given.work.absolute()
    runs = {}
    seconds = {}
    for variant, losses in _VARIANTS.items():
        started = time.perf_counter()
        runs[variant] = _trained(data, work / variant.replace(" ", "_"), losses, given.overrides)
        seconds[variant] = time.perf_counter() - started
    rows = _rows(runs, data, work, seconds)
    options = Options(threads=given.threads, rounds=1, out=given.out)
    _publish(rows, options, runs["supervised"])


def _trained(
    data: Path, folder: Path, losses: Sequence[str], overrides: Sequence[str]
) -> TrainingRun:
    """Train a network, unless that was done."""
    done = TrainingRun(folder)
    if done.has_started and (folder / "trained").exists():
        return done
    config = load_config(_CONFIG, overrides)
    config.data.data_dir, config.data.csv_file = str(data), "CollectedData.csv"
    if losses:
        config.data.video_dir = "videos"
        config.model.losses_to_use = list(losses)
    run = train(config, folder, shows_progress=sys.stdout.isatty())
    (folder / "trained").touch()
    return run


def _rows(
    runs: dict[str, TrainingRun], data: Path, work: Path, seconds: dict[str, float]
) -> list[Row]:
    files = {}
    for variant, run in runs.items():
        out = run.folder / "predicted"
        predict_files(run.folder, [data / "videos"], out=out, checkpoint="last", overwrite=True)
        (files[variant],) = (path for path in out.glob("*.csv"))
    config = runs["supervised"].config
    summary = score_files(
        list(files.values()),
        ScoreOptions(
            labels=data / "CollectedData.csv",
            config={
                "data": {
                    "keypoint_names": list(config.data.keypoint_names),
                    "mirrored_column_matches": [
                        list(v) for v in config.data.mirrored_column_matches
                    ],
                },
                # All steps count, whatever a network is sure of: the networks are compared.
                "losses": {
                    name: {**config.losses[name], **_WHEN_SCORED.get(name, {})} for name in _LOSSES
                },
            },
            losses=_LOSSES,
            out=work / "scores",
            pictures=False,
            metric_files=False,
        ),
    )
    found = {(row.file, row.loss): row for row in summary.rows}
    rows = []
    for variant, run in runs.items():
        temporal, pca = (found[str(files[variant]), name] for name in _LOSSES)
        quantities = [
            (own.median, own.percentile_95, own.percentile_99, own.maximum)
            for own in (temporal, pca)
        ]
        rows.append(
            Row(
                variant,
                _held_out_error(run),
                quantities[0],
                temporal.share_above_epsilon,
                quantities[1],
                pca.share_above_epsilon,
                seconds[variant],
            )
        )
    return rows


def _held_out_error(run: TrainingRun) -> float:
    frames = LabelledDataModule(read_project(run.config), run.config)
    found = torch.cat(
        [batch.keypoints for batch in predict_frames(run.model("last"), frames.dataset)]
    )
    distances = np.linalg.norm(found.numpy() - frames.dataset.project.keypoints, axis=-1)
    return float(np.nanmean(distances[list(frames.parts.val)]))


def _publish(rows: Sequence[Row], options: Options, run: TrainingRun) -> None:
    table: dict[str, list[str]] = {"network": [row.variant for row in rows]}
    table["held out, px"] = [f"{row.held_out:.1f}" for row in rows]
    names = ("median", "95 %", "99 %", "greatest")
    for loss, title in (("temporal", "step"), ("pca_multiview", "PCA error")):
        for number, name in enumerate(names):
            values = [getattr(row, loss)[number] for row in rows]
            table[f"{title}, {name}, px"] = [f"{value:.1f}" for value in values]
    table["steps > 20 px"] = [f"{100 * row.jumps:.2f} %" for row in rows]
    table["PCA errors > epsilon"] = [f"{100 * row.disagreements:.2f} %" for row in rows]
    supervised, with_video = rows
    figures = [
        # First of all: losses that outweigh the labels make all other figures better.
        Figure(
            "error on held-out frames, against supervised, times",
            1.0,
            with_video.held_out / supervised.held_out,
            is_least=False,
        ),
        Figure(
            "PCA error of the video, 95th percentile, against supervised, times",
            1.0,
            with_video.pca_multiview[1] / supervised.pca_multiview[1],
            is_least=False,
        ),
        Figure(
            "step in the video, 99th percentile, against supervised, times",
            1.0,
            with_video.temporal[2] / supervised.temporal[2],
            is_least=False,
        ),
    ]
    config = run.config
    minutes = " and ".join(f"{row.seconds / 60:.0f}" for row in rows)
    note = (
        f"One seed, {config.training.max_epochs} epochs from random weights on 72 labelled frames, "
        f"{minutes} min. 994 frames of video, of which 17 keypoints are predicted; 18 labelled "
        "frames held out."
    )
    report.publish(_NAME, options, table, rows, figures, note)


if __name__ == "__main__":
    main()
