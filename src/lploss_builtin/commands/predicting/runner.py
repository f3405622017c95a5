"""Predicting images with a trained model: finding, reading, predicting, writing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from lploss.errors import ArgumentValueError, first_line
from lploss_builtin.commands.predicting.crops import with_boxes
from lploss_builtin.commands.predicting.find_recordings import find_recordings
from lploss_builtin.commands.predicting.frame_predictions import predict_frames
from lploss_builtin.commands.predicting.image_frames import ImageFrames
from lploss_builtin.commands.predicting.points_in_space import points_in_space
from lploss_builtin.commands.predicting.prediction_files import PredictionFiles
from lploss_builtin.commands.predicting.recording import Recording
from lploss_builtin.commands.predicting.recording_cameras import (
    with_found_cameras,
    with_given_cameras,
)
from lploss_builtin.commands.predicting.summary import PredictedRecording, PredictionSummary
from lploss_builtin.commands.staged_folder import staged_folder

_Path: TypeAlias = str | PathLike[str]

#: Called with the name of a recording, the number of frames that are done, and that of all.
Progress: TypeAlias = Callable[[str, int, int], None]

_CHECKPOINTS = ("best", "last")
_BATCH_SIZE = 32
_TRAINED_ON_CROPS = (
    "the model was trained on crops (data.bbox_file): unless the images are such crops, name their "
    "boxes by --bbox"
)


def predict_files(
    run: _Path,
    inputs: Sequence[_Path],
    *,
    out: _Path | None = None,
    checkpoint: str = "best",
    views: Sequence[str] | None = None,
    calibration: _Path | None = None,
    bbox_files: Sequence[_Path] = (),
    batch_size: int | None = None,
    device: str = "auto",
    keep_going: bool = False,
    progress: Progress | None = None,
) -> PredictionSummary:
    """Predict the keypoints in images with a trained model.

    For each view of each recording a CSV is written, with the columns x, y (px in the original
    image) and likelihood of each keypoint; where cameras are known, one more with the points in
    space, triangulated from all views, each weighted by its likelihood. Nothing appears before
    everything is finished. Memory does not grow with the number of frames, but for their names.

    Any subset of the views of the training will do.

    Args:
        run: folder of the training.
        inputs: folders of images, or of such folders, or CSV files that name images in their
            first column; see `find_recordings`.
        out: the folder to write to; ``predictions`` in that of the training unless given.
        checkpoint: ``"best"`` in validation, or ``"last"``.
        views: which views to use; all that are there unless given.
        calibration: the cameras of all recordings; else they are looked for beside the images
            and in the project that the model was trained with.
        bbox_files: a file of bounding boxes for each view, where the model sees crops.
        batch_size: frames that are predicted at once; that of tests in the config unless given.
        device: of PyTorch; ``"auto"``: a GPU where there is one.
        keep_going: leave the rows of images empty that are missing or cannot be read; the other
            views of the frame are predicted without them.
        progress: called while it goes on.

    Returns:
        What was predicted.

    Raises:
        ConfigError: ``run`` is no folder of a training.
        DataError: images, boxes or cameras cannot be used; the message lists all that is wrong
            before the first prediction, after it the first image that cannot be read.
        ArgumentValueError: an argument cannot be used.
        MissingDependencyError: a package is not installed.
    """
    # Lightning takes seconds.
    from lploss_builtin.training.run import TrainingRun

    if checkpoint not in _CHECKPOINTS:
        raise ArgumentValueError(f"checkpoint must be best or last, got {checkpoint!r}")
    if batch_size is not None and batch_size < 1:
        raise ArgumentValueError(f"batch_size must be at least 1, got {batch_size}")
    training = TrainingRun(Path(run))
    training.checkpoint(checkpoint)
    config = training.config
    recordings, notes = _recordings(
        config, [Path(path) for path in inputs], views, bbox_files, keep_going
    )
    if calibration is not None:
        recordings = with_given_cameras(recordings, Path(calibration))
    else:
        recordings, more = with_found_cameras(
            recordings, _data_folder(config), _calibration_of_data(config)
        )
        notes = (*notes, *more)
    folder = Path(run) / "predictions" if out is None else Path(out)
    _check_nothing_is_lost(recordings, folder)
    predictor = _Predictor(
        training.model(checkpoint).to(_device(device)),
        config,
        batch_size or config.training.test_batch_size or _BATCH_SIZE,
        sum(recording.num_frames for recording in recordings),
        progress or (lambda name, num_done, num_frames: None),
        keep_going,
    )
    with staged_folder(folder) as staging:
        predicted = tuple(predictor.predict(recording, staging) for recording in recordings)
    return PredictionSummary(predicted, tuple(predictor.unreadable), notes, folder)


def _recordings(
    config: DictConfig,
    inputs: Sequence[Path],
    views: Sequence[str] | None,
    bbox_files: Sequence[_Path],
    keep_going: bool,
) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    found = find_recordings(
        inputs, _view_names(config), views, _data_folder(config), keep_going=keep_going
    )
    if bbox_files:
        files = [Path(file) for file in bbox_files]
        return with_boxes(found, files, keep_going=keep_going), ()
    if config.data.bbox_file:
        return found, (_TRAINED_ON_CROPS,)
    return found, ()


def _view_names(config: DictConfig) -> tuple[str, ...]:
    return tuple(config.data.view_names or ())


def _data_folder(config: DictConfig) -> Path | None:
    return Path(config.data.data_dir) if config.data.data_dir else None


def _calibration_of_data(config: DictConfig) -> Path | None:
    """Return the calibration of all sessions that the config names; not a table of several."""
    folder, file = _data_folder(config), config.data.camera_params_file
    if folder is None or not file or Path(file).suffix.lower() == ".csv":
        return None
    return folder / file


def _check_nothing_is_lost(recordings: Sequence[Recording], out: Path) -> None:
    sources = {own.source.resolve() for recording in recordings for own in recording.views}
    for recording in recordings:
        for file in recording.files:
            if (out / file).resolve() in sources:
                raise ArgumentValueError(
                    f"the predictions would replace {out / file}, which names the images. Name "
                    "another folder by --out."
                )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentValueError(
            f"the device {name!r} cannot be used: {first_line(error)}"
        ) from error
    return device


class _Predictor:
    """Predicts recordings, one after the other, with one model."""

    def __init__(
        self,
        model: nn.Module,
        config: DictConfig,
        batch_size: int,
        num_frames: int,
        progress: Progress,
        keep_going: bool,
    ) -> None:
        self._model, self._config, self._batch_size = model, config, batch_size
        self._num_frames, self._num_done = num_frames, 0
        self._progress, self._keep_going = progress, keep_going
        self.unreadable: list[str] = []

    def predict(self, recording: Recording, folder: Path) -> PredictedRecording:
        """Write the predictions of a recording into a folder."""
        config = self._config
        size, view_names = config.data.image_resize_dims, _view_names(config)
        views = [view_names.index(own.view) for own in recording.views] if view_names else None
        images = ImageFrames(recording, (size.height, size.width), keep_going=self._keep_going)
        found = predict_frames(
            self._model,
            images,
            views=views,
            batch_size=self._batch_size,
            precision=config.training.precision,
        )
        likelihood, error = _Mean(), _Mean()
        scorer, names = config.model.model_type, tuple(config.data.keypoint_names)
        self._progress(recording.name, self._num_done, self._num_frames)
        with closing(PredictionFiles(folder, recording, scorer, names)) as files:
            for frames in found:
                numbers = frames.index.tolist()
                sessions = [recording.sessions[number] for number in numbers]
                in_space = None
                if recording.cameras:
                    in_space = points_in_space(
                        frames.keypoints, frames.confidences, sessions, recording.cameras
                    )
                    error.add(in_space.errors)
                likelihood.add(frames.confidences)
                files.write(frames, in_space)
                self._num_done += len(numbers)
                self._progress(recording.name, self._num_done, self._num_frames)
        self.unreadable += [images.unreadable[image] for image in sorted(images.unreadable)]
        return PredictedRecording(
            recording.name,
            tuple(own.view for own in recording.views),
            recording.num_frames,
            likelihood.value,
            error.value,
            recording.files,
        )


class _Mean:
    """The mean of all values that are numbers; NaN where there is none."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: Tensor) -> None:
        self._sum += values.nansum().item()
        self._count += int((~values.isnan()).sum())

    @property
    def value(self) -> float:
        return self._sum / self._count if self._count else math.nan
