"""One name for the images that all views took at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from lploss.errors import DataError
from lploss_builtin.data.cameras.view_names import session_of
from lploss_builtin.data.findings import Findings, Kind
from lploss_builtin.data.project.label_files import LabelFile

_FOLDERS = Kind(
    "Images in folders that do not tell which belong together",
    "The folder must be called <session>_<view>, with the name of the view in data.view_names.",
)
_ROWS = Kind(
    "Rows that do not match between the views",
    "The label files of all views must hold the same frames in the same order.",
)


def common_frames(labels: Mapping[str, LabelFile], findings: Findings) -> tuple[str, ...] | None:
    """Return the name of each frame, and report where the views have different ones.

    Args:
        labels: for each view its labels.
        findings: where problems go.

    Returns:
        The path of the image where all views have the same; else ``<session>/<image>``. ``None``
        where the views do not go together.
    """
    first = next(iter(labels.values()))
    if all(own.images == first.images for own in labels.values()):
        return first.images
    names: dict[str, list[str]] = {}
    for view, own in labels.items():
        try:
            names[view] = [
                f"{session_of(image, [view])}/{PurePosixPath(image).name}" for image in own.images
            ]
        except DataError as error:
            findings.add(_FOLDERS, [f"{own.path}: {error}"])
    if len(names) < len(labels):
        return None
    expected = next(iter(names.values()))
    differences = [
        difference
        for view, own in labels.items()
        for difference in _differences(own, names[view], first, expected)
    ]
    findings.add(_ROWS, differences)
    return None if differences else tuple(expected)


def sessions_of(images: Sequence[str], view: str) -> tuple[str, ...]:
    """Return the session of each image: of a folder that names no view, its whole name.

    Args:
        images: their paths.
        view: name of the view that took them.

    Example:
        >>> sessions_of(["labeled-data/monday_L/1.png", "labeled-data/tuesday/1.png"], "L")
        ('monday', 'tuesday')
    """
    folders = {PurePosixPath(image).parent: image for image in images}
    found = {folder: _session(image, view) for folder, image in folders.items()}
    return tuple(found[PurePosixPath(image).parent] for image in images)


def _session(image: str, view: str) -> str:
    try:
        return session_of(image, [view])
    except DataError:
        return PurePosixPath(image).parent.name


def _differences(
    own: LabelFile, names: Sequence[str], first: LabelFile, expected: Sequence[str]
) -> list[str]:
    found = _alone(own, names, first, expected) + _alone(first, expected, own, names)
    if found or list(names) == list(expected):
        return found
    return [
        f"{own.path}: row {row} is {name}, in {first.path} it is {other}"
        for row, (name, other) in enumerate(zip(names, expected, strict=False), start=1)
        if name != other
    ] or [f"{own.path} has {len(names)} rows, {first.path} has {len(expected)}"]


def _alone(
    own: LabelFile, names: Sequence[str], other: LabelFile, others: Sequence[str]
) -> list[str]:
    known = set(others)
    return [
        f"{own.path}: row {row} is {name}, which {other.path} lacks"
        for row, name in enumerate(names, start=1)
        if name not in known
    ]
