"""Predictions and metrics of labelled frames: those of a training, and of a further session."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64
from omegaconf import DictConfig
from torch import Tensor, nn

from lploss.config import plain
from lploss.errors import first_line
from lploss.registry import Registry, default_registry
from lploss_builtin.data.poses.columns import header_rows, write_rows
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.data.project.labelled_frames import Batch, LabelledFrames
from lploss_builtin.data.project.labelled_project import LabelledProject, read_project
from lploss_builtin.data.project.split import Split, split
from lploss_builtin.evaluation.evaluation import MetricRow, metric_rows
from lploss_builtin.output import replaced_files
from lploss_builtin.predicting.frame_predictions import predict_frames
from lploss_builtin.scoring.loss_choice import Material, choose_losses
from lploss_builtin.scoring.metric_files import metric_tables, place_beside, write_metric_files
from lploss_builtin.scoring.scored_loss import ScoredLoss

_AT_ONCE = 1024
_NEW = "_new"
_COORDS = ("x", "y", "likelihood")
# A column of Lightning Pose: its name stands on the first level, the others are empty.
_SET = ("set", "", "")


@dataclass(frozen=True, slots=True, eq=False)
class FramesToEvaluate:
    """Labelled frames.

    Attributes:
        project: the frames, and their labels.
        sets: to which part each frame belongs, as the source system calls them.
        end: what the names of their files end with.
    """

    project: LabelledProject
    sets: tuple[str, ...]
    end: str = ""

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views; one that is empty where there is one view without a name."""
        return self.project.view_names or ("",)

    def images(self, view: int) -> list[str]:
        """Return the path of each frame's image, as the label file has it."""
        folder = self.project.folder
        paths = [own[view] for own in self.project.images]
        return [
            (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
            for path in paths
        ]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedFrames:
    """The evaluation of some labelled frames.

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


def frames_of_training(config: DictConfig) -> FramesToEvaluate:
    """Return the labelled frames of a training, and to which part each of them belongs."""
    project = read_project(config)
    sets = ["unused"] * len(project.frames)
    parts = _split(config, project)
    for name, frames in (("train", parts.train), ("validation", parts.val), ("test", parts.test)):
        for frame in frames:
            sets[frame] = name
    return FramesToEvaluate(project, tuple(sets))


def labels_of_training(config: DictConfig, project: LabelledProject) -> PoseTable:
    """Return the labels that a training has trained on, to which losses are fitted."""
    chosen = list(_split(config, project).train)
    return PoseTable(
        points=rearrange(project.keypoints[chosen], "f v k xy -> f 1 (v k) xy"),
        confidences=None,
        visibility=None,
        frames=np.array(project.frames, dtype=object)[chosen],
        individuals=("",),
        keypoints=project.pose_names.flat,
        path=project.folder,
    )


def _split(config: DictConfig, project: LabelledProject) -> Split:
    training = config.training
    return split(
        len(project.frames),
        training.train_prob,
        training.val_prob,
        train_frames=training.train_frames,
        seed=training.rng_seed_data_pt,
    )


def further_session(config: DictConfig) -> FramesToEvaluate | None:
    """Return the labelled frames of a further session; ``None`` if there is no such session.

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
    # A table lists a calibration for each frame; any other file applies to all frames.
    tables = _new_files(folder, data.camera_params_file)
    if tables is not None and tables[0].suffix.lower() == ".csv":
        config = config.copy()
        config.data.camera_params_file = str(tables[0])
    boxes = _new_files(folder, data.bbox_file)
    project = read_project(config, csv_files=labels, bbox_files=boxes)
    return FramesToEvaluate(project, ("new",) * len(project.frames), _NEW)


def _new_files(folder: Path, files: object) -> list[Path] | None:
    """Return the files of a further session; ``None`` where one of them is not there."""
    files = plain(files)
    listed = files if isinstance(files, list) else [files] if files else []
    found = [Path(file).with_stem(f"{Path(file).stem}{_NEW}") for file in map(str, listed)]
    return found if found and all((folder / file).is_file() for file in found) else None


def evaluate_frames(
    model: nn.Module,
    config: DictConfig,
    frames: FramesToEvaluate,
    labels: PoseTable,
    folder: Path,
    registry: Registry = default_registry,
) -> EvaluatedFrames:
    """Predict labelled frames, and write predictions and metric files.

    The predictions of a view are in ``predictions_<view>.csv``, with the part of each frame in the
    last column; those of a view without a name in ``predictions.csv``.

    Args:
        model: the trained model.
        config: of the training.
        frames: the frames.
        labels: what losses are fitted to.
        folder: where the files go.
        registry: where the losses are looked up.
    """
    keypoints, confidences, unreadable = _predict(model, config, frames.project)
    losses, values, left_out = _evaluate(
        keypoints, confidences, config, frames.project, labels, registry
    )
    names = {view: f"predictions_{view}" if view else "predictions" for view in ("", *frames.views)}
    files = {view: folder / f"{name}{frames.end}.csv" for view, name in names.items()}
    written = []
    with replaced_files(folder) as staged, ExitStack() as stack:
        for number, view in enumerate(frames.views):
            header = header_rows(config.model.model_type, frames.project.keypoint_names, _COORDS)
            found = np.concatenate([keypoints[:, number], confidences[:, number, :, None]], axis=-1)
            path = staged.folder / files[view].name
            with path.open("w", newline="", encoding="utf-8") as file:
                write_rows(
                    file,
                    frames.images(number),
                    found,
                    header=[[*row, end] for row, end in zip(header, _SET, strict=True)],
                    last=frames.sets,
                )
            written.append(files[view])
        with TemporaryDirectory(dir=staged.folder) as waiting:
            images = {view: frames.images(number) for number, view in enumerate(frames.views)}
            metrics = write_metric_files(
                Path(waiting),
                losses,
                frames.project.pose_names,
                files,
                {"": list(frames.project.frames), **images},
                values,
                frames.sets,
            )
            placed, notes = place_beside(metrics, staged, folder, stack)
    return EvaluatedFrames(
        metric_rows(metric_tables(losses, frames.project.pose_names), values, frames.sets),
        (*written, *map(Path, placed)),
        left_out,
        (*(f"without predictions: {problem}" for problem in unreadable), *notes),
    )


class _WithoutUnreadable:
    """The frames, with what could not be read said as `predict_frames` wants it."""

    def __init__(self, frames: LabelledFrames) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Batch:
        frame = self._frames[index]
        is_readable = frame.pop("is_readable", torch.tensor(True))
        return {**frame, "is_read": is_readable.expand(frame["images"].shape[0])}


def _predict(
    model: nn.Module, config: DictConfig, project: LabelledProject
) -> tuple[
    Float64[np.ndarray, "frames views num_keypoints 2"],
    Float64[np.ndarray, "frames views num_keypoints"],
    list[str],
]:
    """Return keypoints and likelihoods, NaN for unreadable images, and the errors of these."""
    size = config.data.image_resize_dims
    frames = LabelledFrames(
        project,
        (size.height, size.width),
        keep_going=True,
        num_context_frames=getattr(model, "num_context_frames", 0),
    )
    on_cpu = config.training.accelerator == "cpu" or not torch.cuda.is_available()
    found = list(
        predict_frames(
            model,
            _WithoutUnreadable(frames),
            batch_size=config.training.test_batch_size,
            device=torch.device("cpu" if on_cpu else "cuda"),
            precision=config.training.precision,
        )
    )
    keypoints = torch.cat([own.keypoints for own in found]).numpy()
    confidences = torch.cat([own.confidences for own in found]).numpy()
    gone = np.flatnonzero(np.isnan(keypoints).all(axis=(1, 2, 3))).tolist()
    return keypoints, confidences, [problem for n in gone if (problem := frames.problem_of(n))]


def _evaluate(
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"],
    confidences: Float64[np.ndarray, "frames views num_keypoints"],
    config: DictConfig,
    project: LabelledProject,
    labels: PoseTable,
    registry: Registry,
) -> tuple[list[ScoredLoss], dict[str, Float64[np.ndarray, "frames _"]], dict[str, str]]:
    """Evaluate each loss that predictions and labels of single frames are enough for.

    Returns:
        The losses, the values of each of them, and why the others were left out.
    """
    batch: dict[str, Tensor] = {
        "keypoints_pred": _flat(keypoints),
        "keypoints_targ": _flat(project.keypoints),
    }
    has_confidences = bool(np.isfinite(confidences).any())
    if has_confidences:
        batch["confidences"] = _flat(confidences)
    if project.cameras:
        sessions = list(project.cameras)
        numbers = [sessions.index(session) for session in project.sessions]
        for name in ("intrinsics", "extrinsics", "distortions"):
            of_sessions = [getattr(cameras, name) for cameras in project.cameras.values()]
            if all(own is not None for own in of_sessions):
                batch[name] = torch.stack(of_sessions)[numbers]
    material = Material(
        project.pose_names,
        config,
        labels,
        has_confidences=has_confidences,
        has_targets=True,
        registry=registry,
        cameras=next(iter(project.cameras.values())) if project.cameras else None,
    )
    chosen, why = choose_losses(material, every=True)
    left_out = dict(why)
    frames = np.array(project.frames, dtype=object)
    losses: list[ScoredLoss] = []
    values: dict[str, Float64[np.ndarray, "frames _"]] = {}
    # How far off the predictions are comes before what may hint at it.
    for loss in sorted(chosen, key=lambda loss: loss.loss_class.kind):
        if loss.num_previous_frames:
            left_out[loss.name] = "needs consecutive frames"
            continue
        pieces = [slice(at, at + _AT_ONCE) for at in range(0, len(frames), _AT_ONCE)]
        try:
            parts = [
                loss.values(
                    {name: value[piece] for name, value in batch.items()},
                    frames[piece],
                    0,
                    as_metric=True,
                )
                for piece in pieces
            ]
        except Exception as error:  # one faulty loss must not cost the other metrics
            left_out[loss.name] = f"cannot be evaluated: {first_line(error)}"
        else:
            losses.append(loss)
            values[loss.name] = np.concatenate(parts).astype(np.float64)
    return losses, values, left_out


def _flat(values: Float64[np.ndarray, "frames ..."]) -> Tensor:
    return torch.from_numpy(values.reshape(len(values), -1)).float()
