"""Which view a file or a folder belongs to, told by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

# DeepLabCut puts the name of its network right behind that of the video.
_NETWORK = re.compile(r"(?<=.)DLC_.*")
_SEPARATORS = r"[\W_]*"


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
