"""Evaluating every loss that can be on the predictions of labelled frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64
from omegaconf import DictConfig
from torch import Tensor

from lploss.errors import first_line
from lploss.registry import Registry, default_registry
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.data.project.labelled_project import LabelledProject
from lploss_builtin.evaluation.labelled_poses import LabelledPoses
from lploss_builtin.evaluation.metric_summary import MetricRow, metric_rows
from lploss_builtin.scoring.loss_choice import Material, choose_losses
from lploss_builtin.scoring.metric_files import MetricFile, metric_tables, write_metric_files
from lploss_builtin.scoring.scored_loss import ScoredLoss

_AT_ONCE = 1024


def training_labels(project: LabelledProject, frames: Sequence[int]) -> PoseTable:
    """Return the labels of some frames, those of the training part, to fit losses to."""
    chosen = list(frames)
    return PoseTable(
        points=rearrange(project.keypoints[chosen], "f v k xy -> f 1 (v k) xy"),
        confidences=None,
        visibility=None,
        frames=np.array(project.frames, dtype=object)[chosen],
        individuals=("",),
        keypoints=project.pose_names.flat,
        path=project.folder,
    )


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMetrics:
    """What the losses say of the predictions of labelled frames.

    Attributes:
        losses: those that could be evaluated.
        values: of each frame; NaN does not count.
        left_out: for each other loss, why it was not evaluated.
    """

    losses: tuple[ScoredLoss, ...]
    values: Float64[np.ndarray, "frames elements_of_all_losses"]
    left_out: Mapping[str, str]


def evaluate_labelled(
    poses: LabelledPoses,
    config: DictConfig,
    labels: PoseTable,
    registry: Registry = default_registry,
) -> LabelledMetrics:
    """Evaluate each loss that predictions and labels of single frames are enough for.

    Args:
        poses: the predictions.
        config: the config of the training, for the arguments of the losses.
        labels: what losses are fitted to.
        registry: where the losses are looked up.
    """
    project = poses.project
    has_confidences = bool(np.isfinite(poses.confidences).any())
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
    batch = _batch(poses, has_confidences=has_confidences)
    losses: list[ScoredLoss] = []
    found = []
    # How far off the predictions are comes before what may hint at it.
    for loss in sorted(chosen, key=lambda loss: loss.loss_class.kind):
        if loss.num_previous_frames:
            left_out[loss.name] = "needs consecutive frames"
            continue
        try:
            parts = [
                loss.values(
                    {name: value[first : first + _AT_ONCE] for name, value in batch.items()},
                    frames[first : first + _AT_ONCE],
                    0,
                    as_metric=True,
                )
                for first in range(0, len(frames), _AT_ONCE)
            ]
        except Exception as error:  # that of somebody's loss hides no other metric
            left_out[loss.name] = f"cannot be evaluated: {first_line(error)}"
            continue
        losses.append(loss)
        found.append(np.concatenate(parts))
    values = np.concatenate(found, axis=1) if found else np.zeros((len(frames), 0))
    return LabelledMetrics(tuple(losses), values, left_out)


def write_metrics(
    metrics: LabelledMetrics, poses: LabelledPoses, files: Mapping[str, Path], folder: Path
) -> tuple[MetricFile, ...]:
    """Write the metric files of labelled frames.

    Args:
        metrics: the values.
        poses: the predictions.
        files: the predictions of each view.
        folder: where the metric files lie until they are moved.
    """
    views = {view: poses.images(number) for number, view in enumerate(poses.views)}
    starts = np.cumsum([len(loss.element_names) for loss in metrics.losses])[:-1]
    values = np.split(metrics.values, starts, axis=1)
    return write_metric_files(
        folder,
        metrics.losses,
        poses.project.pose_names,
        files,
        {"": list(poses.project.frames), **views},
        {loss.name: own for loss, own in zip(metrics.losses, values, strict=False)},
        poses.sets,
    )


def rows_of(metrics: LabelledMetrics, poses: LabelledPoses) -> tuple[MetricRow, ...]:
    """Return mean and median of each metric."""
    starts = np.cumsum([0, *(len(loss.element_names) for loss in metrics.losses)]).tolist()
    return metric_rows(
        metric_tables(metrics.losses, poses.project.pose_names),
        metrics.values,
        {loss.name: start for loss, start in zip(metrics.losses, starts, strict=False)},
        poses.sets,
    )


def _batch(poses: LabelledPoses, *, has_confidences: bool) -> dict[str, Tensor]:
    project = poses.project
    rows = {"keypoints_pred": poses.keypoints, "keypoints_targ": project.keypoints}
    batch = {
        name: torch.from_numpy(rearrange(values, "f v k xy -> f (v k xy)")).float()
        for name, values in rows.items()
    }
    if has_confidences:
        batch["confidences"] = torch.from_numpy(
            rearrange(poses.confidences, "f v k -> f (v k)")
        ).float()
    if project.cameras:
        sessions = list(project.cameras)
        numbers = [sessions.index(session) for session in project.sessions]
        for name in ("intrinsics", "extrinsics", "distortions"):
            of_sessions = [getattr(cameras, name) for cameras in project.cameras.values()]
            if all(own is not None for own in of_sessions):
                batch[name] = torch.stack(of_sessions)[numbers]
    return batch
