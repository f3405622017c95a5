"""What there is to predict: its recordings, with their boxes, cameras and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from omegaconf import DictConfig

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.cameras.view_names import session_and_view, views_named_in
from lploss_builtin.data.findings import Findings, Kind
from lploss_builtin.data.frames.images import read_image_sizes
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.project.bounding_boxes import boxes_of, read_boxes
from lploss_builtin.predicting.cameras import (
    note_on_cameras,
    with_cameras,
)
from lploss_builtin.predicting.find_recordings import (
    FoundFrames,
    find_recordings,
    find_videos,
    inputs_by_kind,
)
from lploss_builtin.predicting.recording_plan import Recording

_NO_IMAGES = Kind(
    "Images that cannot be used", "Replace them, or predict the others with --keep-going."
)


def with_boxes(
    recordings: Sequence[Recording], files: Sequence[Path], *, keep_going: bool = False
) -> tuple[Recording, ...]:
    """Return the recordings with the boxes of all their images.

    A box is px in the image; where the images of a view have the very sizes of their boxes, it
    says where they were cut out of larger frames, as in training.

    Args:
        recordings: what is predicted.
        files: the file of boxes of each view, told by its name.
        keep_going: whether images that are missing or cannot be used need no box; it is NaN.

    Raises:
        ArgumentValueError: it cannot be told which file is of which view, or one is missing.
        DataError: an image has no box, or one that cannot be used; the message lists all.
    """
    of_views = _files_by_view(files, recordings)
    findings = Findings()
    cropped = tuple(
        replace(
            recording,
            sources=tuple(
                _cropped(source, of_views[view], findings, keep_going)
                for view, source in zip(recording.views, recording.sources, strict=True)
            ),
        )
        for recording in recordings
    )
    if problems := findings.problems():
        raise DataError(f"the images cannot be cropped:\n{problems}")
    return cropped


def _files_by_view(files: Sequence[Path], recordings: Sequence[Recording]) -> dict[str, Path]:
    """Return the file of boxes of each view, told by its name.

    Raises:
        ArgumentValueError: it cannot be told which file is of which view, or one is missing.
    """
    views = list(dict.fromkeys(view for recording in recordings for view in recording.views))
    if len(views) == 1 and len(files) == 1:
        return {views[0]: files[0]}
    told = {file: views_named_in(file, views) for file in files}
    found = {names[0]: file for file, names in told.items() if len(names) == 1}
    if len(found) < len(views) or len(files) > len(views):
        each = "; ".join(f"{f.name}: {' or '.join(v) or 'none'}" for f, v in told.items())
        raise ArgumentValueError(
            f"give one file of bounding boxes for {'each of the views ' if views[0] else ''}"
            f"{', '.join(views) or 'all images'}, with the view in its name; got {each}"
        )
    return found


def _cropped(source: FrameSource, file: Path, findings: Findings, keep_going: bool) -> FrameSource:
    paths = [source.image(frame) for frame in range(source.num_frames)]
    sizes = read_image_sizes(
        path for frame, path in enumerate(paths) if frame not in source.unlisted
    )
    known = {path: size for path, size in sizes.items() if isinstance(size, tuple)}
    if not keep_going:
        findings.add(_NO_IMAGES, [str(e) for e in sizes.values() if isinstance(e, DataError)])
    needed = [frame for frame, path in enumerate(paths) if path in known or not keep_going]
    found = boxes_of(
        file,
        [source.row_name(frame) for frame in needed],
        np.array([known.get(paths[frame], (0, 0)) for frame in needed], np.int64).reshape(-1, 2),
        findings,
    )
    if found is None:
        return source
    boxes = np.full((len(paths), 4), np.nan)
    boxes[needed], are_cut_out = found
    return replace(source, boxes=boxes, are_cut_out=are_cut_out)


def with_one_box(
    recordings: Sequence[Recording], files: Sequence[Path]
) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    """Return recordings of videos with the box that the model sees of all frames of a view.

    A video of the very size of the box was cut out before: then the model sees all of it.

    Args:
        recordings: the recordings.
        files: the file of the box of each view, told by its name.

    Returns:
        The recordings, and a line for each whose video the box is not within.

    Raises:
        ArgumentValueError: it cannot be told which file is of which view, or one is missing.
        DataError: a file cannot be used, or its boxes differ.
    """
    if not recordings:
        return (), ()
    of_views = _files_by_view(files, recordings)
    boxes = {view: _box_of_videos(file) for view, file in of_views.items()}
    cropped, failed = [], []
    for recording in recordings:
        try:
            sources = tuple(
                _within(of_views[view], boxes[view], source)
                for view, source in zip(recording.views, recording.sources, strict=True)
            )
            cropped.append(replace(recording, sources=sources))
        except DataError as error:
            failed.append(f"{recording.name}: {error}")
    return tuple(cropped), tuple(failed)


def _within(path: Path, box: Float64[np.ndarray, "4"], source: FrameSource) -> FrameSource:
    x, y, height, width = box.tolist()
    if (height, width) == (source.height, source.width):
        return replace(source, boxes=box[None], are_cut_out=(x, y) != (0.0, 0.0))
    if min(x, y) < 0 or x + width > source.width or y + height > source.height:
        raise DataError(
            f"{path}: the box x {x:g}, y {y:g}, h {height:g}, w {width:g} is not within "
            f"{source.path}, which has height {source.height} and width {source.width}"
        )
    return replace(source, boxes=box[None])


def _box_of_videos(path: Path) -> Float64[np.ndarray, "4"]:
    """Read the box of a view: a CSV with the columns x, y, h, w after that of the frames.

    It has one row, or rows that are all the same.

    Raises:
        DataError: the file cannot be used, or its boxes differ.
    """
    boxes = np.array(list(read_boxes(path).values())).reshape(-1, 4)
    if not len(boxes) or not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise DataError(
            f"{path}: expected a box with x, y, and h and w above 0, px; a number is missing, or "
            "none"
        )
    if (boxes != boxes[0]).any():
        row = int(np.flatnonzero((boxes != boxes[0]).any(axis=1))[0])
        raise DataError(
            f"{path}: row {row + 1} is another box than row 1. Of a video the model sees the same "
            "box in all frames: give a file with one row. Where the box moves, cut the video out "
            "along it, and predict it without --bbox."
        )
    box: Float64[np.ndarray, "4"] = boxes[0]
    return box


_TRAINED_ON_CROPS = (
    "the model was trained on crops (data.bbox_file): unless the images are such crops, name their "
    "boxes by --bbox"
)


def prepare_recordings(
    config: DictConfig,
    inputs: Sequence[Path],
    *,
    views: Sequence[str] | None = None,
    calibration: Path | None = None,
    bbox_files: Sequence[Path] = (),
    keep_going: bool = False,
) -> FoundFrames:
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
    found = FoundFrames((), (), ())
    if given.videos:
        found = find_videos(given.videos, view_names, views, keep_going=keep_going)
    of_videos, failed = found.recordings, found.failed
    if bbox_files:
        of_videos, more_failed = with_one_box(of_videos, bbox_files)
        failed += more_failed
    of_data = _calibration_of_data(config, data_folder)
    notes = [*given.notes, *found.notes]
    placed, calibrated = [], []
    for recording in (*recordings, *of_videos):
        recording, more_notes = with_cameras(recording, calibration, data_folder, of_data)
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
    return FoundFrames(tuple(placed), failed, tuple(notes))


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
