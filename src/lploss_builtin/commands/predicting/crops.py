"""What is cropped from images before they are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.commands.predicting.recording import Recording, ViewImages
from lploss_builtin.data.bounding_boxes import boxes_of
from lploss_builtin.data.frame_images import read_image_sizes
from lploss_builtin.data.project_findings import Findings, Kind
from lploss_builtin.data.view_names import views_named_in

_NO_IMAGES = Kind("Images that cannot be used", "Replace them.")


def with_boxes(recordings: Sequence[Recording], files: Sequence[Path]) -> tuple[Recording, ...]:
    """Return the recordings with the boxes of all their images.

    A box is px in the image; where the images of a view have the very sizes of their boxes, it
    says where they were cut out of larger frames, as in training.

    Args:
        recordings: what is predicted.
        files: the file of boxes of each view, told by its name.

    Raises:
        ArgumentValueError: it cannot be told which file is of which view, or one is missing.
        DataError: an image has no box, or one that cannot be used; the message lists all.
    """
    views = list(dict.fromkeys(own.view for recording in recordings for own in recording.views))
    of_views = _by_view(files, views)
    findings = Findings()
    cropped = tuple(
        replace(
            recording,
            views=tuple(_cropped(own, of_views[own.view], findings) for own in recording.views),
        )
        for recording in recordings
    )
    if problems := findings.problems():
        raise DataError(f"the images cannot be cropped:\n{problems}")
    return cropped


def _by_view(files: Sequence[Path], views: Sequence[str]) -> dict[str, Path]:
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


def _cropped(own: ViewImages, file: Path, findings: Findings) -> ViewImages:
    paths = [own.path(frame) for frame in range(len(own.names))]
    sizes = read_image_sizes(paths)
    findings.add(_NO_IMAGES, [str(e) for e in sizes.values() if isinstance(e, DataError)])
    known = {path: size for path, size in sizes.items() if isinstance(size, tuple)}
    heights_and_widths = np.array([known.get(path, (0, 0)) for path in paths], dtype=np.int64)
    found = boxes_of(file, own.names, heights_and_widths, findings)
    return own if found is None else replace(own, boxes=found[0], are_cut_out=found[1])
