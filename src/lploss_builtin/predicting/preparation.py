"""What there is to predict: its recordings, with their boxes, cameras and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from lploss_builtin.data.cameras.session_names import session_and_view
from lploss_builtin.predicting.cameras import (
    CameraPlaces,
    note_on_cameras,
    with_cameras,
)
from lploss_builtin.predicting.crops import with_boxes, with_one_box
from lploss_builtin.predicting.find_recordings import (
    FoundVideos,
    find_recordings,
    find_videos,
    inputs_by_kind,
)
from lploss_builtin.predicting.recording_plan import Recording

_TRAINED_ON_CROPS = (
    "the model was trained on crops (data.bbox_file): unless the images are such crops, name their "
    "boxes by --bbox"
)


class Prepared(NamedTuple):
    """What is to be predicted.

    Attributes:
        recordings: those of images, then those of videos.
        failed: a line for each video or recording of videos that cannot be predicted.
        notes: what else to know.
    """

    recordings: tuple[Recording, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]


def prepare_recordings(
    config: DictConfig,
    inputs: Sequence[Path],
    *,
    views: Sequence[str] | None = None,
    calibration: Path | None = None,
    bbox_files: Sequence[Path] = (),
    keep_going: bool = False,
) -> Prepared:
    """Find what there is to predict, with its boxes and cameras.

    Args:
        config: of the training.
        inputs: see `lploss_builtin.predicting.predict_files`, likewise the other arguments.
        views: which views to use; all that are there unless given.
        calibration: the cameras of all recordings.
        bbox_files: a file of bounding boxes for each view.
        keep_going: whether images and frames may be missing.

    Raises:
        ArgumentValueError: a view is none of the model's, it cannot be told which box is of which
            view, or a calibration is given for a single view.
        DataError: images, boxes or the calibration cannot be used.
    """
    view_names = tuple(config.data.view_names or ())
    data_folder = Path(config.data.data_dir) if config.data.data_dir else None
    given = inputs_by_kind(inputs)
    recordings: tuple[Recording, ...] = ()
    if given.images or not given.videos:
        recordings = find_recordings(
            given.images, view_names, views, data_folder, keep_going=keep_going
        )
        if bbox_files:
            recordings = with_boxes(recordings, bbox_files, keep_going=keep_going)
    found = FoundVideos((), (), ())
    if given.videos:
        found = find_videos(given.videos, view_names, views, keep_going=keep_going)
    of_videos, failed = found.recordings, found.failed
    if bbox_files:
        of_videos, more_failed = with_one_box(of_videos, bbox_files)
        failed += more_failed
    places = CameraPlaces(calibration, data_folder, _calibration_of_data(config, data_folder))
    notes = [*given.notes, *found.notes]
    placed, calibrated = [], []
    for recording in (*recordings, *of_videos):
        recording, more_notes = with_cameras(recording, places)
        placed.append(recording)
        notes += more_notes
        if more_notes or recording.cameras:
            calibrated.append(recording.name)
    if views is None:
        notes += _notes_on_views(placed, given.videos, view_names)
    if note := note_on_cameras(placed, calibrated):
        notes.append(note)
    if config.data.bbox_file and not bbox_files:
        notes.append(_TRAINED_ON_CROPS)
    return Prepared(tuple(placed), failed, tuple(notes))


def _calibration_of_data(config: DictConfig, data_folder: Path | None) -> Path | None:
    """Return the calibration of all sessions that the config names; not a table of several."""
    file = config.data.camera_params_file
    if data_folder is None or not file or Path(file).suffix.lower() == ".csv":
        return None
    return data_folder / file


def _notes_on_views(
    recordings: Iterable[Recording], videos: Iterable[Path], view_names: Sequence[str]
) -> list[str]:
    """Return notes on recordings that are predicted from some views of the model only.

    Args:
        recordings: the recordings.
        videos: all that were given, those that cannot be read included.
        view_names: the model's views.
    """
    given = {session_and_view(path, view_names) for path in videos} if view_names else set()
    lacking: dict[str, dict[str, list[str]]] = {}
    for recording in recordings:
        for view in view_names:
            if view in recording.views:
                continue
            if recording.has_images:
                why = "of which there are no images"
            elif (recording.name, view) in given:
                why = "whose video cannot be read"
            else:
                why = "of which there is no video"
            lacking.setdefault(recording.name, {}).setdefault(why, []).append(view)
    together: dict[str, list[str]] = {}
    for name, reasons in lacking.items():
        for why, views in reasons.items():
            together.setdefault(f"{', '.join(views)}, {why}", []).append(name)
    return [f"{', '.join(names)}: predicted without {what}" for what, names in together.items()]
