"""The recordings in folders of images and in lists of images."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path, PurePosixPath

import numpy as np

from lploss.errors import ArgumentValueError, DataError, did_you_mean
from lploss.reading import check_file, reading
from lploss_builtin.data.cameras.view_names import (
    session_and_view,
    session_of,
    side_by_side,
    simplified,
    views_named_in,
)
from lploss_builtin.data.findings import UNUSABLE_FILES, Findings, Kind
from lploss_builtin.data.frames.images import folders_of_images, is_image, natural
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.frames.video_recordings import (
    find_video_recordings,
    is_video,
    videos_and_images,
)
from lploss_builtin.data.poses.columns import LEVELS
from lploss_builtin.data.project.frame_names import common_frames, sessions_of
from lploss_builtin.data.project.label_files import LabelFile
from lploss_builtin.predicting.recording_plan import Recording

_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Inputs:
    """What there is to predict.

    Attributes:
        images: folders of images and lists of images, as they were given.
        videos: the videos, those in folders included.
        notes: what was passed over.
    """

    images: tuple[Path, ...]
    videos: tuple[Path, ...]
    notes: tuple[str, ...]


def inputs_by_kind(paths: Sequence[Path]) -> Inputs:
    """Tell videos, and folders that hold videos, from all others.

    Videos in such a folder in which predicted keypoints are drawn are no videos to predict, unless
    they are named themselves.
    """
    images: list[Path] = []
    videos: list[Path] = []
    notes: list[str] = []
    for path in paths:
        if not path.is_dir():
            (videos if is_video(path.name) else images).append(path)
            continue
        passed_over: list[str] = []
        inside = list(videos_and_images(path, _DEPTH, passed_over))
        found = [own for own in inside if not own.is_dir()]
        videos += found
        notes += passed_over
        if not found:
            images.append(path)
        elif folders := [own for own in inside if own.is_dir()]:
            notes.append(
                f"{path} holds videos: its images are passed over, the first in {folders[0]}. "
                "Name their folder to predict them."
            )
    return Inputs(tuple(images), tuple(videos), tuple(notes))


# That of files with several animals, which have the same images in their first column.
_HEADER = (*LEVELS, "individuals")


def listed_images(path: Path) -> tuple[str, ...]:
    """Return the path of each image, as the file has it, with ``/`` between its parts.

    The other columns are not read. There may be the three header rows of label files, one header
    row, or none.

    Raises:
        DataError: the file cannot be read, or names no images.
    """
    check_file(path)
    with reading(path, "as CSV"), path.open(newline="", encoding="utf-8-sig") as file:
        images = tuple(_images(path, file))
    if not images:
        raise DataError(f"{path} names no images. Expected a path in the first cell of each row")
    return images


def _images(path: Path, text: Iterable[str]) -> Iterator[str]:
    rows = csv.reader(text)
    header: list[list[str]] = []
    num_rows = 0
    for row in filter(any, rows):
        num_rows += 1
        if row[0].strip() in _HEADER and len(header) == num_rows - 1:
            header.append(row)
            continue
        # Older label files of DeepLabCut have three index columns, of which two have no header.
        num_columns = 1
        while header and num_columns < len(row) and not any(own[num_columns] for own in header):
            num_columns += 1
        image = "/".join(row[:num_columns]).replace("\\", "/").strip()
        if is_image(image):
            yield image
        elif num_rows > 1:
            raise DataError(
                f"{path}, line {rows.line_num}: expected the path of an image in the first cell, "
                f"got {image!r}"
            )


def with_partners_in_folders(views: Sequence[_ViewImages]) -> tuple[_ViewImages, ...]:
    """Return the folders of one session with the images of all of them, in natural order.

    What a folder lacks gets the path that it should have.
    """
    names = {Path(name).name for own in views for name in own.names}
    in_order = sorted(sorted(names), key=natural)
    folders = [PurePosixPath(own.names[0]).parent for own in views]
    return tuple(
        replace(own, names=tuple(f"{folder}/{name}" for name in in_order))
        for own, folder in zip(views, folders, strict=True)
    )


def with_partners_in_lists(views: Sequence[_ViewImages]) -> tuple[_ViewImages, ...] | None:
    """Return the lists of all views with the frames of all of them, in their order.

    A frame is ``<session>/<image>``. What a list lacks gets the path that it should have, and is
    ``unlisted``.

    Returns:
        The lists; ``None`` where it cannot be told which rows belong together: folders that do not
        tell the session, a frame that stands there twice, or lists in different orders.
    """
    try:
        frames = [_frames(own) for own in views]
    except DataError:
        return None
    if any(len(known) < len(own.names) for known, own in zip(frames, views, strict=True)):
        return None
    merged: list[str] = reduce(_merged, map(list, frames))
    of_all = {frame: number for number, frame in enumerate(merged)}
    for known in frames:
        numbers = [of_all[frame] for frame in known]
        if numbers != sorted(numbers):
            return None
    return tuple(_completed(own, known, merged) for own, known in zip(views, frames, strict=True))


def _frames(own: _ViewImages) -> dict[str, str]:
    """Return the path of each frame, by its name."""
    return {
        f"{session_of(name, [own.view])}/{PurePosixPath(name).name}": name for name in own.names
    }


def _merged(one: list[str], other: list[str]) -> list[str]:
    """Return the frames of both; what only the other has stands behind what precedes it there."""
    known = set(one)
    behind: dict[str, list[str]] = {}
    last = ""
    for frame in other:
        if frame in known:
            last = frame
        else:
            behind.setdefault(last, []).append(frame)
    return [frame for own in ("", *one) for frame in (own, *behind.get(own, ())) if frame]


def _completed(own: _ViewImages, known: Mapping[str, str], merged: Sequence[str]) -> _ViewImages:
    folders = {frame.partition("/")[0]: PurePosixPath(name).parent for frame, name in known.items()}
    beside = PurePosixPath(own.names[0]).parent.parent
    names = []
    for frame in merged:
        session, _, image = frame.partition("/")
        folder = folders.get(session, beside / f"{session}_{own.view}")
        names.append(known.get(frame, f"{folder}/{image}"))
    lacking = frozenset(number for number, frame in enumerate(merged) if frame not in known)
    return replace(own, names=tuple(names), unlisted=lacking)


_LABELED_DATA = "labeled-data"
_POSSIBLE = "name a video, a folder of videos or of images, or a CSV that lists images"

_NO_VIEW = Kind(
    "Names that do not tell the view",
    "A folder must be called <session>_<view>, a CSV must have one of the views in its name.",
)
_TWICE = Kind(
    "Images that would be written to the same file",
    "Predict them one after the other, each with an --out of its own.",
)
_SAME_VIEW = Kind(
    "CSV files of the same view",
    "All CSV files are one recording, one a view. Predict another recording after it.",
)
_NO_PARTNER = Kind(
    "Images without those of the other views",
    "The folders of all views must hold images of the same names. Leave a view out by --views, or "
    "predict what is there with --keep-going.",
)
_LACKING_ROWS = Kind(
    "Lists of which some only lack rows",
    "Leave a view out by --views, or predict what is there with --keep-going.",
)
_ABSENT = Kind("Views that were asked for and are not there", "Name their images, or leave it out.")
_MISSING = Kind(
    "Images that do not exist",
    "Put them there, take their rows out of the CSV, or predict the others with --keep-going.",
)


@dataclass(frozen=True, slots=True, eq=False)
class _ViewImages:
    """The images of one view.

    Attributes:
        view: name of the view; empty where there is one without a name.
        source: the folder, or the list, that they come from.
        folder: where their paths start.
        names: path of each image.
        file: name of the file of their predictions.
        unlisted: numbers of the frames that only other views have.
    """

    view: str
    source: Path
    folder: Path
    names: tuple[str, ...]
    file: str
    unlisted: frozenset[int] = frozenset()

    def frames(self) -> FrameSource:
        """Return the images as frames, each of a size of its own."""
        return FrameSource(
            self.source,
            len(self.names),
            0,
            0,
            None,
            self.names,
            folder=self.folder,
            unlisted=self.unlisted,
        )


def find_recordings(
    inputs: Sequence[Path],
    view_names: Sequence[str],
    chosen: Sequence[str] | None = None,
    data_folder: Path | None = None,
    *,
    keep_going: bool = False,
) -> tuple[Recording, ...]:
    """Return what there is to predict, and check that the views go together.

    Args:
        inputs: folders of images, folders of such folders, and CSV files that name images in
            their first column, relative to their own folder or to ``data_folder``.
        view_names: the model's views; empty where it has one view without a name.
        chosen: which of the views to use; all that are there unless given.
        data_folder: folder of the project that the model was trained with.
        keep_going: whether some views may lack images that others have.

    Returns:
        The recordings. All folders of a session are one; all CSV files, too, or each of them
        where the views have no names.

    Raises:
        ArgumentValueError: a chosen view is none of the model's.
        DataError: something cannot be predicted; the message lists all that is wrong.
    """
    wanted = wanted_views(view_names, chosen)
    findings = Findings()
    folders: dict[Path, tuple[str, ...]] = {}
    lists: dict[Path, tuple[str, ...]] = {}
    for path in inputs:
        try:
            if path.is_dir():
                found = folders_of_images(path)
                if not found:
                    raise DataError(f"{path} holds no videos and no images, nor do its folders")
                folders |= found
            elif path.suffix.lower() == ".csv":
                lists[path] = listed_images(path)
            else:
                what = "cannot be predicted" if path.exists() else "does not exist"
                raise DataError(f"{path} {what}: {_POSSIBLE}")
        except (DataError, OSError) as error:
            findings.add(UNUSABLE_FILES, [str(error)])
    listed = [own for path, names in lists.items() if (own := _list(path, names, data_folder))]
    if not keep_going:
        _check_files(listed, findings)
    if view_names:
        sessions = _by_session(folders, view_names, wanted, findings)
        recordings = [
            _of_session(own, session, findings, keep_going) for session, own in sessions.items()
        ]
        told = _told_by_name(listed, view_names, wanted, findings)
        recordings += [_of_lists(told, findings, keep_going)] if told else []
    else:
        alone = [_folder(path, names, "", f"{path.name}.csv") for path, names in folders.items()]
        recordings = [_recording(Path(own.file).stem, [own], ()) for own in (*alone, *listed)]
    _check_recordings(recordings, wanted if chosen else (), findings)
    if problems := findings.problems():
        raise DataError(f"these inputs cannot be predicted:\n{problems}")
    if not recordings:
        raise DataError(f"there are no images of the views {', '.join(wanted)}")
    return tuple(recordings)


def wanted_views(view_names: Sequence[str], chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return the views to use, in the order of the model.

    Raises:
        ArgumentValueError: a chosen view is none of the model's.
    """
    for view in chosen or ():
        if not view_names:
            raise ArgumentValueError(
                "the model knows one view, which has no name: there is none to choose, got "
                f"{', '.join(chosen or ())}"
            )
        if view not in view_names:
            raise ArgumentValueError(
                f"the model knows no view {view!r}.{did_you_mean(view, view_names)} Its views are "
                f"{', '.join(view_names)}"
            )
    return tuple(view for view in view_names if chosen is None or view in chosen)


def _folder(path: Path, names: Iterable[str], view: str, file: str) -> _ViewImages:
    """Return the images of a folder, called as in the project's layout where they are in it."""
    absolute = path.absolute()
    parent = absolute.parent
    start = parent.parent if parent.name == _LABELED_DATA else parent
    prefix = absolute.relative_to(start).as_posix()
    return _ViewImages(view, path, start, tuple(f"{prefix}/{name}" for name in names), file)


def _list(path: Path, names: tuple[str, ...], data_folder: Path | None) -> _ViewImages:
    """Return the images of a list, in that folder in which more of them are."""
    places = [path.parent, *([data_folder] if data_folder else [])]
    num_found = [sum((place / name).is_file() for name in names) for place in places]
    place = places[int(np.argmax(num_found))]
    return _ViewImages("", path, place, names, f"{path.stem}.csv")


def _check_files(listed: Iterable[_ViewImages], findings: Findings) -> None:
    for own in listed:
        paths = (own.folder / name for name in own.names)
        findings.add(_MISSING, [f"{own.source}: {path}" for path in paths if not path.is_file()])


def _recording(name: str, views: Sequence[_ViewImages], sessions: tuple[str, ...]) -> Recording:
    return Recording(
        name,
        tuple(own.view for own in views),
        tuple(own.frames() for own in views),
        tuple(own.file for own in views),
        len(views[0].names),
        sessions,
    )


def _by_session(
    folders: Mapping[Path, tuple[str, ...]],
    view_names: Sequence[str],
    wanted: Sequence[str],
    findings: Findings,
) -> dict[str, list[_ViewImages]]:
    """Return the folders of each session, in the order of the views."""
    sessions: dict[str, list[_ViewImages]] = {}
    for path, names in folders.items():
        told = session_and_view(path, view_names)
        if told is None:
            case = f"{path}: the views are {', '.join(view_names)}"
            findings.add(_NO_VIEW, [case])
            continue
        session, view = told
        if view in wanted:
            own = _folder(path, names, view, f"{session}_{view}.csv")
            sessions.setdefault(session, []).append(own)
    return {session: _in_order(own, wanted) for session, own in sessions.items()}


def _in_order(own: Iterable[_ViewImages], wanted: Sequence[str]) -> list[_ViewImages]:
    return sorted(own, key=lambda images: wanted.index(images.view))


def _of_session(
    views: Sequence[_ViewImages], session: str, findings: Findings, keep_going: bool
) -> Recording:
    if keep_going:
        views = with_partners_in_folders(views)
    known = {own.source: {Path(name).name for name in own.names} for own in views}
    first = views[0]
    for own in (own for own in views if own.view != first.view):
        for one, other in ((own, first), (first, own)):
            lacking = [
                f"{other.source} lacks {Path(name).name}, which {one.source} has"
                for name in one.names
                if Path(name).name not in known[other.source]
            ]
            findings.add(_NO_PARTNER, lacking)
    return _recording(session, views, (session,) * len(first.names))


def _told_by_name(
    listed: Iterable[_ViewImages],
    view_names: Sequence[str],
    wanted: Sequence[str],
    findings: Findings,
) -> list[_ViewImages]:
    """Return the lists of the wanted views, in their order."""
    told: list[_ViewImages] = []
    for own in listed:
        views = views_named_in(own.source, view_names)
        if len(views) != 1:
            case = f"{own.source}: the views are {', '.join(view_names)}"
            findings.add(_NO_VIEW, [case])
        elif views[0] in wanted:
            earlier = [other.source for other in told if other.view == views[0]]
            findings.add(_SAME_VIEW, [f"{views[0]}: {path} and {own.source}" for path in earlier])
            told.append(replace(own, view=views[0]))
    return _in_order(told, wanted)


def _of_lists(views: Sequence[_ViewImages], findings: Findings, keep_going: bool) -> Recording:
    labels = {
        own.view: LabelFile(
            own.source,
            (),
            own.names,
            np.empty((len(own.names), 0, 2)),
            np.empty((len(own.names), 0), dtype=np.uint8),
        )
        for own in views
    }
    name = Path(side_by_side([own.file for own in views])).stem
    if common_frames(labels, Findings()) is None:
        completed = with_partners_in_lists(views)
        if completed and keep_going:
            views = completed
        else:
            common_frames(labels, findings)
            findings.add(_LACKING_ROWS, [name] if completed else [])
    first = views[0]
    return _recording(name, views, sessions_of(first.names, first.view))


def _check_recordings(
    recordings: Sequence[Recording], needed: Sequence[str], findings: Findings
) -> None:
    of_files: dict[str, Path] = {}
    for recording in recordings:
        absent = [f"{recording.name}: {view}" for view in needed if view not in recording.views]
        findings.add(_ABSENT, absent)
        for file, source in zip(recording.files, recording.sources, strict=True):
            earlier = of_files.setdefault(file, source.path)
            if earlier is not source.path:
                findings.add(_TWICE, [f"{file}: {earlier} and {source.path}"])


@dataclass(frozen=True, slots=True)
class FoundFrames:
    """What is to be predicted.

    Attributes:
        recordings: those that can be predicted.
        failed: a line for each video or recording of videos that cannot.
        notes: what else to know.
    """

    recordings: tuple[Recording, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]


def find_videos(
    videos: Sequence[Path],
    view_names: Sequence[str],
    chosen: Sequence[str] | None = None,
    *,
    keep_going: bool = False,
) -> FoundFrames:
    """Return the recordings in some videos.

    Args:
        videos: the files; those of several views tell session and view by their names.
        view_names: the model's views; empty where it has one view without a name.
        chosen: which of the views to use; all that are there unless given.
        keep_going: whether to predict frames that only some views have.

    Raises:
        ArgumentValueError: a chosen view is none of the model's.
    """
    wanted = wanted_views(view_names, chosen)
    found = find_video_recordings(
        list(videos), view_names, wanted or None, allow_missing_views=chosen is None
    )
    recordings, notes = [], list(found.notes)
    for own in found.recordings:
        lengths = {
            view: source.num_frames for view, source in zip(own.views, own.sources, strict=True)
        }
        num_frames = own.num_frames
        if keep_going and len(set(lengths.values())) > 1:
            num_frames = max(lengths.values())
            # Instead of the note that only the first ones are used.
            differ = f"{own.name}: its views differ in their number of frames: "
            notes = [note for note in notes if not note.startswith(differ)]
            listed = ", ".join(f"{view} {length}" for view, length in lengths.items())
            notes.append(
                f"{differ}{listed}. The last frames are predicted from the views that have them"
            )
        files = tuple(
            _file_of_video(own.name, view, source.path)
            for view, source in zip(own.views, own.sources, strict=True)
        )
        recordings.append(Recording(own.name, own.views, own.sources, files, num_frames))
    return FoundFrames(tuple(recordings), found.left_out, tuple(notes))


def _file_of_video(name: str, view: str, video: Path) -> str:
    """Return the name of the file of predictions: that of the video, as CSV.

    Of a video that is called after its view alone, ``<recording>_<view>.csv``.
    """
    is_bare = view and simplified(video.stem) == simplified(view)
    return f"{name}_{view}.csv" if is_bare else f"{video.stem}.csv"
