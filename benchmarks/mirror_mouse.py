"""A multi-view transformer, trained from scratch on real images: a mouse, and it in a mirror.

    python -m benchmarks.mirror_mouse --data FOLDER

The frame shows the mouse from the side and, by a mirror, from below: two views. A small network is
trained on four of five labelled frames and measured on the others, which decide nothing: the
weights are the last ones. It is compared with two yardsticks: the mean of the labels it was trained
on, said of every frame, and the network as it was before its first step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from omegaconf import DictConfig
from torch import nn

from benchmarks import mirror_mouse_pictures, report
from benchmarks.mirror_views import View, write_views
from benchmarks.report import Figure, Options
from lploss import load_config
from lploss_builtin.data.project.labelled_project import LabelledProject, read_project
from lploss_builtin.demo.pictures import Curve, read_curves
from lploss_builtin.models.building import build_model
from lploss_builtin.predicting import predict_frames
from lploss_builtin.training.data_module import LabelledDataModule
from lploss_builtin.training.run import TrainingRun, train

_NAME = "mirror_mouse"
_CONFIG = Path(__file__).parent / "configs" / f"{_NAME}.yaml"
# Camera and mirror meet between the same two rows of pixels in all frames.
_VIEWS = (View("side", "_top", 0, 168), View("bottom", "_bot", 168, None))

Poses = Float64[np.ndarray, "frames views num_keypoints 2"]
Distances = Float64[np.ndarray, "frames views num_keypoints"]


@dataclass(frozen=True, slots=True)
class Error:
    """Distances to the labels of the frames that were held out, px of the frame.

    Attributes:
        view: the view, or ``"all"``.
        keypoint: the keypoint, or ``"all"``.
        num_labels: how many labels there are.
        mean_pose: mean distance of the mean pose.
        untrained: mean distance of what the network predicts before its first step.
        trained: mean distance of what it predicts after its last.
        trained_median: median of the same.
    """

    view: str
    keypoint: str
    num_labels: int
    mean_pose: float
    untrained: float
    trained: float
    trained_median: float


@dataclass(frozen=True, slots=True)
class Result:
    """All that was measured.

    Attributes:
        num_train: frames that were trained on.
        num_held_out: frames that were held out.
        num_parameters: of the network.
        seconds: how long the training took.
        error_in_training: mean distance on the frames that were trained on, as they are, px.
        errors: on the frames that were held out.
        curves: of each quantity the curves ``train`` (augmented images) and ``val``, by epoch.
    """

    num_train: int
    num_held_out: int
    num_parameters: int
    seconds: float
    error_in_training: float
    errors: tuple[Error, ...]
    curves: Mapping[str, Mapping[str, Curve]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help=f"section.key=value, for {_CONFIG.name}")
    parser.add_argument("--data", type=Path, required=True, help="folder with CollectedData.csv")
    parser.add_argument("--work", type=Path, help="folder of the training; removed unless given")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    options = Options(threads=given.threads, rounds=1, out=given.out)
    with _folder(given.work) as work:
        run(given.data.absolute(), work, given.overrides, options)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.absolute()
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def run(data: Path, work: Path, overrides: Sequence[str], options: Options) -> None:
    """Train, measure and write the results.

    Args:
        data: folder of the labelled frames; it is only read.
        work: folder for the training.
        overrides: changes of the config.
        options: where the results go.
    """
    started = time.perf_counter()
    trained = train(
        _config(data, work, overrides), work / "run", shows_progress=sys.stdout.isatty()
    )
    seconds = time.perf_counter() - started
    frames = LabelledDataModule(read_project(trained.config), trained.config)
    project, parts = frames.dataset.project, frames.parts
    labels, train_frames, held_out = project.keypoints, list(parts.train), list(parts.val)
    model = trained.model("last")
    found = _predicted(model, frames)
    distances = _distances(found, labels)
    errors = _errors(
        {
            "mean_pose": _distances(_mean_pose(labels[train_frames]), labels)[held_out],
            "untrained": _distances(_predicted(_untrained(trained), frames), labels)[held_out],
            "trained": distances[held_out],
        },
        project.view_names,
        project.keypoint_names,
    )
    result = Result(
        len(train_frames),
        len(held_out),
        sum(parameter.numel() for parameter in model.parameters()),
        seconds,
        float(np.nanmean(distances[train_frames])),
        errors,
        read_curves(trained.folder / "metrics.csv"),
    )
    total = errors[-1]
    what = "error of the mean pose over that of the network, times"
    figures = [Figure(what, 1.0, total.mean_pose / total.trained)]
    report.publish(
        _NAME, options, _table(errors), [result], figures, _note(result, trained, project)
    )
    mirror_mouse_pictures.draw_curves(
        result.curves, total.mean_pose, total.untrained, options.out / f"{_NAME}.png"
    )
    # Images are not ours to publish: these stay with the training.
    mirror_mouse_pictures.draw_frames(
        project, found, distances, held_out, trained.folder / "held_out.png"
    )


def _config(data: Path, work: Path, overrides: Sequence[str]) -> DictConfig:
    files = write_views(data / "CollectedData.csv", _VIEWS, work)
    config = load_config(_CONFIG, overrides)
    config.data.data_dir = str(data)
    config.data.csv_file = [str(path) for path in files.labels]
    config.data.bbox_file = [str(path) for path in files.boxes]
    config.data.view_names = [view.name for view in _VIEWS]
    return config


def _untrained(trained: TrainingRun) -> nn.Module:
    """Return the network as it was before its first step."""
    config = trained.config
    torch.manual_seed(config.training.rng_seed_model_pt)
    return build_model(
        config,
        num_views=len(config.data.view_names),
        num_keypoints=config.data.num_keypoints,
        pretrained=False,
    )


def _predicted(model: nn.Module, frames: LabelledDataModule) -> Poses:
    found = predict_frames(model, frames.dataset)
    return torch.cat([batch.keypoints for batch in found]).numpy()


def _mean_pose(labels: Poses) -> Float64[np.ndarray, "views num_keypoints 2"]:
    """Return the mean of the labels; NaN where a view has none of a keypoint."""
    number = np.isfinite(labels).sum(axis=0)
    total = np.nansum(labels, axis=0)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def _distances(found: np.ndarray, labels: Poses) -> Distances:
    return np.asarray(np.linalg.norm(found - labels, axis=-1))


def _errors(
    distances: Mapping[str, Distances], views: Sequence[str], keypoints: Sequence[str]
) -> tuple[Error, ...]:
    """Return the errors of each keypoint that has labels, of each view, and of all."""
    everything = slice(None)
    parts: list[tuple[str, str, tuple[int | slice, ...]]] = [
        (view, name, (everything, v, k))
        for v, view in enumerate(views)
        for k, name in enumerate(keypoints)
    ]
    parts += [(view, "all", (everything, v)) for v, view in enumerate(views)]
    parts.append(("all", "all", (everything,)))
    errors = []
    for view, name, part in parts:
        values = {who: own[part] for who, own in distances.items()}
        number = int(np.isfinite(values["trained"]).sum())
        if number:
            means = {who: float(np.nanmean(own)) for who, own in values.items()}
            median = float(np.nanmedian(values["trained"]))
            errors.append(Error(view, name, number, **means, trained_median=median))
    return tuple(errors)


def _table(errors: Sequence[Error]) -> dict[str, list[str]]:
    return {
        "keypoint": [error.keypoint for error in errors],
        "view": [error.view for error in errors],
        "labels": [str(error.num_labels) for error in errors],
        "mean pose, px": [f"{error.mean_pose:.1f}" for error in errors],
        "untrained, px": [f"{error.untrained:.1f}" for error in errors],
        "trained, px": [f"{error.trained:.1f}" for error in errors],
        "its median, px": [f"{error.trained_median:.1f}" for error in errors],
    }


def _note(result: Result, trained: TrainingRun, project: LabelledProject) -> str:
    config = trained.config
    height, width = project.image_sizes[0, 0].tolist()
    size = config.data.image_resize_dims
    return (
        f"{result.num_train} frames of {width} x {height} px to train on, {result.num_held_out} "
        f"held out; each view is resized to {size.width} x {size.height} px. "
        f"{result.num_parameters:,} parameters from random weights, "
        f"{config.training.max_epochs} epochs in {result.seconds / 60:.0f} min. Errors are mean "
        "distances to the labels in px of the frame; on the frames of the training, as they are, "
        f"{result.error_in_training:.1f} px."
    )


if __name__ == "__main__":
    main()
