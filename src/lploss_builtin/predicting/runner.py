"""Predicting images and videos with a trained model: finding, reading, predicting, writing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from omegaconf import DictConfig
from torch import nn

from lploss.config import value_at
from lploss.errors import ArgumentValueError, DataError, ProcessError
from lploss_builtin.data.frames.video_nvidia import check_decoder, decoder_of
from lploss_builtin.output import replaced_files
from lploss_builtin.predicting.crops import with_boxes
from lploss_builtin.predicting.find_recordings import Recording, find_recordings, inputs_by_kind
from lploss_builtin.predicting.frame_predictions import predict_frames
from lploss_builtin.predicting.image_frames import ImageFrames
from lploss_builtin.predicting.model_predictor import device_of
from lploss_builtin.predicting.points_in_space import points_in_space
from lploss_builtin.predicting.predict_recording import check_nothing_is_outdated, predict_recording
from lploss_builtin.predicting.prediction_files import PredictionFiles
from lploss_builtin.predicting.recording_cameras import (
    with_found_cameras,
    with_given_cameras,
)
from lploss_builtin.predicting.recording_plan import (
    LabelledVideo,
    RecordingPlan,
    file_hash,
)
from lploss_builtin.predicting.summary import (
    MeanValue,
    PredictedRecording,
    PredictionSummary,
    Stopwatch,
)
from lploss_builtin.predicting.video_plans import (
    CameraPlaces,
    PlannedVideos,
    notes_on_images,
    plan_recordings,
)
from lploss_builtin.spreading import Outcome, spread

_LITTLE = 0.1


def notes_on_drawing(
    recordings: Iterable[PredictedRecording], style: LabelledVideo, *, has_images: bool
) -> list[str]:
    """Return notes on recordings of which few keypoints are drawn, and on images.

    Args:
        recordings: what was predicted.
        style: how it was to be drawn.
        has_images: whether images are among it.

    Example:
        >>> walk = PredictedRecording("walk", ("",), 9, 0.2, 0.0, (), drawn_share=0.004)
        >>> notes_on_drawing([walk], LabelledVideo(0.9), has_images=False)[0].partition(": the")[0]
        'walk: 0.4 % of its keypoints are drawn'
    """
    notes = [
        f"{own.name}: {100 * own.drawn_share:.2g} % of its keypoints are drawn: the others have a "
        f"likelihood below {style.confidence_threshold:g}, see --confidence"
        for own in recordings
        if own.drawn_share < _LITTLE
    ]
    if has_images:
        notes.append("nothing is drawn into images: --video is for videos")
    return notes


#: Called with the name of a recording, the number of frames that are done, and that of all.
Progress: TypeAlias = Callable[[str, int, int], None]


class RecordingCount:
    """Adds up what is done of one recording after the other.

    Args:
        num_frames: of all recordings.
        progress: what is told.

    Example:
        >>> count = RecordingCount(7, print)
        >>> count.of("walk")(5)
        walk 5 7
        >>> count.finish(5)
        >>> count.of("run")(1)
        run 6 7
    """

    def __init__(self, num_frames: int, progress: Progress) -> None:
        self._num_frames, self._num_done, self._progress = num_frames, 0, progress

    def of(self, name: str) -> Callable[[int], None]:
        """Return what to call with the number of frames that are done of a recording."""

        def progress(num_done: int) -> None:
            self._progress(name, self._num_done + num_done, self._num_frames)

        return progress

    def finish(self, num_frames: int) -> None:
        """Count all frames of a recording as done, even if it failed."""
        self._num_done += num_frames


def predict_all(
    plans: Sequence[RecordingPlan],
    load_model: Callable[[], nn.Module],
    count: RecordingCount,
    *,
    processes: int = 1,
    scheduler: str | None = None,
) -> Generator[Outcome[PredictedRecording]]:
    """Follow the plans; yield how each ended, in their order.

    Args:
        plans: what to predict.
        load_model: returns the model, where all is done here; elsewhere each process loads it.
        count: gets what is done; with processes or a cluster, when a recording is done.
        processes: of this machine; see `spread`.
        scheduler: of a Dask cluster, which does it instead.

    Yields:
        How each recording ended.
    """
    names = [plan.name for plan in plans]
    if scheduler is None and min(processes, len(plans)) <= 1:

        def predict_here(plan: RecordingPlan) -> PredictedRecording:
            progress = count.of(plan.name)
            return predict_recording(plan, load_model=lambda _: load_model(), progress=progress)

        return spread(
            predict_here,
            plans,
            names=names,
            processes=processes,
            progress=lambda outcome: count.finish(plans[outcome.number].num_frames),
        )

    def note(outcome: Outcome[PredictedRecording]) -> None:
        plan = plans[outcome.number]
        count.of(plan.name)(plan.num_frames)
        count.finish(plan.num_frames)

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
        progress=note,
    )


_Path: TypeAlias = str | PathLike[str]

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
    decoder: str = "auto",
    keep_going: bool = False,
    overwrite: bool = False,
    video: LabelledVideo | None = None,
    processes: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> PredictionSummary:
    """Predict the keypoints in images and videos with a trained model.

    For each view of each recording a CSV is written, with the columns x, y (px in the original
    image) and likelihood of each keypoint; where cameras are known, one more with the points in
    space, triangulated from all views, each weighted by its likelihood. Memory does not grow with
    the number of frames, but for the names of images.

    Of images nothing appears before everything is finished. The files of each recording of videos
    appear when it is; what is there already from the very same weights, videos and settings is
    kept, and an interrupted recording goes on: see `predict_recording`.

    Any subset of the views of the training will do.

    Args:
        run: folder of the training.
        inputs: videos, and folders that hold such; folders of images, or of such folders, or CSV
            files that name images in their first column; see `find_recordings`.
        out: the folder to write to; ``predictions`` in that of the training unless given.
        checkpoint: ``"best"`` in validation, or ``"last"``.
        views: which views to use; all that are there unless given.
        calibration: the cameras of all recordings; else they are looked for beside the images and
            videos and in the project that the model was trained with.
        bbox_files: a file of bounding boxes for each view, where the model sees crops.
        batch_size: frames that are predicted at once; that of the config unless given.
        device: of PyTorch; ``"auto"``: a GPU where there is one.
        decoder: what decodes videos, ``"cpu"`` or ``"cuda"`` for NVIDIA's decoder; ``"auto"``:
            that of NVIDIA where the model runs on a GPU and torchcodec is installed.
        keep_going: leave the rows of images and frames empty that are missing or cannot be read;
            the other views of the frame are predicted without them.
        overwrite: whether to predict videos once more whose predictions are there. Files of
            earlier predictions of the same recordings that no longer fit are removed then; else
            they are an error.
        video: how to draw the keypoints into videos; ``None``: not at all.
        processes: how many recordings of videos are predicted at once, each by a process of this
            machine; see `lploss_builtin.spreading.spread`.
        scheduler: of a Dask cluster, which predicts the videos instead.
        progress: called while it goes on.

    Returns:
        What was predicted. Of several videos, one that cannot be read is in ``failed``.

    Raises:
        ConfigError: ``run`` is no folder of a training.
        DataError: images, boxes or cameras cannot be used; the message lists all that is wrong
            before the first prediction, after it the first image that cannot be read. Or no video
            can be read.
        ArgumentValueError: an argument cannot be used.
        ProcessError: the cluster cannot be reached or is not fit.
        MissingDependencyError: a package is not installed.
    """
    # Lightning takes seconds.
    from lploss_builtin.training.run import TrainingRun

    if checkpoint not in _CHECKPOINTS:
        raise ArgumentValueError(f"checkpoint must be best or last, got {checkpoint!r}")
    if batch_size is not None and batch_size < 1:
        raise ArgumentValueError(f"batch_size must be at least 1, got {batch_size}")
    check_decoder(decoder)
    if video is not None:
        video.check()
    training = TrainingRun(Path(run))
    weights = training.checkpoint(checkpoint)
    config = training.config
    folder = Path(run) / "predictions" if out is None else Path(out)
    given = inputs_by_kind([Path(path) for path in inputs])
    places = CameraPlaces(
        None if calibration is None else Path(calibration),
        _data_folder(config),
        _calibration_of_data(config),
    )
    recordings: tuple[Recording, ...] = ()
    notes = given.notes
    if given.images or not given.videos:
        recordings, more = _recordings(config, given.images, views, bbox_files, keep_going, places)
        notes = (*notes, *more)
        _check_nothing_is_lost(recordings, folder)
    torch_device = device_of(device)
    if given.videos and scheduler is None:
        decoder_of(decoder, torch_device)  # which may be missing
    model = training.model(checkpoint)
    planned = PlannedVideos((), (), ())
    if given.videos:
        pattern = RecordingPlan(
            run=Path(run),
            checkpoint=checkpoint,
            weights=file_hash(weights),
            out=folder,
            batch_size=batch_size or _frames_at_once(config, model),
            device=device,
            decoder=decoder,
            keep_going=keep_going,
            overwrite=overwrite,
            video=video,
        )
        planned = plan_recordings(
            pattern,
            given.videos,
            _view_names(config),
            chosen=views,
            cameras=places,
            bbox_files=[Path(file) for file in bbox_files],
        )
        notes = (*notes, *planned.notes)
        _check_no_video_is_lost(planned.plans, recordings, folder)
        check_nothing_is_outdated(planned.plans)
    if config.data.bbox_file and not bbox_files:
        notes = (*notes, _TRAINED_ON_CROPS)
    count = RecordingCount(
        sum(own.num_frames for own in recordings) + sum(own.num_frames for own in planned.plans),
        progress or (lambda name, num_done, num_frames: None),
    )
    predicted: list[PredictedRecording] = []
    if recordings:
        predictor = _Predictor(
            model.to(torch_device),
            config,
            batch_size or config.training.test_batch_size or _BATCH_SIZE,
            count,
            keep_going,
        )
        with replaced_files(folder) as staged:
            predicted += [predictor.predict(recording, staged.folder) for recording in recordings]
    failed = list(planned.failed)
    with closing(
        predict_all(planned.plans, lambda: model, count, processes=processes, scheduler=scheduler)
    ) as outcomes:
        for plan, outcome in zip(planned.plans, outcomes, strict=True):
            try:
                predicted.append(outcome.result)
            except (DataError, ProcessError) as error:
                failed.append(f"{plan.name}: {error}")
    if not predicted:
        raise _cannot_be_predicted(failed)
    if video is not None:
        notes = (*notes, *notes_on_drawing(predicted, video, has_images=bool(recordings)))
    unreadable = tuple(line for own in predicted for line in own.unreadable)
    return PredictionSummary(tuple(predicted), unreadable, notes, folder, tuple(failed))


def _cannot_be_predicted(failed: Sequence[str]) -> DataError:
    if not failed:
        return DataError("there are no videos of the views that were asked for")
    if len(failed) == 1:
        return DataError(failed[0])
    return DataError("nothing can be predicted:\n" + "\n".join(f"  {line}" for line in failed))


def _frames_at_once(config: DictConfig, model: nn.Module) -> int:
    kind = "context" if getattr(model, "num_context_frames", 0) else "base"
    length = value_at(config, f"dali.{kind}.predict.sequence_length")
    return int(length or config.training.test_batch_size or _BATCH_SIZE)


def _recordings(
    config: DictConfig,
    inputs: Sequence[Path],
    views: Sequence[str] | None,
    bbox_files: Sequence[_Path],
    keep_going: bool,
    places: CameraPlaces,
) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    """Return the recordings of images, and notes on their views and cameras."""
    recordings = find_recordings(
        inputs, _view_names(config), views, places.data_folder, keep_going=keep_going
    )
    if bbox_files:
        files = [Path(file) for file in bbox_files]
        recordings = with_boxes(recordings, files, keep_going=keep_going)
    notes = () if views is not None else tuple(notes_on_images(recordings, _view_names(config)))
    if places.given is not None:
        return with_given_cameras(recordings, places.given), notes
    recordings, more = with_found_cameras(recordings, places.data_folder, places.of_data)
    return recordings, (*notes, *more)


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


def _check_no_video_is_lost(
    plans: Sequence[RecordingPlan], recordings: Sequence[Recording], out: Path
) -> None:
    sources = {own.path.resolve() for plan in plans for own in plan.sources}
    of_images = {file for recording in recordings for file in recording.files}
    for plan in plans:
        for file in (*plan.all_files, *plan.video_files):
            if (out / file).resolve() in sources:
                raise ArgumentValueError(
                    f"the labelled video of {plan.name} would replace {out / file}, which is to be "
                    "predicted. Name another folder by --out."
                )
            if file in of_images:
                raise ArgumentValueError(
                    f"images and videos would both be written to {out / file}. Predict them one "
                    "after the other, each with an --out of its own."
                )


class _Predictor:
    """Predicts recordings, one after the other, with one model."""

    def __init__(
        self,
        model: nn.Module,
        config: DictConfig,
        batch_size: int,
        count: RecordingCount,
        keep_going: bool,
    ) -> None:
        self._model, self._config, self._batch_size = model, config, batch_size
        self._count, self._keep_going = count, keep_going

    def predict(self, recording: Recording, folder: Path) -> PredictedRecording:
        """Write the predictions of a recording into a folder."""
        config = self._config
        size, view_names = config.data.image_resize_dims, _view_names(config)
        views = [view_names.index(own.view) for own in recording.views] if view_names else None
        images = ImageFrames(
            recording,
            (size.height, size.width),
            keep_going=self._keep_going,
            num_context_frames=getattr(self._model, "num_context_frames", 0),
        )
        stopwatch = Stopwatch()
        found = predict_frames(
            self._model,
            images,
            views=views,
            batch_size=self._batch_size,
            precision=config.training.precision,
            stopwatch=stopwatch,
        )
        likelihood, error = MeanValue(), MeanValue()
        scorer, names = config.model.model_type, tuple(config.data.keypoint_names)
        num_done, progress = 0, self._count.of(recording.name)
        progress(0)
        view_files = [own.file for own in recording.views]
        with closing(
            PredictionFiles(folder, view_files, recording.file_3d, scorer, names)
        ) as files:
            for frames in found:
                with stopwatch.measure("writing"):
                    numbers = frames.index.tolist()
                    sessions = [recording.sessions[number] for number in numbers]
                    in_space = None
                    if recording.cameras:
                        in_space = points_in_space(
                            frames.keypoints, frames.confidences, sessions, recording.cameras
                        )
                        error.add(in_space.errors)
                    likelihood.add(frames.confidences)
                    called = [[own.names[number] for number in numbers] for own in recording.views]
                    files.write(called, frames, in_space)
                num_done += len(numbers)
                progress(num_done)
        self._count.finish(num_done)
        return PredictedRecording(
            recording.name,
            tuple(own.view for own in recording.views),
            recording.num_frames,
            likelihood.value,
            error.value,
            recording.files,
            unreadable=tuple(images.unreadable[image] for image in sorted(images.unreadable)),
            seconds=stopwatch.seconds,
        )
