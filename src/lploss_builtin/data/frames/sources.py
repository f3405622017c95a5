"""Frames in order: a video, or a folder of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lploss.errors import DataError
from lploss_builtin.data.frames.images import images_in, read_image_sizes
from lploss_builtin.data.frames.video_index import video_index


@dataclass(frozen=True, slots=True)
class FrameSource:
    """A video or a folder of images, and what can be told of it without decoding it.

    Attributes:
        path: the file or the folder.
        num_frames: how many frames it holds.
        height: of a frame as it is shown, px.
        width: likewise.
        frame_rate: frames a second; ``None``: images, or a video that does not tell.
        names: file names of the images in their order; ``None``: a video.
        notes: what is odd about it, though it can be used.
    """

    path: Path
    num_frames: int
    height: int
    width: int
    frame_rate: float | None
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


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
