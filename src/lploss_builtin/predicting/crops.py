"""What is cropped from images and videos before they are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.cameras.view_names import views_named_in
from lploss_builtin.data.findings import Findings, Kind
from lploss_builtin.data.frames.images import read_image_sizes
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.project.bounding_boxes import boxes_of, read_boxes
from lploss_builtin.predicting.find_recordings import Recording, ViewImages
from lploss_builtin.predicting.video_frames import Crop

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


@dataclass(frozen=True, slots=True)
class Box:
    """A box, px in the original image.

    Attributes:
        path: the file that it is from.
        x: of its left edge.
        y: of its upper edge.
        height: how high it is.
        width: how wide it is.
    """

    path: Path
    x: float
    y: float
    height: float
    width: float

    def within(self, source: FrameSource) -> tuple[Crop, tuple[float, float]]:
        """Return what of a video the model sees, and where the video is in the original image.

        A video of the very size of the box was cut out before: then all of it is seen, and its
        first pixel is that of the box.

        Raises:
            DataError: the box reaches out of the video.
        """
        if (self.height, self.width) == (source.height, source.width):
            return None, (self.x, self.y)
        is_inside = min(self.x, self.y) >= 0
        is_inside &= self.x + self.width <= source.width and self.y + self.height <= source.height
        if not is_inside:
            raise DataError(
                f"{self.path}: the box x {self.x:g}, y {self.y:g}, h {self.height:g}, w "
                f"{self.width:g} is not within {source.path}, which has height {source.height} and "
                f"width {source.width}"
            )
        return (self.x, self.y, self.height, self.width), (0.0, 0.0)


def box_of_videos(path: Path) -> Box:
    """Read the box of a view: a CSV with the columns x, y, h, w after that of the frames.

    It has one row, or rows that are all the same.

    Raises:
        DataError: the file cannot be used, or its boxes differ.
    """
    boxes = np.array(list(read_boxes(path).values())).reshape(-1, 4)
    if not len(boxes) or not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise DataError(
            f"{path}: expected a box with x, y, and h and w above 0, px; a number is missing, or "
            "none"
        )
    if (boxes != boxes[0]).any():
        row = int(np.flatnonzero((boxes != boxes[0]).any(axis=1))[0])
        raise DataError(
            f"{path}: row {row + 1} is another box than row 1. Of a video the model sees the same "
            "box in all frames: give a file with one row. Where the box moves, cut the video out "
            "along it, and predict it without --bbox."
        )
    return Box(path, *boxes[0].tolist())
