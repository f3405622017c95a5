"""Predicting images and videos with a trained model: finding, reading, predicting, writing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from omegaconf import DictConfig
from torch import nn

from lploss.config import value_at
from lploss.errors import ArgumentValueError, DataError, ProcessError
from lploss_builtin.data.frames.video_nvidia import decoder_of
from lploss_builtin.predicting.frame_predictions import device_of
from lploss_builtin.predicting.predict_recording import (
    check_nothing_is_outdated,
    predict_recording,
)
from lploss_builtin.predicting.preparation import prepare_recordings
from lploss_builtin.predicting.recording_plan import (
    PathOrStr,
    PredictOptions,
    Recording,
    RecordingPlan,
    file_hash,
)
from lploss_builtin.predicting.recording_state import STATE_FOLDER
from lploss_builtin.predicting.summary import PredictedRecording, PredictionSummary
from lploss_builtin.spreading import Outcome, spread

#: Called with the name of a recording, the number of frames that are done, and that of all.
Progress: TypeAlias = Callable[[str, int, int], None]

_BATCH_SIZE = 32
_LITTLE_DRAWN = 0.1


def predict_files(
    run: PathOrStr,
    inputs: Sequence[PathOrStr],
    *,
    out: PathOrStr | None = None,
    options: PredictOptions | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> PredictionSummary:
    """Predict the keypoints in images and videos with a trained model.

    For each view of each recording a CSV is written, with the columns x, y (px in the original
    image) and likelihood of each keypoint; where cameras are known, one more with the points in
    space, triangulated from all views, each weighted by its likelihood. Memory does not grow with
    the number of frames, except for the names of images.

    The files of each recording appear when it is complete. What is there already from the very
    same weights, frames and settings is kept, and an interrupted recording goes on: see
    `predict_recording`.

    Any subset of the views of the training can be predicted.

    Args:
        run: folder of the training.
        inputs: videos, and folders that hold such; folders of images, or of such folders, or CSV
            files that name images in their first column.
        out: the folder to write to; ``predictions`` in that of the training unless given.
        options: how to predict.
        progress: called while it goes on.
        changes: values of `PredictOptions`, instead of those in ``options``.

    Returns:
        What was predicted. Of several recordings, one that cannot be read is in ``failed``.

    Raises:
        ConfigError: ``run`` is no folder of a training.
        DataError: images, boxes or cameras cannot be used; the message lists all that is wrong
            before the first prediction. Or no recording can be read.
        ArgumentValueError: an argument cannot be used.
        ProcessError: the cluster cannot be reached or does not fit.
        MissingDependencyError: a package is not installed.
    """
    # Lightning takes seconds.
    from lploss_builtin.training.run import TrainingRun

    options = replace(options or PredictOptions(), **changes)
    options.check()
    training = TrainingRun(Path(run))
    weights = file_hash(training.checkpoint(options.checkpoint))
    config = training.config
    folder = Path(run) / "predictions" if out is None else Path(out)
    given = prepare_recordings(
        config,
        [Path(path) for path in inputs],
        views=options.views,
        calibration=None if options.calibration is None else Path(options.calibration),
        bbox_files=[Path(path) for path in options.bbox_files],
        keep_going=options.keep_going,
    )
    device = device_of(options.device)
    if options.scheduler is None and any(not own.has_images for own in given.recordings):
        decoder_of(options.decoder, device)  # which may be missing
    model = training.model(options.checkpoint)
    plans = [
        RecordingPlan(
            recording,
            Path(run),
            weights,
            folder,
            options.batch_size or _frames_at_once(config, model, recording),
            options,
        )
        for recording in given.recordings
    ]
    _check_no_file_is_lost(plans, folder)
    check_nothing_is_outdated(plans)
    predicted: list[PredictedRecording] = []
    failed = list(given.failed)
    with closing(_predict_all(plans, model, options, progress)) as outcomes:
        for plan, outcome in zip(plans, outcomes, strict=True):
            try:
                predicted.append(outcome.result)
            except (DataError, ProcessError) as error:
                failed.append(f"{plan.name}: {error}")
    if not predicted:
        raise _cannot_be_predicted(failed)
    notes = list(given.notes)
    if (video := options.video) is not None:
        notes += [
            f"{own.name}: {100 * own.drawn_share:.2g} % of its keypoints are drawn: the others "
            f"have a likelihood below {video.confidence_threshold:g}, see --confidence"
            for own in predicted
            if own.drawn_share < _LITTLE_DRAWN
        ]
    unreadable = tuple(line for own in predicted for line in own.unreadable)
    return PredictionSummary(tuple(predicted), unreadable, tuple(notes), folder, tuple(failed))


def _cannot_be_predicted(failed: Sequence[str]) -> DataError:
    if not failed:
        return DataError("there are no videos of the views that were asked for")
    if len(failed) == 1:
        return DataError(failed[0])
    return DataError("nothing can be predicted:\n" + "\n".join(f"  {line}" for line in failed))


def _frames_at_once(config: DictConfig, model: nn.Module, recording: Recording) -> int:
    length = None
    if not recording.has_images:
        kind = "context" if getattr(model, "num_context_frames", 0) else "base"
        length = value_at(config, f"dali.{kind}.predict.sequence_length")
    return int(length or config.training.test_batch_size or _BATCH_SIZE)


def _check_no_file_is_lost(plans: Iterable[RecordingPlan], out: Path) -> None:
    """Check that no file is written twice, or over a video or a list that is to be predicted."""
    sources = {own.path.resolve() for plan in plans for own in plan.recording.sources}
    of_files: dict[str, RecordingPlan] = {}
    for plan in plans:
        for file in (*plan.recording.all_files, *plan.video_files):
            if (out / file).resolve() in sources:
                what, why = (
                    (f"the labelled video of {plan.name}", "is to be predicted")
                    if file in plan.video_files
                    else ("the predictions", "names the images")
                )
                raise ArgumentValueError(
                    f"{what} would replace {out / file}, which {why}. Name another folder by --out."
                )
        for file in (*plan.recording.all_files, *plan.video_files, f"{STATE_FOLDER}/{plan.name}"):
            earlier = of_files.setdefault(file, plan)
            if earlier is not plan:
                one, other = (own.recording.sources[0].path for own in (earlier, plan))
                raise DataError(
                    f"{one} and {other} would both be written to {file}. Predict them one after "
                    "the other, each with an --out of its own."
                )


def _predict_all(
    plans: Sequence[RecordingPlan],
    model: nn.Module,
    options: PredictOptions,
    progress: Progress | None,
) -> Generator[Outcome[PredictedRecording]]:
    """Follow the plans, here or spread; yield how each ended, in their order."""
    names = [plan.name for plan in plans]
    lengths = [plan.recording.num_frames for plan in plans]
    processes, scheduler = options.processes, options.scheduler
    num_done = 0

    def tell(name: str, num_more: int) -> None:
        if progress is not None:
            progress(name, num_done + num_more, sum(lengths))

    def finish(outcome: Outcome[PredictedRecording]) -> None:
        """Count all frames of a recording as done, even if it failed."""
        nonlocal num_done
        num_done += lengths[outcome.number]

    if scheduler is None and min(processes, len(plans)) <= 1:

        def predict_here(plan: RecordingPlan) -> PredictedRecording:
            return predict_recording(
                plan, load_model=lambda _: model, progress=partial(tell, plan.name)
            )

        return spread(predict_here, plans, names=names, processes=processes, progress=finish)

    def tell_finished(outcome: Outcome[PredictedRecording]) -> None:
        tell(names[outcome.number], lengths[outcome.number])
        finish(outcome)

    if scheduler is not None and plans:
        plans[0].out.mkdir(parents=True, exist_ok=True)  # which all workers must see
    return spread(
        predict_recording,
        # Workers of a cluster were started in other folders.
        [plan.absolute() for plan in plans],
        names=names,
        processes=processes,
        scheduler=scheduler,
        folder=plans[0].out if plans else None,
        progress=tell_finished,
    )
