"""Predictions and metrics of the labelled frames of a training, and of a further session."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig
from torch import nn

from lploss.config import plain
from lploss.registry import Registry, default_registry
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.data.project.labelled_frames import LabelledFrames
from lploss_builtin.data.project.labelled_project import LabelledProject, read_project
from lploss_builtin.data.project.split import Split, split
from lploss_builtin.evaluation.labelled_metrics import (
    evaluate_labelled,
    rows_of,
    training_labels,
    write_metrics,
)
from lploss_builtin.evaluation.labelled_poses import (
    predict_labelled,
    prediction_files,
    write_predictions,
)
from lploss_builtin.evaluation.metric_summary import MetricRow
from lploss_builtin.output import replaced_files
from lploss_builtin.scoring.metric_files import place_beside

_NEW = "_new"


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedFrames:
    """What was found of some labelled frames.

    Attributes:
        rows: mean and median of each metric.
        files: the files that were written.
        left_out: for each loss that could not be evaluated, why.
        notes: what else to know.
    """

    rows: tuple[MetricRow, ...]
    files: tuple[Path, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def split_of(config: DictConfig, num_frames: int) -> Split:
    """Return the parts that a training has split its frames into."""
    training = config.training
    return split(
        num_frames,
        training.train_prob,
        training.val_prob,
        train_frames=training.train_frames,
        seed=training.rng_seed_data_pt,
    )


def labels_of_training(config: DictConfig, project: LabelledProject) -> PoseTable:
    """Return the labels that a training has trained on, to which losses are fitted."""
    return training_labels(project, split_of(config, len(project.frames)).train)


def names_of_sets(parts: Split, num_frames: int) -> list[str]:
    """Return to which part each frame belongs, as the source system calls them.

    Example:
        >>> names_of_sets(Split(train=(2,), val=(0,), test=()), 4)
        ['validation', 'unused', 'train', 'unused']
    """
    names = ["unused"] * num_frames
    for name, frames in (("train", parts.train), ("validation", parts.val), ("test", parts.test)):
        for frame in frames:
            names[frame] = name
    return names


def new_project(config: DictConfig) -> LabelledProject | None:
    """Return the labelled frames of a further session; ``None`` where there is none.

    They are in files that are called as those of the training, with ``_new`` at the end, all in
    the same folders.

    Raises:
        DataError: something is wrong with them.
    """
    data = config.data
    folder = Path(data.data_dir or "")
    labels = _new_files(folder, data.csv_file)
    if labels is None:
        return None
    boxes = _new_files(folder, data.bbox_file)
    # A table says whose calibration is that of which frame; what is no table holds for all.
    tables = _new_files(folder, data.camera_params_file)
    if tables is not None and tables[0].suffix.lower() == ".csv":
        config = config.copy()
        config.data.camera_params_file = str(tables[0])
    return read_project(config, csv_files=labels, bbox_files=boxes)


def evaluate_frames(
    model: nn.Module,
    config: DictConfig,
    project: LabelledProject,
    sets: list[str],
    labels: PoseTable,
    folder: Path,
    *,
    end: str = "",
    registry: Registry = default_registry,
) -> EvaluatedFrames:
    """Predict labelled frames, and write predictions and metric files.

    Args:
        model: the trained model.
        config: of the training.
        project: the frames.
        sets: to which part each of them belongs.
        labels: what losses are fitted to.
        folder: where the files go.
        end: what the names of the files end with.
        registry: where the losses are looked up.
    """
    size = config.data.image_resize_dims
    frames = LabelledFrames(
        project,
        (size.height, size.width),
        keep_going=True,
        num_context_frames=getattr(model, "num_context_frames", 0),
    )
    poses = predict_labelled(
        model,
        frames,
        sets,
        batch_size=config.training.test_batch_size,
        device=_device(config),
        precision=config.training.precision,
    )
    metrics = evaluate_labelled(poses, config, labels, registry)
    files = prediction_files(folder, poses.views, end)
    with replaced_files(folder) as staged, ExitStack() as stack:
        staging = staged.folder
        paths = {view: staging / path.name for view, path in files.items()}
        names = [path.name for path in write_predictions(poses, paths, config.model.model_type)]
        with TemporaryDirectory(dir=staging) as waiting:
            of_metrics = write_metrics(metrics, poses, files, Path(waiting))
            placed, notes = place_beside(of_metrics, staged, folder, stack)
    return EvaluatedFrames(
        rows_of(metrics, poses),
        (*(folder / name for name in names), *map(Path, placed)),
        metrics.left_out,
        (*(f"without predictions: {problem}" for problem in poses.unreadable), *notes),
    )


def _new_files(folder: Path, files: object) -> list[Path] | None:
    """Return the files of a further session; ``None`` where one of them is not there."""
    files = plain(files)
    if not files:
        return None
    listed = files if isinstance(files, list) else [files]
    found = [Path(file).with_stem(f"{Path(file).stem}{_NEW}") for file in map(str, listed)]
    return found if all((folder / file).is_file() for file in found) else None


def _device(config: DictConfig) -> torch.device:
    on_cpu = config.training.accelerator == "cpu" or not torch.cuda.is_available()
    return torch.device("cpu" if on_cpu else "cuda")
