"""Predicting one recording completely, wherever its plan leads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from einops import rearrange
from omegaconf import DictConfig
from torch import nn

from lploss.errors import ArgumentValueError
from lploss_builtin.data.frames.video_nvidia import decoder_of
from lploss_builtin.ops import affine
from lploss_builtin.predicting.frame_predictions import FramePredictions
from lploss_builtin.predicting.labelled_video import write_labelled_video
from lploss_builtin.predicting.model_predictor import ModelPredictor, device_of
from lploss_builtin.predicting.points_in_space import points_in_space
from lploss_builtin.predicting.prediction_files import (
    PredictionFiles,
    UnreadFrames,
    cut_off_after,
    iter_rows,
    num_complete_rows,
    prediction_headers,
)
from lploss_builtin.predicting.recording_plan import (
    LabelledVideo,
    RecordingPlan,
    name_of_labelled_video,
)
from lploss_builtin.predicting.recording_state import STATE_FOLDER, RecordingState
from lploss_builtin.predicting.summary import MeanValue, PredictedRecording, Stopwatch
from lploss_builtin.predicting.video_frames import VideoFrames, read_video_frames


def check_nothing_is_outdated(plans: Iterable[RecordingPlan]) -> None:
    """Check that no files of other views, or of cameras, would stay beside the new ones.

    Raises:
        ArgumentValueError: some would; the message names them.
    """
    lines = []
    for plan in plans:
        found = RecordingState(plan.out, plan.name).outdated(plan.all_files)
        if found is None or plan.overwrite:
            continue
        before, now = (", ".join(filter(None, views)) for views in (found.views, plan.views))
        told = f" from {before}, and is now to be from {now}" if before != now else ""
        lines.append(
            f"{plan.name} was predicted before{told}: {', '.join(found.files)} would stay there "
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
    found = state.outdated(plan.all_files)
    files = () if found is None else found.files
    videos = dict.fromkeys(name_of_labelled_video(file) for file in (*plan.files, *files))
    drawn = [
        name
        for name in videos
        if name not in plan.video_files and (plan.out / STATE_FOLDER / f"{name}.json").is_file()
    ]
    return (*files, *drawn)


#: Called with the number of frames that are done.
FrameProgress: TypeAlias = Callable[[int], None]


class RecordingWork:
    """The predictions of one recording, from the first frame that is not predicted yet.

    Args:
        plan: what to predict.
        config: of the training.
        folder: where the files are being written.
        progress: called with the number of frames that are done.
    """

    def __init__(
        self,
        plan: RecordingPlan,
        config: DictConfig,
        folder: Path,
        progress: FrameProgress | None = None,
    ) -> None:
        self._plan, self._config, self._folder = plan, config, folder
        self._progress: FrameProgress = progress or (lambda num_done: None)
        size = config.data.image_resize_dims
        self._image_size = (size.height, size.width)
        self._scorer = config.model.model_type
        self._names = tuple(config.data.keypoint_names)
        self._headers = prediction_headers(len(plan.files), self._scorer, self._names)
        self._unread = UnreadFrames(folder, plan.sources)
        self._likelihood, self._error = MeanValue(), MeanValue()
        self._stopwatch = Stopwatch()

    @property
    def may_go_on(self) -> bool:
        """Whether what was begun can be a part of what is wanted."""
        return self._plan.keep_going or not self._unread

    def done(self, load_model: Callable[[], nn.Module], device: torch.device) -> PredictedRecording:
        """Write the rows that are missing, and return what was predicted."""
        plan = self._plan
        start = self._go_on()
        self._progress(start)
        options = {"append": start > 0}
        with closing(
            PredictionFiles(
                self._folder, plan.files, plan.file_3d, self._scorer, self._names, **options
            )
        ) as files:
            if start < plan.num_frames:
                for found in self._predictions(load_model(), device, start):
                    with self._stopwatch.measure("writing"):
                        self._write(files, found)
                    self._progress(int(found.index[-1]) + 1)
        return PredictedRecording(
            plan.name,
            plan.views,
            plan.num_frames,
            self._likelihood.value,
            self._error.value,
            plan.all_files,
            unreadable=self._unread.lines(),
            num_kept_frames=start,
            seconds=self._stopwatch.seconds,
            decoder=plan.decoder,
        )

    def _go_on(self) -> int:
        """Return the first frame to predict, and cut off what stands behind the one before."""
        plan = self._plan
        headers = [*self._headers[:-1], *([self._headers[-1]] if plan.file_3d else [])]
        paths = [self._folder / file for file in plan.all_files]
        found = [num_complete_rows(p, header) for p, header in zip(paths, headers, strict=True)]
        num_rows = min(*found, plan.num_frames) if found else 0
        # In other batches the last digits of a model may be others.
        start = num_rows if num_rows == plan.num_frames else num_rows - num_rows % plan.batch_size
        self._unread.keep_before(start)
        if not start:
            return 0
        for path, header in zip(paths, headers, strict=True):
            cut_off_after(path, header, start)
            is_3d = path.name == plan.file_3d
            for numbers in iter_rows(path, header, start, 4 if is_3d else 3):
                mean = self._error if is_3d else self._likelihood
                mean.add(torch.from_numpy(numbers[..., -1]))
        return start

    def _predictions(
        self, model: nn.Module, device: torch.device, start: int
    ) -> Iterator[FramePredictions]:
        plan, config = self._plan, self._config
        known = tuple(config.data.view_names or ())
        predictor = ModelPredictor(
            model,
            views=[known.index(view) for view in plan.views] if known else None,
            device=device,
            precision=config.training.precision,
        )
        to_original = self._to_original()
        num_context = predictor.num_context_frames
        frames = read_video_frames(
            plan.sources,
            self._image_size,
            num_frames=plan.num_frames,
            start=start,
            batch_size=plan.batch_size,
            num_context_frames=num_context,
            crops=plan.crops or None,
            keep_going=plan.keep_going,
            decoder=plan.decoder,
        )
        for batch in self._stopwatch.waiting("decoding", frames):
            self._note_unread(batch, num_context)
            with self._stopwatch.measure("model"):
                found = predictor.predict_sequence(batch.images, batch.is_read)
            keypoints = affine.transform(found.keypoints, to_original)
            index = torch.arange(batch.start, batch.stop)
            yield FramePredictions(index, keypoints, found.confidences)

    def _note_unread(self, batch: VideoFrames, num_context: int) -> None:
        own = slice(num_context, num_context + batch.stop - batch.start)
        if not batch.is_read[own].all():
            self._unread.add(batch.start, batch.is_read[own].numpy())

    def _to_original(self) -> torch.Tensor:
        """Return the maps from px of the model's input to those of the original images."""
        plan = self._plan
        crops: Sequence[Any] = plan.crops or [None] * len(plan.sources)
        offsets = plan.offsets or [(0.0, 0.0)] * len(plan.sources)
        boxes = [
            crop or (0.0, 0.0, float(source.height), float(source.width))
            for crop, source in zip(crops, plan.sources, strict=True)
        ]
        own = [
            (x + box[0], y + box[1], box[2], box[3])
            for (x, y), box in zip(offsets, boxes, strict=True)
        ]
        height, width = map(float, self._image_size)
        to_input = affine.crop_and_resize(torch.tensor(own, dtype=torch.float64), (height, width))
        return rearrange(affine.inverse(to_input), "view xy abc -> 1 view xy abc")

    def _write(self, files: PredictionFiles, found: FramePredictions) -> None:
        plan = self._plan
        in_space = None
        if plan.cameras is not None:
            sessions = [plan.name] * len(found.index)
            in_space = points_in_space(
                found.keypoints, found.confidences, sessions, {plan.name: plan.cameras}
            )
            self._error.add(in_space.errors)
        self._likelihood.add(found.confidences)
        numbers = [str(frame) for frame in found.index.tolist()]
        files.write([numbers] * len(plan.files), found, in_space)
        files.flush()


def trained_model(plan: RecordingPlan) -> nn.Module:
    """Return the model of a plan; the last one is kept, for other recordings in this process.

    Raises:
        ConfigError: the folder is none of a training, or its model is not known here.
    """
    return _trained_model(plan.run.absolute(), plan.checkpoint, plan.weights)


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
        plan: what to do; `lploss_builtin.predicting.video_plans.plan_recordings` makes
            the plans of a call.
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
    device = device_of(plan.device)
    plan = replace(plan, decoder=decoder_of(plan.decoder, device))
    inputs = plan.inputs(_settings(config), device.type)
    state = RecordingState(plan.out, plan.name)
    with state.alone():
        found = state.finished(inputs, partial(_as_noted, plan))
        if plan.overwrite or found is None or (found.unreadable and not plan.keep_going):
            work = RecordingWork(
                plan, config, state.unfinished, progress or (lambda num_done: None)
            )
            check_nothing_is_outdated([plan])
            state.begin(inputs, anew=plan.overwrite or not work.may_go_on)
            found = work.done(lambda: load_model(plan), device)
            outdated = outdated_files(plan, state) if plan.overwrite else ()
            state.finish(inputs, plan.all_files, _note(found), outdated=outdated)
        elif progress is not None:
            progress(plan.num_frames)
    if plan.video is None:
        return found
    start = time.perf_counter()
    drawn_share = _draw(plan, plan.video, inputs)
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
        plan.views,
        plan.num_frames,
        likelihood,
        error,
        plan.all_files,
        unreadable=tuple(map(str, note["unreadable"])),
        num_kept_frames=plan.num_frames,
        decoder=plan.decoder,
    )


def _draw(plan: RecordingPlan, style: LabelledVideo, inputs: Mapping[str, Any]) -> float:
    """Draw the labelled videos that are not there; return which share of keypoints they show."""
    shares = MeanValue()
    for source, file, video in zip(plan.sources, plan.files, plan.video_files, strict=True):
        state = RecordingState(plan.out, video)
        all_inputs = {"predictions": dict(inputs), **asdict(style)}
        with state.alone():
            shown = state.finished(all_inputs, lambda note: _number(note["drawn_share"]))
            if shown is not None and not plan.overwrite:
                shares.add(torch.tensor([shown], dtype=torch.float64))
                continue
            state.begin(all_inputs, anew=True)
            share = write_labelled_video(
                source,
                plan.out / file,
                state.unfinished / video,
                confidence_threshold=style.confidence_threshold,
                colormap=style.colormap,
                keep_going=plan.keep_going,
            )
            noted = None if math.isnan(share) else share
            state.finish(all_inputs, (video,), {"drawn_share": noted})
            shares.add(torch.tensor([share], dtype=torch.float64))
    return shares.value


def _number(noted: Any) -> float:
    return math.nan if noted is None else float(noted)
