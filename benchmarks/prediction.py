"""Predicting videos, beside decoding them and running the model, each alone.

`lploss predict` decodes while the model runs, so that it need not take longer than the slower of
the two, as far as they do not need the same cores. The shares are those that its summary prints:
what it waits for.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import report, rig_projects, timing
from benchmarks.report import Figure, Options
from benchmarks.timing import Quartiles
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.frames.video_nvidia import decoder_of
from lploss_builtin.data.rig.project import RigOptions, RigProject, make_rig_project
from lploss_builtin.predicting import PredictedRecording, predict_files
from lploss_builtin.predicting.frame_batches import FrameReading, read_batches
from lploss_builtin.predicting.frame_predictions import ModelPredictor
from lploss_builtin.predicting.summary import Part
from lploss_builtin.training.run import TrainingRun

_HEIGHT, _WIDTH, _SIDE = 512, 640, 256
_NUM_FRAMES, _BATCH_SIZE = 64, 16
_MOST_OVER_SLOWER = 1.1
# Each takes seconds.
_MOST_ROUNDS = 3
_WAITED_FOR: dict[Part, str] = {
    "decoding": "waiting for frames",
    "model": "model",
    "writing": "writing",
}
_CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "regression, resnet18": (1, {"model_type": "regression", "backbone": "resnet18"}),
    "heatmap, resnet18": (1, {"model_type": "heatmap", "backbone": "resnet18"}),
    "heatmap, resnet50": (1, {"model_type": "heatmap", "backbone": "resnet50"}),
    "heatmap_mhcrnn, resnet18": (1, {"model_type": "heatmap_mhcrnn", "backbone": "resnet18"}),
    "heatmap, vits_dino": (1, {"model_type": "heatmap", "backbone": "vits_dino"}),
    "multi-view transformer, vits_dino": (
        2,
        {"model_type": "heatmap_multiview_transformer", "backbone": "vits_dino"},
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured for one model; times in seconds for a frame of all its views.

    Attributes:
        model: which one.
        num_views: how many videos it sees at once.
        predicting: time of a prediction.
        decoding: time of decoding alone.
        computing: time of the model alone.
        over_slower: time of a prediction over that of the slower of both.
        shares: of the time of a prediction, what was waited for.
    """

    model: str
    num_views: int
    predicting: Quartiles
    decoding: Quartiles
    computing: Quartiles
    over_slower: Quartiles
    shares: dict[Part, float]


def main() -> None:
    report.run("prediction", __doc__, run)


def run(options: Options) -> None:
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project = make_rig_project(
            folder / "rig",
            RigOptions(
                num_frames=4,
                num_views=2,
                image_size=(_HEIGHT, _WIDTH),
                num_sessions=1,
                num_test_frames=1,
                num_video_frames=_NUM_FRAMES,
            ),
        )
        rows = [
            _measured(name, _trained(project, folder / str(number), num_views, model), options)
            for number, (name, (num_views, model)) in enumerate(_CASES.items())
        ]
    note = (
        f"{_NUM_FRAMES} frames of {_HEIGHT} x {_WIDTH} px as H.264, predicted as {_SIDE} x {_SIDE} "
        f"in batches of {_BATCH_SIZE}; random weights. Where cameras are known, points in space "
        "are among what is written."
    )
    figure = Figure(
        "prediction over the slower of decoding and model, the worst of the models",
        _MOST_OVER_SLOWER,
        max(row.over_slower.median for row in rows),
        is_least=False,
    )
    report.publish("prediction", options, _table(rows), rows, [figure], note)


def _trained(
    project: RigProject, folder: Path, num_views: int, model: dict[str, Any]
) -> tuple[TrainingRun, list[Path]]:
    """Train for as short as can be, and return the videos of the views that were trained on."""
    data = rig_projects.content(project.config)["data"]
    of_views = {name: data[name][:num_views] for name in ("view_names", "csv_file")}
    if num_views == 1:
        (of_views["csv_file"],), of_views["view_names"] = of_views["csv_file"], None
    sections = {
        "data": {**of_views, "image_resize_dims": {"height": _SIDE, "width": _SIDE}},
        "model": {**model, "backbone_pretrained": False},
        "training": {"max_epochs": 1, "train_batch_size": 2, "accelerator": "cpu"},
        "dali": {
            "base": {"predict": {"sequence_length": _BATCH_SIZE}},
            "context": {"predict": {"sequence_length": _BATCH_SIZE}},
        },
    }
    videos = [project.videos[view] for view in data["view_names"][:num_views]]
    return rig_projects.trained(project, folder, sections), videos


def _measured(name: str, trained: tuple[TrainingRun, list[Path]], options: Options) -> Row:
    run, videos = trained
    model = run.model("last")
    torch.set_num_threads(options.threads)
    decoder = decoder_of("auto", options.device)
    predictor = ModelPredictor(model, device=options.device)
    frames = partial(
        read_batches,
        [frame_source(video) for video in videos],
        range(_NUM_FRAMES),
        FrameReading((_SIDE, _SIDE), _BATCH_SIZE, predictor.num_context_frames, decoder=decoder),
    )
    batch = next(iter(frames()))
    recordings: list[PredictedRecording] = []

    def predict() -> None:
        summary = predict_files(
            run.folder,
            videos,
            out=run.folder / "predicted",
            checkpoint="last",
            device=str(options.device),
            decoder=decoder,
            overwrite=True,
        )
        recordings.extend(summary.recordings)

    def decode() -> None:
        for _ in frames():
            pass

    def compute() -> None:
        for _ in range(_NUM_FRAMES // _BATCH_SIZE):
            predictor.predict_batch(batch)

    rounds = max(2, min(options.rounds, _MOST_ROUNDS))
    seconds = timing.interleaved(
        {"predicting": predict, "decoding": decode, "computing": compute},
        options.device,
        rounds,
        number=1,
        warm_up=1,
    )
    # To find the model and the videos takes as long for a video of an hour.
    measured = recordings[-rounds:]
    seconds["predicting"] = [sum(own.seconds.values()) for own in measured]
    each = zip(seconds["predicting"], seconds["decoding"], seconds["computing"], strict=True)
    return Row(
        name,
        len(videos),
        _per_frame(seconds["predicting"]),
        _per_frame(seconds["decoding"]),
        _per_frame(seconds["computing"]),
        Quartiles.of([own / max(alone) for own, *alone in each]),
        {part: statistics.median(own.shares[part] for own in measured) for part in _WAITED_FOR},
    )


def _per_frame(seconds: list[float]) -> Quartiles:
    return Quartiles.of([own / _NUM_FRAMES for own in seconds])


def _table(rows: list[Row]) -> dict[str, list[str]]:
    return {
        "model": [row.model for row in rows],
        "views": [str(row.num_views) for row in rows],
        "frames/s": [f"{1 / row.predicting.median:.0f}" for row in rows],
        "predicting, ms a frame": [report.milliseconds(row.predicting) for row in rows],
        "decoding alone, ms": [report.milliseconds(row.decoding) for row in rows],
        "model alone, ms": [report.milliseconds(row.computing) for row in rows],
        "over the slower": [report.times(row.over_slower) for row in rows],
        **{
            f"{title}, share": [f"{row.shares[part]:.0%}" for row in rows]
            for part, title in _WAITED_FOR.items()
        },
    }


if __name__ == "__main__":
    main()
