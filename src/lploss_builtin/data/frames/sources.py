"""Frames in order: a video, a folder of images, or images that a list names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from lploss.errors import DataError
from lploss_builtin.data.frames.images import ImageSize, images_in, read_image_sizes
from lploss_builtin.data.frames.video_index import video_index

# Stands for the box of a frame that cannot be read.
_NO_BOX = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class FrameSource:
    """A video or a sequence of images, and what is known of it without decoding it.

    Attributes:
        path: the video, the folder of the images, or the list that names them.
        num_frames: how many frames it holds.
        height: height of a frame as it is shown, px; 0 where each image may have a size of its own.
        width: width, likewise.
        frame_rate: frames per second; ``None``: images, or a video that does not state it.
        names: paths of the images in their order, below ``folder``; ``None``: a video.
        notes: what is unusual about it, though it can be used.
        folder: where the paths of the images start; ``path`` unless given.
        boxes: x, y, height and width of what the model sees of each frame, px in the original
            image, or one row for all frames; ``None``: it sees the whole frames.
        are_cut_out: whether the frames are these boxes, cut out of larger frames before.
        unlisted: numbers of the frames that only the other views of the recording have.
    """

    path: Path
    num_frames: int
    height: int
    width: int
    frame_rate: float | None
    names: Sequence[str] | None
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    boxes: Float64[np.ndarray, "frames_or_one 4"] | None = field(default=None, compare=False)
    are_cut_out: bool = False
    unlisted: frozenset[int] = frozenset()

    def image(self, frame: int) -> Path:
        """Return the file of an image; of a video, the video."""
        return (self.folder or self.path) / self.names[frame] if self.names else self.path

    def row_name(self, frame: int) -> str:
        """Return what a frame is called in files of predictions."""
        return str(frame) if self.names is None else self.names[frame]

    def crop(self, frame: int) -> tuple[float, float, float, float] | None:
        """Return x, y, height and width of what is cut out of a frame; ``None``: nothing is."""
        if self.boxes is None or self.are_cut_out:
            return None
        x, y, height, width = self.boxes[frame % len(self.boxes)].tolist()
        return x, y, height, width

    def seen_boxes(self, start: int, stop: int) -> Float64[np.ndarray, "frames 4"]:
        """Return what the model sees of frames, px in the original images.

        Args:
            start: the first frame.
            stop: the frame after the last.

        Returns:
            x, y, height and width of each box; anything where the image cannot be read.
        """
        if self.boxes is not None:
            return self.boxes[np.arange(start, stop) % len(self.boxes)]
        if self.height:
            return np.tile([0.0, 0.0, float(self.height), float(self.width)], (stop - start, 1))
        paths = [self.image(frame) for frame in range(start, stop)]
        found = read_image_sizes(paths)
        boxes = [
            (0.0, 0.0, *map(float, size)) if isinstance(size := found[path], tuple) else _NO_BOX
            for path in paths
        ]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)

    def shown_size(self) -> ImageSize:
        """Return height and width of the frames; of images, those of the first that can be read.

        Raises:
            DataError: no image can be read.
        """
        if self.height:
            return self.height, self.width
        for frame in range(self.num_frames):
            size = read_image_sizes([self.image(frame)])[self.image(frame)]
            if isinstance(size, tuple) and frame not in self.unlisted:
                return size
        raise DataError(f"{self.path}: none of its images can be read")


def frame_source(path: Path) -> FrameSource:
    """Inspect a video or a folder of images.

    A video is read through once, packet by packet, and its first frame is decoded: so the number
    of frames is that of the file, whatever its header says.

    Raises:
        DataError: it is missing, damaged or empty, or its images differ in size.
        MissingDependencyError: av is not installed.
    """
    if path.is_dir():
        return _images(path)
    index = video_index(path)
    return FrameSource(
        path, index.num_frames, index.height, index.width, index.frame_rate, None, index.notes
    )


def _images(folder: Path) -> FrameSource:
    names = images_in(folder)
    if not names:
        raise DataError(f"the folder {folder} holds no images")
    sizes = read_image_sizes(folder / name for name in names)
    first = None
    for path, size in sizes.items():
        if not isinstance(size, tuple):
            raise DataError(f"the image {size or f'{path} does not exist'}. Leave it out.")
        first = first or (path, size)
        if size != first[1]:
            raise DataError(
                f"the images in {folder} differ in size: {first[0].name} has height {first[1][0]} "
                f"and width {first[1][1]}, {path.name} has height {size[0]} and width {size[1]}. "
                "Expected frames of one camera, one folder each."
            )
    if first is None:
        raise DataError(f"the folder {folder} holds no images")
    return FrameSource(folder, len(names), *first[1], None, names)
