"""Recordings among videos and folders of images: the views that were filmed together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lploss.errors import DataError
from lploss_builtin.data.cameras.view_names import session_and_view
from lploss_builtin.data.frames.images import images_in, natural
from lploss_builtin.data.frames.sources import FrameSource, frame_source
from lploss_builtin.dependencies import require

_TAG = "comment"
_DRAWN = "lploss: predicted keypoints are drawn in this video"


def mark_as_drawn(container: Any) -> None:
    """Write into a video that keypoints are drawn in it.

    Args:
        container: of PyAV, open for writing, before its first packet.
    """
    container.metadata[_TAG] = _DRAWN


def is_drawn(path: Path) -> bool:
    """Return whether a video says that keypoints are drawn in it.

    What cannot be opened does not.

    Raises:
        MissingDependencyError: av is not installed.
    """
    av = require("av", "train", "to read video")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            # Some formats have the names of tags in capitals.
            return any(
                name.lower() == _TAG and text == _DRAWN for name, text in container.metadata.items()
            )
    except (av.FFmpegError, OSError, ValueError):
        return False


def without_drawn(videos: Sequence[Path]) -> tuple[list[Path], str | None]:
    """Leave out the videos in which keypoints are drawn.

    Args:
        videos: those in a folder.

    Returns:
        The others, and a sentence on what was left out; ``None`` where nothing was.

    Raises:
        MissingDependencyError: av is not installed.
    """
    drawn = [path for path in videos if is_drawn(path)]
    if not drawn:
        return list(videos), None
    return [path for path in videos if path not in drawn], (
        f"{drawn[0].parent}: predicted keypoints are drawn in {len(drawn)} of its videos, such as "
        f"{drawn[0].name}: they are passed over. Name them to use them all the same."
    )


#: How the names of videos end.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".vob"),
    *(".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".ogv", ".mxf", ".y4m", ".mjpeg", ".mjpg"),
    *(".h264", ".264", ".h265", ".265", ".hevc"),
)

_DEPTH = 2
_NUM_THREADS = 4
_SAME_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class VideoRecording:
    """Views that were filmed together.

    Attributes:
        name: the session; that of the file where the one view has no name.
        views: in the order of the model; ``("",)`` where the one view has no name.
        sources: the video, or the folder of images, of each view.
        num_frames: how many frames all views have.
    """

    name: str
    views: tuple[str, ...]
    sources: tuple[FrameSource, ...]
    num_frames: int


@dataclass(frozen=True, slots=True)
class FoundRecordings:
    """The recordings that can be used, and what is to be said of the others.

    Attributes:
        recordings: those that can be used.
        left_out: a line for each file or recording that cannot be used, with the reason.
        notes: what else to know.
    """

    recordings: tuple[VideoRecording, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def is_video(name: str) -> bool:
    """Return whether a file is a video, by its name; hidden files are none.

    Example:
        >>> is_video("walk.MP4"), is_video("._walk.mp4"), is_video("walk.csv")
        (True, False, False)
    """
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not Path(name).name.startswith(".")


def find_video_recordings(
    paths: Sequence[Path],
    view_names: Sequence[str],
    wanted: Sequence[str] | None = None,
    *,
    allow_missing_views: bool = False,
) -> FoundRecordings:
    """Return the recordings in videos and folders of images, and what cannot be used.

    The files of several views tell session and view by their names; see `session_and_view`. In
    folders, what is neither video nor image is passed over; and with a note, videos in which
    predicted keypoints are drawn.

    Args:
        paths: videos, folders of images, and folders that hold such.
        view_names: the model's views; empty where it has one view without a name.
        wanted: which of the views are needed; all of them unless given.
        allow_missing_views: whether to take recordings that lack some of them, too.

    Returns:
        The recordings, each with its views in the order of the model.

    Raises:
        MissingDependencyError: av is not installed.
    """
    needed = [view for view in view_names if wanted is None or view in wanted]
    left_out: list[str] = []
    notes: list[str] = []
    files = _files(paths, left_out, notes)
    if not view_names:
        found = [(path.name if path.is_dir() else path.stem, {"": path}) for path in files]
    else:
        sessions = _by_session(files, view_names, needed, left_out)
        found = list(sessions.items())
    inspected = _inspected(path for _, own in found for path in own.values())
    recordings = []
    for name, own in found:
        sources = {}
        for view, path in own.items():
            source = inspected[path]
            if isinstance(source, FrameSource):
                sources[view] = source
                notes += source.notes
            else:
                left_out.append(_single_line(path, source))
        reason = _reason_to_leave_out(sources, needed, allow_missing_views=allow_missing_views)
        if reason and (len(own) > 1 or sources):
            left_out.append(f"{name}: {reason}")
        if sources and not reason:
            recordings.append(_recording(name, sources, needed, notes))
    return FoundRecordings(tuple(recordings), tuple(left_out), tuple(dict.fromkeys(notes)))


def _files(paths: Iterable[Path], left_out: list[str], notes: list[str]) -> list[Path]:
    """Return the videos and the folders of images, each once."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            left_out.append(f"{path}: there is no such file or folder")
            continue
        inside = list(videos_and_images(path, _DEPTH, notes)) if path.is_dir() else [path]
        if not inside:
            left_out.append(f"{path}: the folder holds no videos and no images")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def videos_and_images(folder: Path, depth: int, notes: list[str]) -> Iterator[Path]:
    """Yield the videos in a folder and in those below, and the folders that hold images alone.

    Args:
        folder: where to look; hidden folders in it are passed over.
        depth: how many folders below each other are looked into.
        notes: what else is passed over goes here.
    """
    images = images_in(folder)
    # There may be a million images, so their paths are not kept.
    with os.scandir(folder) as found:
        names = sorted((e.name for e in found if is_video(e.name) or e.is_dir()), key=natural)
    entries = [folder / name for name in names]
    videos = [path for path in entries if is_video(path.name) and path.is_file()]
    videos, note = without_drawn(videos)
    notes += [note] if note else []
    if images and not videos:
        yield folder
        return
    if images:
        notes.append(
            f"{folder}: it holds videos; its images ({len(images)}, the first is {images[0]}) are "
            "passed over"
        )
    yield from videos
    if depth:
        for path in entries:
            if path.is_dir() and not path.name.startswith("."):
                yield from videos_and_images(path, depth - 1, notes)


def _by_session(
    files: Iterable[Path],
    view_names: Sequence[str],
    needed: Sequence[str],
    left_out: list[str],
) -> dict[str, dict[str, Path]]:
    """Return the file of each view of each session."""
    sessions: dict[str, dict[str, list[Path]]] = {}
    for path in files:
        told = session_and_view(path, view_names)
        if told is None and len(view_names) == 1:
            told = path.name if path.is_dir() else path.stem, view_names[0]
        if told is None:
            left_out.append(
                f"{path}: its name must tell one of the views {', '.join(view_names)}, as in "
                f"<session>_{view_names[0]}{path.suffix}"
            )
        elif told[1] in needed:
            sessions.setdefault(told[0], {}).setdefault(told[1], []).append(path)
    found = {}
    for session, views in sessions.items():
        twice = [
            f"{session}: several files are of its view {view}: {', '.join(map(str, own))}. "
            "Name one of them"
            for view, own in views.items()
            if len(own) > 1
        ]
        left_out += twice
        if not twice:
            found[session] = {view: own[0] for view, own in views.items()}
    return found


def _inspected(paths: Iterable[Path]) -> Mapping[Path, FrameSource | DataError]:
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return dict(zip(unique, pool.map(_source_or_error, unique), strict=True))


def _source_or_error(path: Path) -> FrameSource | DataError:
    try:
        return frame_source(path)
    except DataError as error:
        return error


def _reason_to_leave_out(
    sources: Mapping[str, FrameSource], needed: Sequence[str], *, allow_missing_views: bool
) -> str | None:
    missing = [view for view in needed if view not in sources]
    if missing and not allow_missing_views:
        return f"left out, because it lacks the views {', '.join(missing)}"
    rates = {view: own.frame_rate for view, own in sources.items() if own.frame_rate is not None}
    if rates and max(rates.values()) > min(rates.values()) * (1 + _SAME_RATE):
        listed = ", ".join(f"{view} {rate:g}" for view, rate in rates.items())
        return f"left out, because its views differ in frames a second: {listed}"
    return None


def _recording(
    name: str, sources: Mapping[str, FrameSource], needed: Sequence[str], notes: list[str]
) -> VideoRecording:
    views = tuple(view for view in needed if view in sources) or ("",)
    own = tuple(sources[view] for view in views)
    lengths = [source.num_frames for source in own]
    if len(set(lengths)) > 1:
        listed = ", ".join(f"{view} {length}" for view, length in zip(views, lengths, strict=True))
        notes.append(
            f"{name}: its views differ in their number of frames: {listed}. The first "
            f"{min(lengths)} of each are used"
        )
    return VideoRecording(name, views, own, min(lengths))


def _single_line(path: Path, error: DataError) -> str:
    text = " ".join(str(error).split())
    return text if str(path) in text else f"{path}: {text}"
