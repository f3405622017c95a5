"""Predicting one recording completely, wherever its plan leads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from omegaconf import DictConfig
from torch import nn

from lploss.errors import ArgumentValueError
from lploss_builtin.data.frames.video_nvidia import decoder_of
from lploss_builtin.ops import affine
from lploss_builtin.predicting.cameras import points_in_space
from lploss_builtin.predicting.frame_batches import FrameReading, read_batches
from lploss_builtin.predicting.frame_predictions import FramePredictions, ModelPredictor, device_of
from lploss_builtin.predicting.labelled_video import LabelledVideo, write_labelled_video
from lploss_builtin.predicting.prediction_files import (
    PredictionFiles,
    UnreadFrames,
    cut_off_after,
    num_complete_rows,
    prediction_headers,
    read_rows,
)
from lploss_builtin.predicting.recording_plan import (
    RecordingPlan,
    name_of_labelled_video,
)
from lploss_builtin.predicting.recording_state import STATE_FOLDER, RecordingState
from lploss_builtin.predicting.summary import MeanValue, PredictedRecording, Stopwatch


def check_nothing_is_outdated(plans: Iterable[RecordingPlan]) -> None:
    """Check that no files of other views, or of cameras, would stay beside the new ones.

    Raises:
        ArgumentValueError: some would; the message names them.
    """
    lines = []
    for plan in plans:
        state = RecordingState(plan.out, plan.name)
        files, views = state.outdated(plan.recording.all_files)
        if not files or plan.options.overwrite:
            continue
        before, now = (", ".join(filter(None, own)) for own in (views, plan.recording.views))
        told = f" from {before}, and is now to be from {now}" if before != now else ""
        lines.append(
            f"{plan.name} was predicted before{told}: {', '.join(files)} would stay there "
            "and no longer fit"
        )
    if lines:
        raise ArgumentValueError(
            "\n".join(lines) + "\nName another folder by --out, or remove what is outdated by "
            "--overwrite."
        )


def outdated_files(plan: RecordingPlan, state: RecordingState) -> tuple[str, ...]:
    """Return the files that no longer fit once a recording is predicted.

    These are the files of its earlier predictions that are not replaced, and the labelled videos
    of all of them that are not drawn anew.
    """
    files, _ = state.outdated(plan.recording.all_files)
    videos = dict.fromkeys(name_of_labelled_video(file) for file in (*plan.recording.files, *files))
    drawn = [
        name
        for name in videos
        if name not in plan.video_files and (plan.out / STATE_FOLDER / f"{name}.json").is_file()
    ]
    return (*files, *drawn)


#: Called with the number of frames that are done.
FrameProgress: TypeAlias = Callable[[int], None]


class _Work:
    """The predictions of one recording, from the first frame that is not predicted yet.

    Args:
        plan: what to predict.
        config: of the training.
        folder: where the files are being written.
        progress: called with the number of frames that are done.
    """

    def __init__(
        self, plan: RecordingPlan, config: DictConfig, folder: Path, progress: FrameProgress
    ) -> None:
        self._plan, self._config, self._folder = plan, config, folder
        self._recording, self._progress = plan.recording, progress
        size = config.data.image_resize_dims
        self._image_size = (size.height, size.width)
        self._scorer = config.model.model_type
        self._names = tuple(config.data.keypoint_names)
        self._unread = UnreadFrames(folder, self._recording.sources)
        self._likelihood, self._error = MeanValue(), MeanValue()
        self._stopwatch = Stopwatch()

    @property
    def may_go_on(self) -> bool:
        """Whether what was begun can be a part of what is wanted."""
        return self._plan.options.keep_going or not self._unread

    def done(self, load_model: Callable[[], nn.Module], device: torch.device) -> PredictedRecording:
        """Write the rows that are missing, and return what was predicted."""
        recording = self._recording
        start = self._go_on()
        self._progress(start)
        with closing(
            PredictionFiles(
                self._folder,
                recording.files,
                recording.file_3d,
                self._scorer,
                self._names,
                append=start > 0,
            )
        ) as files:
            if start < recording.num_frames:
                for found in self._predictions(load_model(), device, start):
                    with self._stopwatch.measure("writing"):
                        self._write(files, found)
                    self._progress(int(found.index[-1]) + 1)
        return PredictedRecording(
            recording.name,
            recording.views,
            recording.num_frames,
            self._likelihood.value,
            self._error.value,
            recording.all_files,
            unreadable=self._unread.lines(),
            num_kept_frames=start,
            seconds=self._stopwatch.seconds,
            decoder=_decoder(self._plan),
        )

    def _go_on(self) -> int:
        """Return the first frame to predict, and cut off what stands behind the one before."""
        recording = self._recording
        headers = prediction_headers(len(recording.files), self._scorer, self._names)
        # The file in space, the last, calls the frames as the first view does.
        tables = [
            (self._folder / file, header, source.row_name)
            for file, header, source in zip(
                recording.all_files,
                headers,
                (*recording.sources, recording.sources[0]),
                strict=False,
            )
        ]
        num_rows = min(*(num_complete_rows(*table) for table in tables), recording.num_frames)
        # In other batches the last digits of a model may be others.
        start = num_rows
        if num_rows < recording.num_frames:
            start -= num_rows % self._plan.batch_size
        self._unread.keep_before(start)
        if not start:
            return 0
        for path, header, _ in tables:
            cut_off_after(path, header, start)
            is_3d = path.name == recording.file_3d
            numbers = read_rows(path, header, start, 4 if is_3d else 3)
            mean = self._error if is_3d else self._likelihood
            mean.add(torch.from_numpy(numbers[..., -1]))
        return start

    def _predictions(
        self, model: nn.Module, device: torch.device, start: int
    ) -> Iterator[FramePredictions]:
        plan, config, recording = self._plan, self._config, self._recording
        known = tuple(config.data.view_names or ())
        predictor = ModelPredictor(
            model,
            views=[known.index(view) for view in recording.views] if known else None,
            device=device,
            precision=config.training.precision,
        )
        how = FrameReading(
            self._image_size,
            plan.batch_size,
            predictor.num_context_frames,
            keep_going=plan.options.keep_going,
            decoder=plan.options.decoder,
        )
        batches = read_batches(recording.sources, range(start, recording.num_frames), how)
        for batch in self._stopwatch.waiting("decoding", batches):
            if not batch.are_predicted_read.all():
                self._unread.add(batch.start, batch.are_predicted_read)
            with self._stopwatch.measure("model"):
                found = predictor.predict_batch(batch)
            to_input = affine.crop_and_resize(
                batch.boxes, (float(self._image_size[0]), float(self._image_size[1]))
            )
            keypoints = affine.transform(found.keypoints, affine.inverse(to_input))
            index = torch.arange(batch.start, batch.stop)
            yield FramePredictions(index, keypoints, found.confidences)

    def _write(self, files: PredictionFiles, found: FramePredictions) -> None:
        recording, numbers = self._recording, found.index.tolist()
        in_space = None
        if recording.cameras:
            sessions = recording.sessions_of(numbers[0], numbers[-1] + 1)
            in_space = points_in_space(
                found.keypoints, found.confidences, sessions, recording.cameras
            )
            self._error.add(in_space.errors)
        self._likelihood.add(found.confidences)
        names = [[source.row_name(number) for number in numbers] for source in recording.sources]
        files.write(names, found, in_space)


def trained_model(plan: RecordingPlan) -> nn.Module:
    """Return the model of a plan; the last one is kept, for other recordings in this process.

    Raises:
        ConfigError: the folder is none of a training, or its model is not known here.
    """
    return _trained_model(plan.run.absolute(), plan.options.checkpoint, plan.weights)


def predict_recording(
    plan: RecordingPlan,
    *,
    load_model: Callable[[RecordingPlan], nn.Module] = trained_model,
    progress: FrameProgress | None = None,
) -> PredictedRecording:
    """Predict a recording, and write all its files; they appear when all of them are complete.

    What is there already from the very same inputs is kept, and what was begun goes on behind its
    last complete batch: the files are the same, byte for byte, as without an interruption. Of two
    processes that get the same plan, one waits for the other, and then finds the files there.

    This is what a process of a cluster is to call: the plan is all that it needs.

    Args:
        plan: what to do; `predict_files` makes the plans of a call.
        load_model: returns the model; called where a frame is to be predicted only.
        progress: called while it goes on.

    Returns:
        What was predicted.

    Raises:
        DataError: a video cannot be read.
        ConfigError: the run is no folder of a training.
        ArgumentValueError: the device or the output folder cannot be used, or files of earlier
            predictions, from other views, would stay beside the new ones.
        MissingDependencyError: NVIDIA's decoder is asked for and cannot be used.
    """
    # Lightning takes seconds.
    from lploss_builtin.training.run import TrainingRun

    config = TrainingRun(plan.run).config
    device = device_of(plan.options.device)
    decoder = "cpu" if plan.recording.has_images else decoder_of(plan.options.decoder, device)
    plan = replace(plan, options=replace(plan.options, decoder=decoder))
    inputs = plan.inputs(_settings(config), device.type)
    state = RecordingState(plan.out, plan.name)
    with state.alone():
        found = state.finished(inputs, partial(_as_noted, plan))
        if (
            plan.options.overwrite
            or found is None
            or (found.unreadable and not plan.options.keep_going)
        ):
            work = _Work(plan, config, state.unfinished, progress or (lambda num_done: None))
            check_nothing_is_outdated([plan])
            state.begin(inputs, anew=plan.options.overwrite or not work.may_go_on)
            found = work.done(lambda: load_model(plan), device)
            outdated = outdated_files(plan, state) if plan.options.overwrite else ()
            state.finish(inputs, plan.recording.all_files, _note(found), outdated=outdated)
        elif progress is not None:
            progress(plan.recording.num_frames)
    if plan.options.video is None:
        return found
    start = time.perf_counter()
    drawn_share = _draw(plan, plan.options.video, inputs)
    return replace(
        found,
        files=(*found.files, *plan.video_files),
        drawing_seconds=time.perf_counter() - start,
        drawn_share=drawn_share,
    )


@lru_cache(maxsize=1)
def _trained_model(run: Path, checkpoint: str, weights: str) -> nn.Module:
    from lploss_builtin.training.run import TrainingRun

    return TrainingRun(run).model(checkpoint)


def _settings(config: DictConfig) -> dict[str, Any]:
    """Return what of the config the predictions hang on, beside the weights."""
    size = config.data.image_resize_dims
    return {
        "model_type": config.model.model_type,
        "image_size": [size.height, size.width],
        "keypoint_names": list(config.data.keypoint_names),
        "precision": str(config.training.precision),
    }


def _note(found: PredictedRecording) -> dict[str, Any]:
    content = asdict(found)
    for name in ("num_kept_frames", "seconds", "drawing_seconds", "drawn_share"):
        del content[name]
    for name in ("likelihood", "reprojection_error"):
        content[name] = None if math.isnan(content[name]) else content[name]
    return content


def _as_noted(plan: RecordingPlan, note: Mapping[str, Any]) -> PredictedRecording:
    likelihood, error = (_number(note[name]) for name in ("likelihood", "reprojection_error"))
    if not isinstance(note["unreadable"], list):
        raise TypeError(f"unreadable must be a list, got {note['unreadable']!r}")
    return PredictedRecording(
        plan.name,
        plan.recording.views,
        plan.recording.num_frames,
        likelihood,
        error,
        plan.recording.all_files,
        unreadable=tuple(map(str, note["unreadable"])),
        num_kept_frames=plan.recording.num_frames,
        decoder=_decoder(plan),
    )


def _draw(plan: RecordingPlan, style: LabelledVideo, inputs: Mapping[str, Any]) -> float:
    """Draw the labelled videos that are not there; return which share of keypoints they show."""
    shares = MeanValue()
    for source, file, video in zip(
        plan.recording.sources, plan.recording.files, plan.video_files, strict=True
    ):
        state = RecordingState(plan.out, video)
        all_inputs = {"predictions": dict(inputs), **asdict(style)}
        with state.alone():
            shown = state.finished(all_inputs, lambda note: _number(note["drawn_share"]))
            if shown is not None and not plan.options.overwrite:
                shares.add(torch.tensor([shown], dtype=torch.float64))
                continue
            state.begin(all_inputs, anew=True)
            share = write_labelled_video(
                source,
                plan.out / file,
                state.unfinished / video,
                confidence_threshold=style.confidence_threshold,
                colormap=style.colormap,
                keep_going=plan.options.keep_going,
            )
            noted = None if math.isnan(share) else share
            state.finish(all_inputs, (video,), {"drawn_share": noted})
            shares.add(torch.tensor([share], dtype=torch.float64))
    return shares.value


def _decoder(plan: RecordingPlan) -> str | None:
    return None if plan.recording.has_images else plan.options.decoder


def _number(noted: Any) -> float:
    return math.nan if noted is None else float(noted)
