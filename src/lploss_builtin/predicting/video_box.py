"""The bounding box that a model sees of all frames of a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lploss.errors import DataError
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.project.bounding_boxes import read_boxes
from lploss_builtin.predicting.video_frames import Crop


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
