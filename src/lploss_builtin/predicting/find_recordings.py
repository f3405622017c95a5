"""The recordings in folders of images and in lists of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lploss.errors import ArgumentValueError, DataError, did_you_mean
from lploss_builtin.data.cameras.view_names import (
    session_of,
    side_by_side,
    simplified,
    views_named_in,
)
from lploss_builtin.data.findings import UNUSABLE_FILES, Findings, Kind
from lploss_builtin.data.frames.image_folders import folders_of_images
from lploss_builtin.data.project.frame_names import common_frames, sessions_of
from lploss_builtin.data.project.label_files import LabelFile
from lploss_builtin.predicting.image_lists import listed_images
from lploss_builtin.predicting.partner_frames import (
    with_partners_in_folders,
    with_partners_in_lists,
)
from lploss_builtin.predicting.recording import Recording, ViewImages

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
        recordings = [_alone(own) for own in (*alone, *listed)]
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


def _folder(path: Path, names: Iterable[str], view: str, file: str) -> ViewImages:
    """Return the images of a folder, called as in the project's layout where they are in it."""
    absolute = path.absolute()
    parent = absolute.parent
    start = parent.parent if parent.name == _LABELED_DATA else parent
    prefix = absolute.relative_to(start).as_posix()
    return ViewImages(view, path, start, tuple(f"{prefix}/{name}" for name in names), file)


def _list(path: Path, names: tuple[str, ...], data_folder: Path | None) -> ViewImages:
    """Return the images of a list, in that folder in which more of them are."""
    places = [path.parent, *([data_folder] if data_folder else [])]
    num_found = [sum((place / name).is_file() for name in names) for place in places]
    place = places[int(np.argmax(num_found))]
    return ViewImages("", path, place, names, f"{path.stem}.csv")


def _check_files(listed: Iterable[ViewImages], findings: Findings) -> None:
    for own in listed:
        paths = map(own.path, range(len(own.names)))
        findings.add(_MISSING, [f"{own.source}: {path}" for path in paths if not path.is_file()])


def _alone(own: ViewImages) -> Recording:
    return Recording(Path(own.file).stem, (own,), ("",) * len(own.names))


def _by_session(
    folders: Mapping[Path, tuple[str, ...]],
    view_names: Sequence[str],
    wanted: Sequence[str],
    findings: Findings,
) -> dict[str, list[ViewImages]]:
    """Return the folders of each session, in the order of the views."""
    sessions: dict[str, list[ViewImages]] = {}
    for path, names in folders.items():
        told = _session_and_view(path.absolute(), view_names)
        if told is None:
            case = f"{path}: the views are {', '.join(view_names)}"
            findings.add(_NO_VIEW, [case])
            continue
        session, view = told
        if view in wanted:
            own = _folder(path, names, view, f"{session}_{view}.csv")
            sessions.setdefault(session, []).append(own)
    return {session: _in_order(own, wanted) for session, own in sessions.items()}


def _in_order(own: Iterable[ViewImages], wanted: Sequence[str]) -> list[ViewImages]:
    return sorted(own, key=lambda images: wanted.index(images.view))


def _session_and_view(folder: Path, view_names: Sequence[str]) -> tuple[str, str] | None:
    """Return what the name of a folder tells; of a bare view, its parent is the session."""
    for view in sorted(view_names, key=len, reverse=True):
        if simplified(folder.name) == simplified(view):
            return folder.parent.name, view
    try:
        session = session_of(folder / "image", view_names)
    except DataError:
        return None
    rest = simplified(folder.name[len(session) :])
    return session, next(view for view in view_names if simplified(view) == rest)


def _of_session(
    views: Sequence[ViewImages], session: str, findings: Findings, keep_going: bool
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
    return Recording(session, tuple(views), (session,) * len(first.names))


def _told_by_name(
    listed: Iterable[ViewImages],
    view_names: Sequence[str],
    wanted: Sequence[str],
    findings: Findings,
) -> list[ViewImages]:
    """Return the lists of the wanted views, in their order."""
    told: list[ViewImages] = []
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


def _of_lists(views: Sequence[ViewImages], findings: Findings, keep_going: bool) -> Recording:
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
    return Recording(name, tuple(views), sessions_of(first.names, first.view))


def _check_recordings(
    recordings: Sequence[Recording], needed: Sequence[str], findings: Findings
) -> None:
    of_files: dict[str, Path] = {}
    for recording in recordings:
        there = {own.view for own in recording.views}
        absent = [f"{recording.name}: {view}" for view in needed if view not in there]
        findings.add(_ABSENT, absent)
        for own in recording.views:
            earlier = of_files.setdefault(own.file, own.source)
            if earlier is not own.source:
                findings.add(_TWICE, [f"{own.file}: {earlier} and {own.source}"])
