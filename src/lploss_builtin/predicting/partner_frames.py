"""The frames of all views, where some lack images that others have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path, PurePosixPath

from lploss.errors import DataError
from lploss_builtin.data.cameras.view_names import session_of
from lploss_builtin.data.frames.image_folders import natural
from lploss_builtin.predicting.recording import ViewImages


def with_partners_in_folders(views: Sequence[ViewImages]) -> tuple[ViewImages, ...]:
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


def with_partners_in_lists(views: Sequence[ViewImages]) -> tuple[ViewImages, ...] | None:
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


def _frames(own: ViewImages) -> dict[str, str]:
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


def _completed(own: ViewImages, known: Mapping[str, str], merged: Sequence[str]) -> ViewImages:
    folders = {frame.partition("/")[0]: PurePosixPath(name).parent for frame, name in known.items()}
    beside = PurePosixPath(own.names[0]).parent.parent
    names = []
    for frame in merged:
        session, _, image = frame.partition("/")
        folder = folders.get(session, beside / f"{session}_{own.view}")
        names.append(known.get(frame, f"{folder}/{image}"))
    lacking = frozenset(number for number, frame in enumerate(merged) if frame not in known)
    return replace(own, names=tuple(names), unlisted=lacking)
