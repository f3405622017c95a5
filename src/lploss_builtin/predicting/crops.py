"""What is cropped from images before they are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.cameras.view_names import views_named_in
from lploss_builtin.data.findings import Findings, Kind
from lploss_builtin.data.frames.images import read_image_sizes
from lploss_builtin.data.project.bounding_boxes import boxes_of
from lploss_builtin.predicting.recording import Recording, ViewImages

_NO_IMAGES = Kind(
    "Images that cannot be used", "Replace them, or predict the others with --keep-going."
)


def with_boxes(
    recordings: Sequence[Recording], files: Sequence[Path], *, keep_going: bool = False
) -> tuple[Recording, ...]:
    """Return the recordings with the boxes of all their images.

    A box is px in the image; where the images of a view have the very sizes of their boxes, it
    says where they were cut out of larger frames, as in training.

    Args:
        recordings: what is predicted.
        files: the file of boxes of each view, told by its name.
        keep_going: whether images that are missing or cannot be used need no box; it is NaN.

    Raises:
        ArgumentValueError: it cannot be told which file is of which view, or one is missing.
        DataError: an image has no box, or one that cannot be used; the message lists all.
    """
    views = list(dict.fromkeys(own.view for recording in recordings for own in recording.views))
    of_views = files_by_view(files, views)
    findings = Findings()
    cropped = tuple(
        replace(
            recording,
            views=tuple(
                _cropped(own, of_views[own.view], findings, keep_going) for own in recording.views
            ),
        )
        for recording in recordings
    )
    if problems := findings.problems():
        raise DataError(f"the images cannot be cropped:\n{problems}")
    return cropped


def files_by_view(files: Sequence[Path], views: Sequence[str]) -> dict[str, Path]:
    """Return the file of boxes of each view, told by its name.

    Raises:
        ArgumentValueError: it cannot be told which file is of which view, or one is missing.
    """
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


def _cropped(own: ViewImages, file: Path, findings: Findings, keep_going: bool) -> ViewImages:
    paths = [own.path(frame) for frame in range(len(own.names))]
    sizes = read_image_sizes(path for frame, path in enumerate(paths) if frame not in own.unlisted)
    known = {path: size for path, size in sizes.items() if isinstance(size, tuple)}
    if not keep_going:
        findings.add(_NO_IMAGES, [str(e) for e in sizes.values() if isinstance(e, DataError)])
    needed = [frame for frame, path in enumerate(paths) if path in known or not keep_going]
    found = boxes_of(
        file,
        [own.names[frame] for frame in needed],
        np.array([known.get(paths[frame], (0, 0)) for frame in needed], np.int64).reshape(-1, 2),
        findings,
    )
    if found is None:
        return own
    boxes = np.full((len(paths), 4), np.nan)
    boxes[needed], are_cut_out = found
    return replace(own, boxes=boxes, are_cut_out=are_cut_out)
