"""Scoring one recording into a folder of its own, in whichever process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from lploss_builtin.data.poses.reading import read_keypoints
from lploss_builtin.data.poses.table import KeypointTable, PoseNames
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.output import whole_folder
from lploss_builtin.scoring.loss_statistics import LossStatistics
from lploss_builtin.scoring.metric_files import MetricFile, MetricFiles
from lploss_builtin.scoring.pictures import draw_pictures
from lploss_builtin.scoring.recording import Progress, Recording
from lploss_builtin.scoring.recording_scorer import RecordingScorer, ValueTables
from lploss_builtin.scoring.score_tables import FileTables
from lploss_builtin.scoring.scored_loss import ScoredLoss
from lploss_builtin.scoring.summary import ScoreRow, ViewRow

_FILES, _TABLES, _METRICS = "files", "tables", "metrics"


@dataclass(frozen=True, slots=True, eq=False)
class ScoringPlan:
    """What is the same for all recordings of a scoring; other processes get it by pickle.

    Attributes:
        folder: each recording makes a folder in it.
        losses: the losses.
        metric_losses: the losses that have metric files.
        names: names of the keypoints, in the order in which the losses take them.
        cameras: of the views, where there are several.
        labels: labels to compare predictions of labelled frames with.
        frames_are_numbers: whether the frames of all recordings have numbers.
        max_frames: how many frames are held at once.
        pictures: whether to draw.
    """

    folder: Path
    losses: Sequence[ScoredLoss]
    metric_losses: Sequence[ScoredLoss]
    names: PoseNames
    cameras: Cameras | None
    labels: KeypointTable | None
    frames_are_numbers: bool
    max_frames: int
    pictures: bool

    def scorer(self, progress: Progress | None = None) -> RecordingScorer:
        """Return what scores the recordings.

        Raises:
            DataError: a frame stands twice in the labels.
        """
        return RecordingScorer(
            self.losses,
            self.names,
            self.cameras,
            self.labels,
            self.max_frames,
            progress or (lambda name, num_frames: None),
            self.metric_losses,
        )


@dataclass(frozen=True, slots=True)
class RecordingToScore:
    """One recording of a scoring.

    Attributes:
        number: its place among all.
        recording: the recording.
        short_name: its name in pictures and files.
        metric_files: for each view after which file its metric files are called, see
            `MetricFiles`; ``None``: there are none.
    """

    number: int
    recording: Recording
    short_name: str
    metric_files: Mapping[str, Path] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RecordingScores:
    """What the scoring of one recording leaves, beside its folder.

    Attributes:
        folder: holds ``files/``, which go to the output folder as they are, the tables, and the
            metric files.
        num_frames: how many frames were scored.
        rows: of the summary, one for each loss.
        statistics: for each loss, to be merged with those of the other recordings.
        notes: what else to know.
        views: how well its views agree, where there are several.
        metric_files: the metric files, and where they belong.
    """

    folder: Path
    num_frames: int
    rows: tuple[ScoreRow, ...]
    statistics: tuple[LossStatistics, ...]
    notes: tuple[str, ...]
    views: tuple[ViewRow, ...]
    metric_files: tuple[MetricFile, ...] = ()

    @property
    def files(self) -> Path:
        """The folder with the files that go to the output folder."""
        return self.folder / _FILES

    @property
    def tables(self) -> Path:
        """Path of the tables, without suffix."""
        return self.folder / _TABLES


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
    recording = task.recording
    target = plan.folder / str(task.number)
    with whole_folder(target) as folder:
        files = folder / _FILES
        files.mkdir()
        tables = FileTables(folder / _TABLES, recording.name, plan.losses, plan.frames_are_numbers)
        metrics = _metric_files(plan, task, folder / _METRICS)
        with ExitStack() as stack:
            written: list[ValueTables] = [tables, *([metrics] if metrics else [])]
            for own in written:
                stack.enter_context(closing(own))
            scored = plan.scorer(progress).score(recording, tables, metrics=metrics)
        if plan.pictures:
            drawn = files / "pictures" / task.short_name
            draw_pictures(drawn, task.short_name, recording, scored, plan.names, plan.cameras)
    statistics = scored.statistics
    return RecordingScores(
        target,
        statistics[0].series.num_frames,
        tuple(one.row(recording.name) for one in statistics),
        statistics,
        scored.notes,
        scored.views,
        tuple(
            replace(file, written=file.written and target / _METRICS / file.written.name)
            for file in (metrics.files if metrics else ())
        ),
    )


def _metric_files(plan: ScoringPlan, task: RecordingToScore, folder: Path) -> MetricFiles | None:
    if task.metric_files is None:
        return None
    files = task.recording.files
    frames: dict[str, Sequence[object]] = {}
    if isinstance(files, Mapping) and not plan.frames_are_numbers:
        # Together they go by a name that all views share.
        frames = {view: read_keypoints(file).frames.tolist() for view, file in files.items()}
    return MetricFiles(folder, plan.metric_losses, plan.names, task.metric_files, frames=frames)
