"""Scoring one recording, piece by piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from lploss.errors import DataError, LplossError
from lploss_builtin.data.poses.reading import iter_keypoints
from lploss_builtin.data.poses.table import KeypointTable, PoseNames
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.scoring.loss_statistics import LossStatistics
from lploss_builtin.scoring.recording import Progress, Recording, camera_inputs
from lploss_builtin.scoring.scored_loss import ScoredLoss, loss_failed
from lploss_builtin.scoring.summary import ViewRow
from lploss_builtin.scoring.view_agreement import ViewAgreement


@runtime_checkable
class ValueTables(Protocol):
    """Where values are written to, such as `FileTables` and `MetricFiles`."""

    def add(
        self,
        frames: Shaped[np.ndarray, "frames"],
        values: Float64[np.ndarray, "frames elements_of_all_losses"],
    ) -> None:
        """Append frames; values that do not count are NaN."""

    def close(self) -> None:
        """Finish what is written."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRecording:
    """What scoring has found in one recording.

    Attributes:
        statistics: for each loss.
        first_frame: the number of the first frame, where all frames are consecutive; else ``None``.
        last_frame: the greatest number of a frame; ``None`` where frames are images.
        low: the least x and y of all keypoints, px.
        high: the greatest x and y of all keypoints, px.
        notes: what else to know.
        views: how well its views agree, where there are several.
    """

    statistics: tuple[LossStatistics, ...]
    first_frame: int | None
    last_frame: int | None
    low: Float64[np.ndarray, "2"]
    high: Float64[np.ndarray, "2"]
    notes: tuple[str, ...]
    views: tuple[ViewRow, ...] = ()


class RecordingScorer:
    """Evaluates the chosen losses on recordings of the same keypoints.

    Args:
        losses: the losses.
        names: names of the keypoints, in the order in which the losses take them.
        cameras: of the views, where there are several.
        labels: labels to compare predictions of labelled frames with; ``None``: do not.
        max_frames: how many frames are held at once.
        progress: called while it goes on.
        metric_losses: the losses whose metrics are written; those of other losses too.

    Raises:
        DataError: a frame stands twice in the labels.
    """

    def __init__(
        self,
        losses: Sequence[ScoredLoss],
        names: PoseNames,
        cameras: Cameras | None,
        labels: KeypointTable | None,
        max_frames: int,
        progress: Progress,
        metric_losses: Sequence[ScoredLoss] = (),
    ) -> None:
        self._losses = losses
        self._metric_losses = metric_losses
        self._names = names
        self._cameras = cameras
        self._labels = labels
        self._max_frames = max_frames
        self._progress = progress
        self._label_rows: dict[object, int] = {}
        for row, frame in enumerate(labels.frames.tolist() if labels else ()):
            if frame in self._label_rows:
                raise DataError(
                    f"{labels and labels.path}: the frame {frame} stands twice. Keep one of them."
                )
            self._label_rows[frame] = row

    def score(
        self, recording: Recording, *tables: ValueTables, metrics: ValueTables | None = None
    ) -> ScoredRecording:
        """Score a recording.

        Args:
            recording: the recording.
            *tables: where the values are written to.
            metrics: where the values of the metrics are written to.

        Raises:
            DataError: a file of it cannot be used.
            LplossError: a loss cannot be evaluated; a `PluginError` where its own code fails.
        """
        name = recording.name
        statistics = tuple(LossStatistics(loss) for loss in self._losses)
        agreement = self._cameras and ViewAgreement(self._cameras, self._names)
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        first_frame: int | None = None
        last_frame: int | None = None
        num_scored = num_labelled = num_gaps = 0
        previous: int | None = None
        num_previous_frames = max(
            (loss.num_previous_frames for loss in (*self._losses, *self._metric_losses)), default=0
        )
        cut_short: dict[str, str] = {}
        reading_notes: tuple[str, ...] = ()
        self._progress(name, 0)
        for piece in iter_keypoints(recording.files, self._max_frames, num_previous_frames):
            table = piece.select(self._names.flat)
            frames = table.frames[table.num_previous_frames :]
            labelled = self._rows_of_labels(table.frames)
            values = [self._values(loss, name, table, labelled) for loss in self._losses]
            for own in tables:
                own.add(frames, np.concatenate(values, axis=1))
            if metrics is not None:
                scored = {loss.name: own for loss, own in zip(self._losses, values, strict=True)}
                of_metrics = self._metric_values(name, table, labelled, scored, cut_short)
                metrics.add(frames, of_metrics)
            for one, found in zip(statistics, values, strict=True):
                one.add(name, table, num_scored, found)
            if agreement:
                agreement.add(table)
            points = table.keypoints.reshape(-1, 2)
            low, high = np.fmin(low, np.fmin.reduce(points)), np.fmax(high, np.fmax.reduce(points))
            num_labelled += int((labelled[table.num_previous_frames :] >= 0).sum())
            if frames.dtype.kind == "i":
                ordered = frames if previous is None else np.concatenate([[previous], frames])
                num_gaps += int((np.diff(ordered) != 1).sum())
                previous = int(frames[-1])
                first_frame = int(frames[0]) if first_frame is None else first_frame
                last_frame = max(int(frames.max()), -1 if last_frame is None else last_frame)
            num_scored += len(frames)
            reading_notes = table.notes
            self._progress(name, num_scored)
        notes = reading_notes + self._notes(name, last_frame is not None, num_labelled, num_gaps)
        notes += tuple(
            f"{name}: the metric of the loss {loss!r} ends here: {why}"
            for loss, why in cut_short.items()
        )
        if num_gaps:
            first_frame = None
        views = agreement.rows() if agreement else ()
        return ScoredRecording(statistics, first_frame, last_frame, low, high, notes, views)

    def _rows_of_labels(self, frames: Shaped[np.ndarray, "frames"]) -> Shaped[np.ndarray, "frames"]:
        """Return the row of each frame in the labels, -1 where it is not labelled."""
        return np.array([self._label_rows.get(frame, -1) for frame in frames.tolist()])

    def _values(
        self,
        loss: ScoredLoss,
        name: str,
        table: KeypointTable,
        labelled: Shaped[np.ndarray, "frames"],
        *,
        as_metric: bool = False,
    ) -> Float64[np.ndarray, "new_frames elements"]:
        try:
            return loss.values(
                self._batch(table, labelled),
                table.frames,
                table.num_previous_frames,
                as_metric=as_metric,
            )
        except LplossError:
            raise
        except Exception as error:
            what = f"{name}, frames {table.frames[0]} to {table.frames[-1]}: the loss {loss.name!r}"
            raise loss_failed(what, loss.loss_class, error) from error

    def _metric_values(
        self,
        name: str,
        table: KeypointTable,
        labelled: Shaped[np.ndarray, "frames"],
        scored: Mapping[str, Float64[np.ndarray, "new_frames elements"]],
        failed: dict[str, str],
    ) -> Float64[np.ndarray, "new_frames elements_of_all_metrics"]:
        """Return the values of the metrics; say in ``failed`` which cannot be evaluated, and why.

        A loss that nobody has asked for hinders no other one.
        """
        found = []
        for loss in self._metric_losses:
            own = None if loss.metric_without else scored.get(loss.name)
            if own is None:
                num_frames = len(table.frames) - table.num_previous_frames
                own = np.full((num_frames, len(loss.element_names)), np.nan)
                if loss.name not in failed:
                    try:
                        own = self._values(loss, name, table, labelled, as_metric=True)
                    except LplossError as error:
                        failed[loss.name] = str(error)
            found.append(own)
        return np.concatenate(found, axis=1)

    def _batch(
        self, table: KeypointTable, labelled: Shaped[np.ndarray, "frames"]
    ) -> dict[str, Tensor]:
        # How numbers lie in memory depends on the format of the file, and sums depend on that.
        batch = {"keypoints_pred": torch.from_numpy(table.keypoints).float().contiguous()}
        if table.confidences is not None:
            batch["confidences"] = torch.from_numpy(table.confidences).float()
        if self._labels is not None:
            targets = np.where((labelled >= 0)[:, None], self._labels.keypoints[labelled], np.nan)
            batch["keypoints_targ"] = torch.from_numpy(targets).float()
        return batch | camera_inputs(self._cameras, len(table.frames))

    def _notes(
        self, name: str, has_numbers: bool, num_labelled: int, num_gaps: int
    ) -> tuple[str, ...]:
        notes = []
        names = dict.fromkeys(
            loss.name for loss in (*self._losses, *self._metric_losses) if loss.num_previous_frames
        )
        looking_back = ", ".join(names)
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
        if self._labels is not None and not num_labelled:
            notes.append(f"{name}: none of its frames stands in {self._labels.path}")
        return tuple(notes)
