"""Scoring one recording: the values of all losses, and what is written of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lploss.errors import DataError, LplossError
from lploss_builtin.data.poses.reading import read_poses
from lploss_builtin.data.poses.table import PoseNames, PoseTable
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.output import whole_folder
from lploss_builtin.scoring.loss_scores import LossScores
from lploss_builtin.scoring.metric_files import MetricFile, write_metric_files
from lploss_builtin.scoring.pictures import draw_pictures
from lploss_builtin.scoring.recording import Progress, Recording, camera_inputs
from lploss_builtin.scoring.score_tables import write_tables
from lploss_builtin.scoring.scored_loss import ScoredLoss, loss_failed
from lploss_builtin.scoring.summary import ScoreRow, ViewRow
from lploss_builtin.scoring.view_agreement import view_agreement

_FILES, _TABLES, _METRICS = "files", "tables", "metrics"

#: For each loss its values, a row per frame; NaN does not count.
Values = Mapping[str, Float[np.ndarray, "frames _"]]


@dataclass(frozen=True, slots=True, eq=False)
class ScoringPlan:
    """What is the same for all recordings of a scoring; other processes get it by pickle.

    Attributes:
        losses: the losses.
        names: names of the keypoints, in the order in which the losses take them.
        metric_losses: the losses that have metric files.
        cameras: the cameras of the views, if there are several views.
        labels: labels to compare predictions of labelled frames with, those of the same
            individual.
        max_frames: how many frames are evaluated at once.
        frames_are_numbers: whether the frames of all recordings have numbers.
        folder: each recording makes a folder in it.
        pictures: whether to draw.
        keep_values: whether each recording leaves its values, for the statistics of all.
    """

    losses: Sequence[ScoredLoss]
    names: PoseNames
    metric_losses: Sequence[ScoredLoss] = ()
    cameras: Cameras | None = None
    labels: PoseTable | None = None
    max_frames: int = 4096
    frames_are_numbers: bool = True
    folder: Path = Path()
    pictures: bool = False
    keep_values: bool = False

    def label_rows(self) -> dict[object, int]:
        """Return the row of each labelled frame.

        Raises:
            DataError: the labels hold a frame twice.
        """
        rows: dict[object, int] = {}
        for row, frame in enumerate(self.labels.frames.tolist() if self.labels else ()):
            if frame in rows:
                raise DataError(
                    f"{self.labels and self.labels.path}: the frame {frame} stands twice. Keep "
                    "one of them."
                )
            rows[frame] = row
        return rows


@dataclass(frozen=True, slots=True)
class RecordingToScore:
    """One recording of a scoring.

    Attributes:
        number: its place among all.
        recording: the recording.
        short_name: its name in pictures and files.
        metric_files: for each view after which file its metric files are called, see
            `write_metric_files`; ``None``: there are none.
    """

    number: int
    recording: Recording
    short_name: str
    metric_files: Mapping[str, Path] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RecordingScores:
    """What the scoring of one recording leaves, beside its folder.

    Attributes:
        folder: holds ``files/``, which go to the output folder as they are, the tables, the
            values, and the metric files.
        num_frames: how many frames were scored.
        rows: of the summary, one for each loss.
        notes: what else to know.
        views: how well its views agree, if there are several.
        metric_files: the metric files, and where they belong.
    """

    folder: Path
    num_frames: int
    rows: tuple[ScoreRow, ...]
    notes: tuple[str, ...]
    views: tuple[ViewRow, ...] = ()
    metric_files: tuple[MetricFile, ...] = ()

    @property
    def files(self) -> Path:
        """The folder with the files that go to the output folder."""
        return self.folder / _FILES

    @property
    def tables(self) -> Path:
        """Path of the tables, without suffix."""
        return self.folder / _TABLES

    def values(self, loss: int) -> Float[np.ndarray, "frames elements"]:
        """Return the values of a loss, by its number, if they were kept."""
        values: Float[np.ndarray, "frames elements"] = np.load(_values_file(self.folder, loss))
        return values


def score_recording(
    plan: ScoringPlan, task: RecordingToScore, *, progress: Progress | None = None
) -> RecordingScores:
    """Score a recording into a folder, which is there when all of it is complete.

    Args:
        plan: what is the same for all recordings.
        task: which recording.
        progress: called while it goes on.

    Returns:
        What was found, and where the files are.

    Raises:
        DataError: a file cannot be used.
        LplossError: a loss cannot be evaluated; a `PluginError` where its own code fails.
    """
    recording, target = task.recording, plan.folder / str(task.number)
    if progress is not None:
        progress(recording.name, 0)
    poses = read_poses(recording.files).select(plan.names.flat)
    table = recording.of_individual(poses)
    # The cameras see all individuals; the first of these reports on them.
    views: tuple[ViewRow, ...] = ()
    if plan.cameras is not None and recording.individual in ("", poses.individuals[0]):
        views = view_agreement(poses, plan.names, plan.cameras)
    values, metrics, notes = evaluate(plan, recording.name, table, progress)
    scores = [LossScores(loss, recording.name, table, values[loss.name]) for loss in plan.losses]
    with whole_folder(target) as folder:
        (folder / _FILES).mkdir()
        write_tables(folder / _TABLES, scores, plan.frames_are_numbers, plan.max_frames)
        written: tuple[MetricFile, ...] = ()
        if task.metric_files is not None:
            frames: dict[str, Sequence[object]] = {"": table.frames.tolist()}
            if isinstance(recording.files, Mapping) and not plan.frames_are_numbers:
                # Together they go by a name that all views share.
                for view, file in recording.files.items():
                    frames[view] = read_poses(file).frames.tolist()
            written = write_metric_files(
                folder / _METRICS,
                plan.metric_losses,
                plan.names,
                task.metric_files,
                frames,
                metrics,
            )
        if plan.pictures:
            drawn = folder / _FILES / "pictures" / task.short_name
            draw_pictures(drawn, task.short_name, recording, scores, plan.names, plan.cameras)
        for number, own in enumerate(scores if plan.keep_values else ()):
            np.save(_values_file(folder, number), own.values)
    return RecordingScores(
        target,
        len(table.frames),
        tuple(own.row for own in scores),
        notes,
        views,
        tuple(
            replace(file, written=file.written and target / _METRICS / file.written.name)
            for file in written
        ),
    )


def _values_file(folder: Path, loss: int) -> Path:
    return folder / f"values_{loss}.npy"


def evaluate(
    plan: ScoringPlan, name: str, table: PoseTable, progress: Progress | None = None
) -> tuple[Values, Values, tuple[str, ...]]:
    """Evaluate the losses on all frames of a recording, ``plan.max_frames`` at once.

    Args:
        plan: which losses, and what else they need.
        name: the recording, for messages.
        table: its keypoints, those of ``plan.names.flat``, of one individual.
        progress: called while it goes on.

    Returns:
        The values of the losses; those of the metrics, which are NaN from where on a loss that
        nobody has asked for cannot be evaluated; and notes.

    Raises:
        DataError: the labels hold a frame twice.
        LplossError: a loss cannot be evaluated; a `PluginError` where its own code fails.
    """
    num_frames = len(table.frames)
    targets = None
    if plan.labels is not None:
        targets = plan.labels
        # Predictions of a single animal without a name need no name in the labels.
        if table.individuals != ("",) or len(targets.individuals) > 1:
            known = tuple(own for own in table.individuals if own in targets.individuals)
            targets = targets.select_individuals(known)
    label_rows = plan.label_rows() if targets is not None and targets.individuals else {}
    labelled = np.array([label_rows.get(frame, -1) for frame in table.frames.tolist()])
    # Metrics that are the very values of a loss are not evaluated again.
    scored = {loss.name for loss in plan.losses}
    others = [
        m for m in plan.metric_losses if (m.metric and m.metric.without) or m.name not in scored
    ]
    num_before = max((loss.num_previous_frames for loss in (*plan.losses, *others)), default=0)
    values: dict[str, Float[np.ndarray, "frames _"]] = {}
    metrics: dict[str, Float[np.ndarray, "frames _"]] = {}
    cut_short: dict[str, str] = {}
    for start in range(0, num_frames, plan.max_frames):
        first, stop = max(0, start - num_before), min(start + plan.max_frames, num_frames)
        piece = table.between(first, stop)
        batch = _batch(plan, piece, labelled[first:stop], targets)
        for loss in plan.losses:
            found = _values(loss, name, batch, piece, start - first)
            _put(values, loss, found, slice(start, stop), num_frames)
        for loss in others:
            if loss.name not in cut_short:
                try:
                    found = _values(loss, name, batch, piece, start - first, as_metric=True)
                except LplossError as error:
                    cut_short[loss.name] = str(error)
                    found = np.zeros((0, 0))
                _put(metrics, loss, found, slice(start, stop), num_frames)
        if progress is not None:
            progress(name, stop)
    notes = table.notes + _notes(plan, name, table, int((labelled >= 0).sum()))
    notes += tuple(
        f"{name}: the metric of the loss {loss!r} ends here: {why}"
        for loss, why in cut_short.items()
    )
    return values, {**values, **metrics}, notes


def _put(
    values: dict[str, Float[np.ndarray, "frames _"]],
    loss: ScoredLoss,
    found: Float[np.ndarray, "new_frames elements"],
    rows: slice,
    num_frames: int,
) -> None:
    """Write the values of some frames into those of all, which have the same precision."""
    if loss.name not in values:
        dtype = found.dtype if found.size else np.float32
        values[loss.name] = np.full((num_frames, len(loss.element_names)), np.nan, dtype)
    if found.size:
        values[loss.name][rows] = found


def _values(
    loss: ScoredLoss,
    name: str,
    batch: Mapping[str, Tensor],
    piece: PoseTable,
    num_repeated: int,
    *,
    as_metric: bool = False,
) -> Float[np.ndarray, "new_frames elements"]:
    try:
        return loss.values(batch, piece.frames, num_repeated, as_metric=as_metric)
    except LplossError:
        raise
    except Exception as error:
        what = f"{name}, frames {piece.frames[0]} to {piece.frames[-1]}: the loss {loss.name!r}"
        raise loss_failed(what, loss.loss_class, error) from error


def _batch(
    plan: ScoringPlan,
    piece: PoseTable,
    labelled: Int64[np.ndarray, "frames"],
    labels: PoseTable | None,
) -> dict[str, Tensor]:
    # How numbers lie in memory depends on the format of the file, and sums depend on that.
    batch = {"keypoints_pred": torch.from_numpy(piece.rows).float().contiguous()}
    if piece.confidences is not None:
        batch["confidences"] = torch.from_numpy(piece.confidences[:, 0]).float()
    if labels is not None:
        targets = np.full(piece.rows.shape, np.nan)
        is_labelled = labelled >= 0
        if is_labelled.any():
            targets[is_labelled] = labels.rows[labelled[is_labelled]]
        batch["keypoints_targ"] = torch.from_numpy(targets).float()
    return batch | camera_inputs(plan.cameras, len(piece.frames))


def _notes(plan: ScoringPlan, name: str, table: PoseTable, num_labelled: int) -> tuple[str, ...]:
    notes = []
    names = dict.fromkeys(
        loss.name for loss in (*plan.losses, *plan.metric_losses) if loss.num_previous_frames
    )
    looking_back = ", ".join(names)
    has_numbers = table.frames_are_numbers
    num_gaps = int((np.diff(table.frames) != 1).sum()) if has_numbers else 0
    if looking_back and not has_numbers:
        notes.append(
            f"{name}: its frames are images, not consecutive frames; {looking_back} has no "
            "value there"
        )
    elif looking_back and num_gaps:
        notes.append(
            f"{name}: {num_gaps} times a frame does not follow the one before it; "
            f"{looking_back} has no value there"
        )
    if plan.labels is not None and not num_labelled:
        whose = "" if table.individuals == ("",) else f" of {table.individuals[0]}"
        notes.append(f"{name}: none of its frames{whose} stands in {plan.labels.path}")
    return tuple(notes)
