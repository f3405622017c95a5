"""Predictions, metric files and labelled videos of the videos that a config names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig

from lploss.errors import first_line
from lploss.registry import Registry, default_registry
from lploss_builtin.data.poses.reading import read_header, read_poses
from lploss_builtin.data.poses.table import PoseNames, PoseTable
from lploss_builtin.evaluation.eval_section import EvalTasks, PredictionsToPlot
from lploss_builtin.evaluation.finished_steps import FinishedSteps, stamps
from lploss_builtin.output import replaced_files
from lploss_builtin.predicting.labelled_video import LabelledVideo, write_labelled_video
from lploss_builtin.predicting.preparation import prepare_recordings
from lploss_builtin.predicting.recording_plan import Recording as PredictedFrames
from lploss_builtin.predicting.runner import Progress, predict_files
from lploss_builtin.scoring.loss_choice import Material, choose_losses
from lploss_builtin.scoring.metric_files import called_after, place_beside, write_metric_files
from lploss_builtin.scoring.recording import Recording
from lploss_builtin.scoring.score_recording import ScoringPlan, evaluate
from lploss_builtin.scoring.summary import short_names
from lploss_builtin.training.run import TrainingRun

#: In the folder of the training.
FOLDER = "video_preds"
#: In the folder of the predictions.
LABELLED = "labeled_videos"


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedVideos:
    """What was made of videos.

    Attributes:
        files: the files that were written.
        notes: what else to know.
        failed: what could not be done, and why.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]
    failed: tuple[str, ...]


def evaluate_videos(
    run: TrainingRun,
    tasks: EvalTasks,
    labels: PoseTable | None,
    steps: FinishedSteps,
    registry: Registry = default_registry,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> EvaluatedVideos:
    """Predict all videos of a folder, write metric files beside the predictions, draw videos.

    Args:
        run: the training.
        tasks: what is asked for.
        labels: what losses are fitted to; ``None``: those that need labels have no metric files.
        steps: records the finished steps.
        registry: where the losses are looked up.
        progress: called while it goes on.
        overwrite: whether to repeat predictions that are finished.

    Raises:
        DataError: no video can be read.
    """
    if tasks.videos is None:
        return EvaluatedVideos((), (), ())
    config, out = run.config, run.folder / (tasks.predictions or FOLDER)
    device = "cpu" if config.training.accelerator == "cpu" else "auto"
    summary = predict_files(
        run.folder, [tasks.videos], out=out, device=device, overwrite=overwrite, progress=progress
    )
    files = [out / file for recording in summary.recordings for file in recording.files]
    failed = list(summary.failed)
    done = {recording.name for recording in summary.recordings}
    notes = list(summary.notes)
    for frames in prepare_recordings(config, [tasks.videos]).recordings:
        if frames.name not in done:
            continue
        drawing = tasks.labelled_videos
        predictions = stamps(out / file for file in frames.files)
        # What each step calls, and what it depends on.
        work: dict[str, tuple[Callable[[], tuple[list[Path], list[str]]], list[Any]]] = {
            f"metrics of {frames.name}": (
                partial(_write_metrics, frames, out, config, labels, registry),
                [predictions, labels is None],
            ),
            f"labelled videos of {frames.name}": (
                partial(_draw, frames, out, drawing),
                [predictions, None if drawing is None else asdict(drawing)],
            ),
        }
        for step, (write, sources) in work.items():
            try:
                if (more_notes := steps.finished(step, sources)) is None:
                    more_files, more_notes = write()
                    steps.finish(step, more_files, more_notes, sources)
            except Exception as error:  # the other videos can be done without it
                failed.append(f"{step}: {first_line(error)}")
            else:
                files += steps.files(step)
                notes += more_notes
    return EvaluatedVideos(tuple(files), tuple(notes), tuple(failed))


def draw_predictions(
    to_plot: PredictionsToPlot, folder: Path, style: LabelledVideo
) -> tuple[Path, ...]:
    """Draw files of predictions into a video, each into one of its own.

    Args:
        to_plot: the video and the predictions.
        folder: where the labelled videos go.
        style: how to draw.

    Raises:
        DataError: the video or a file of predictions cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = short_names([str(file) for file in to_plot.files])
    written = []
    for file in to_plot.files:
        written.append(folder / f"{names[str(file)]}_labeled.mp4")
        write_labelled_video(to_plot.source, file, written[-1], **asdict(style))
    return tuple(written)


def _write_metrics(
    predicted: PredictedFrames,
    out: Path,
    config: DictConfig,
    labels: PoseTable | None,
    registry: Registry,
) -> tuple[list[Path], list[str]]:
    recording = Recording(predicted.name, _prediction_files(predicted, out), ())
    cameras = predicted.cameras.get(predicted.name)
    header = read_header(recording.files)
    names = PoseNames(header.keypoint_names, header.view_names)
    material = Material(
        names,
        config,
        labels.select(names.flat) if labels else None,
        has_confidences=header.has_confidences,
        has_targets=False,
        registry=registry,
        cameras=cameras,
    )
    losses, _ = choose_losses(material, every=True)
    table = read_poses(recording.files).select(names.flat)
    scoring = ScoringPlan((), names, losses, cameras)
    _, values, score_notes = evaluate(scoring, recording.name, table)
    with (
        replaced_files(out) as staged,
        ExitStack() as stack,
        TemporaryDirectory(dir=staged.folder) as waiting,
    ):
        frames = {"": table.frames.tolist()}
        files = called_after([recording])[0]
        metrics = write_metric_files(Path(waiting), losses, names, files, frames, values)
        placed, notes = place_beside(metrics, staged, out, stack)
    return [Path(file) for file in placed], [*score_notes, *notes]


def _draw(
    frames: PredictedFrames, out: Path, style: LabelledVideo | None
) -> tuple[list[Path], list[str]]:
    if style is None:
        return [], []
    folder = out / LABELLED
    folder.mkdir(exist_ok=True)
    written = []
    for source, file in zip(frames.sources, frames.files, strict=True):
        written.append(folder / f"{Path(file).stem}_labeled.mp4")
        write_labelled_video(source, out / file, written[-1], **asdict(style))
    return written, []


def _prediction_files(frames: PredictedFrames, out: Path) -> str | Mapping[str, str]:
    paths = [str(out / file) for file in frames.files]
    if frames.views == ("",):
        return paths[0]
    return dict(zip(frames.views, paths, strict=True))
