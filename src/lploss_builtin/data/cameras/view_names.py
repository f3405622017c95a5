"""The session and the view of a file or folder, read from its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path, PurePosixPath

from lploss.errors import DataError

# DeepLabCut puts the name of its network right behind that of the video.
_NETWORK = re.compile(r"(?<=.)DLC_.*")
_SEPARATORS = r"[\W_]*"
_LONGEST = 100


def simplified(name: str) -> str:
    """Return the letters and digits of a name, in lower case: spellings that mean the same.

    Example:
        >>> simplified("Cam-A") == simplified("camA")
        True
    """
    return re.sub(r"[\W_]", "", name).lower()


def views_named_in(path: Path, view_names: Sequence[str]) -> list[str]:
    """Return the views that the name of a file may stand for; of several the longest names.

    Case does not count, nor does what is neither letter nor digit. A name must end where a word
    ends, and a number must be whole: ``cam1_2.csv`` is of ``cam1`` and not of ``cam12``.

    Example:
        >>> views_named_in(Path("camA_member0.csv"), ["Cam-A", "Cam-B"])
        ['Cam-A']
        >>> views_named_in(Path("cam12DLC_resnet50.csv"), ["cam1", "cam2", "cam12"])
        ['cam12']
    """
    text = _NETWORK.sub("", path.stem)
    found = [name for name in view_names if _stands_in(name, text)]
    longest = max((len(simplified(name)) for name in found), default=0)
    return [name for name in found if len(simplified(name)) == longest]


def _stands_in(name: str, text: str) -> bool:
    letters = simplified(name)
    if not letters:
        return False
    pattern = re.escape(letters[0])
    for before, letter in pairwise(letters):
        # Two digits that stand apart are two numbers.
        gap = "" if before.isdigit() and letter.isdigit() else _SEPARATORS
        pattern += gap + re.escape(letter)
    return any(
        _is_edge(text, match.start(1)) and _is_edge(text, match.end(1))
        for match in re.finditer(f"(?=({pattern}))", text, re.IGNORECASE)
    )


def _is_edge(text: str, at: int) -> bool:
    """Return whether a word begins or ends between two characters, as in ``topView_1``."""
    before, after = text[at - 1 : at], text[at : at + 1]
    if not (before.isalnum() and after.isalnum()):
        return True
    if before.isdigit() or after.isdigit():
        return not (before.isdigit() and after.isdigit())
    return before.islower() and after.isupper()


def session_of(frame: str | PathLike[str], view_names: Sequence[str]) -> str:
    """Return the session of a frame ``labeled-data/<session>_<view>/img.png``.

    Args:
        frame: path of the image, with its folder.
        view_names: names of the views; the longest that fits is taken. Case does not count, nor
            does what is neither letter nor digit.

    Raises:
        DataError: the folder ends in the name of no view.

    Example:
        >>> session_of("labeled-data/monday_2_Cam-A/img07.png", ["Cam-A", "Cam-B"])
        'monday_2'
    """
    folder = PurePosixPath(str(frame).replace("\\", "/")).parent.name
    views = {simplified(name) for name in view_names}
    for underscore in re.finditer("_", folder):  # the first one leaves the longest name
        if underscore.start() and simplified(folder[underscore.end() :]) in views:
            return folder[: underscore.start()]
    raise DataError(
        f"{frame}: the image's folder must be called <session>_<view>, with one of the views "
        f"{', '.join(view_names)}; got {folder!r}"
    )


def side_by_side(files: Sequence[str]) -> str:
    """Return one name for the files of several views: what they share, and what differs.

    Example:
        >>> side_by_side(["tracks/camA_walk.csv", "tracks/camB_walk.csv"])
        'tracks/camA+B_walk.csv'
        >>> side_by_side(["left/walk.csv", "right/walk.csv"])
        'left+right/walk.csv'
    """
    parts = [Path(file).parts for file in files]
    if len({len(path) for path in parts}) > 1:
        parts = [path[-1:] for path in parts]
    return str(Path(*(_joined(level) for level in zip(*parts, strict=True))))


def _joined(texts: Sequence[str]) -> str:
    if len(set(texts)) == 1:
        return texts[0]
    start = _common_words(texts)
    end = _common_words([text[len(start) :] for text in texts], at_end=True)
    different = [text[len(start) : len(text) - len(end)] for text in texts]
    if len("".join(different)) > _LONGEST:  # for the name of a folder
        different = [different[0], f"{len(texts) - 1}more"]
    return f"{start}{'+'.join(different)}{end}"


def _common_words(texts: Sequence[str], *, at_end: bool = False) -> str:
    """Return the longest start, or end, that all share, and that cuts no word."""
    longest = ""
    for length in range(1, 1 + min(map(len, texts))):
        cuts = [len(text) - length if at_end else length for text in texts]
        parts = {
            text[cut:] if at_end else text[:cut] for text, cut in zip(texts, cuts, strict=True)
        }
        if len(parts) > 1:
            break
        if all(_is_edge(text, cut) for text, cut in zip(texts, cuts, strict=True)):
            longest = parts.pop()
    return longest


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
    # Keep one of the two separators around the view.
    return (before + after[1:] if before and after else (before + after).strip("_-. ")), view
