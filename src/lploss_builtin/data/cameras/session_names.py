"""Which session and which view a video or a folder of images is of, told by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lploss.errors import DataError
from lploss_builtin.data.cameras.view_names import session_of, simplified

_WORD = re.compile(r"[^\W_]+")


def session_and_view(path: Path, view_names: Sequence[str]) -> tuple[str, str] | None:
    """Return the session and the view of a video or of a folder of images.

    A name is ``<session>_<view>``, or the view alone in a folder that is called as the session.
    Of other names, the view may be a word anywhere, and the rest is the session. Case does not
    count, nor does what is neither letter nor digit.

    Args:
        path: of the video, or of the folder.
        view_names: the views that there are.

    Returns:
        The two; ``None`` where the name tells no view, or several.

    Example:
        >>> session_and_view(Path("videos/monday_2_Cam-A.mp4"), ["Cam-A", "Cam-B"])
        ('monday_2', 'Cam-A')
        >>> session_and_view(Path("monday/camA.mp4"), ["Cam-A", "Cam-B"])
        ('monday', 'Cam-A')
        >>> session_and_view(Path("camA_monday.mp4"), ["Cam-A", "Cam-B"])
        ('monday', 'Cam-A')
        >>> session_and_view(Path("monday.mp4"), ["Cam-A", "Cam-B"])
    """
    absolute = path.absolute()
    name = absolute.name if absolute.is_dir() else absolute.stem
    for view in sorted(view_names, key=len, reverse=True):
        if simplified(name) == simplified(view):
            return absolute.parent.name, view
    try:
        session = session_of(Path(name) / "image", view_names)
    except DataError:
        return _view_among_words(name, view_names)
    rest = simplified(name[len(session) :])
    return session, next(view for view in view_names if simplified(view) == rest)


def _view_among_words(name: str, view_names: Sequence[str]) -> tuple[str, str] | None:
    words = list(_WORD.finditer(name))
    found = {}
    for first in range(len(words)):
        for last in range(first, len(words)):
            before, text, after = (
                name[: words[first].start()],
                name[words[first].start() : words[last].end()],
                name[words[last].end() :],
            )
            view = next((view for view in view_names if simplified(view) == simplified(text)), None)
            if view is not None:
                found[before, after] = view
    if len(found) != 1:
        return None
    ((before, after), view) = next(iter(found.items()))
    # Of two separators around the view, one remains.
    return (before + after[1:] if before and after else (before + after).strip("_-. ")), view
