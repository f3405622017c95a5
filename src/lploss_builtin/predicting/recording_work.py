"""Predicting the frames of a recording, and writing them batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import torch
from einops import rearrange
from omegaconf import DictConfig
from torch import nn

from lploss_builtin.ops import affine
from lploss_builtin.predicting.frame_predictions import FramePredictions
from lploss_builtin.predicting.mean_value import MeanValue
from lploss_builtin.predicting.model_predictor import ModelPredictor
from lploss_builtin.predicting.points_in_space import points_in_space
from lploss_builtin.predicting.prediction_files import (
    PredictionFiles,
    prediction_headers,
)
from lploss_builtin.predicting.recording_plan import RecordingPlan
from lploss_builtin.predicting.stopwatch import Stopwatch
from lploss_builtin.predicting.summary import PredictedRecording
from lploss_builtin.predicting.unread_frames import UnreadFrames
from lploss_builtin.predicting.video_frames import VideoFrames, read_video_frames
from lploss_builtin.predicting.written_rows import (
    cut_off_after,
    iter_rows,
    num_complete_rows,
)

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
