"""The images before and after one, told by the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

# The last digits of a name: img00012.png, frame-7.jpg, 0003.png.
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)", re.S)


def context_paths(path: Path, num_context_frames: int) -> tuple[Path, ...]:
    """Return the images before and after one, in their order.

    They lie in the same folder and are called the same but for the number at the end of the name,
    with or without zeros in front. Where one does not exist, the next one that does stands in for
    it, going towards the image itself, which ends the search.

    Args:
        path: the image.
        num_context_frames: how many images before it, and how many after it; at least 0.

    Returns:
        Those before it, then those after it: twice as many as asked for.

    Example:
        >>> [path.name for path in context_paths(Path("no_such_folder/img0007.png"), 1)]
        ['img0007.png', 'img0007.png']
    """
    before: list[Path] = []
    after: list[Path] = []
    for side, step in ((before, -1), (after, 1)):
        nearest = path
        for distance in range(1, num_context_frames + 1):
            nearest = _neighbour(path, step * distance) or nearest
            side.append(nearest)
    return (*reversed(before), *after)


def context_note(paths: Iterable[Path], num_context_frames: int) -> str | None:
    """Return what is to be said of the images around some; ``None`` where nothing is.

    Some may lack a few of those around them. And where most of those around are labelled, too, they
    may have been picked from all over a video, and numbered as they came.

    Args:
        paths: the images.
        num_context_frames: how many images before each, and how many after it.
    """
    paths = list(paths)
    notes = (
        _note_on_lacking(paths, num_context_frames),
        _note_on_labelled(paths, num_context_frames),
    )
    return " ".join(note for note in notes if note) or None


def _note_on_lacking(paths: Sequence[Path], num_context_frames: int) -> str | None:
    lacking = []
    offsets = [k for n in range(1, num_context_frames + 1) for k in (-n, n)]
    for path in paths:
        if any(_neighbour(path, offset) is None for offset in offsets):
            lacking.append(path)
    if not lacking:
        return None
    return (
        f"{len(lacking)} of {len(paths)} images, such as {lacking[0]}, lack some of the "
        f"{num_context_frames} frames before and after them, which the model sees as well: the "
        "nearest ones that exist stand in. They must lie in the same folder, with the next numbers "
        "in their names."
    )


def _note_on_labelled(paths: Sequence[Path], num_context_frames: int) -> str | None:
    """Return a sentence on images that were picked for labelling, with none between them."""
    labelled = set(paths)
    among = [path for path in paths if _is_among(path, labelled, num_context_frames)]
    if 2 * len(among) <= len(paths):
        return None
    return (
        f"{len(among)} of {len(paths)} images, such as {among[0]}, have mostly labelled images "
        "around them, by the numbers in their names. If these are not consecutive frames of a "
        "video, what the model sees as context is noise: number the images as the frames of the "
        "video, and put those before and after them into the folder."
    )


def _is_among(path: Path, labelled: Set[Path], num_context_frames: int) -> bool:
    around = {*context_paths(path, num_context_frames)} - {path}
    return 2 * len(around & labelled) > len(around)


def _neighbour(path: Path, offset: int) -> Path | None:
    match = _NUMBERED.fullmatch(path.stem)
    if match is None:
        return None
    number = int(match["number"]) + offset
    if number < 0:
        return None
    # With as many digits; or where names have no zeros in front, with as many as it takes.
    padded = str(number).zfill(len(match["number"]))
    for digits in dict.fromkeys((padded, str(number))):
        found = path.with_name(f"{match['before']}{digits}{path.suffix}")
        if found.is_file():
            return found
    return None
