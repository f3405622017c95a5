"""Consecutive frames of all views of a recording, read in the background, with their context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor

from lploss_builtin.data.frames.batches import FrameWindow, WindowFrames, read_windows
from lploss_builtin.data.frames.images import ImageSize
from lploss_builtin.data.frames.reader import UnreadableFrameError
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.frames.video_recordings import VideoRecording
from lploss_builtin.data.project.context_frames import context_paths


@dataclass(frozen=True, slots=True)
class FrameReading:
    """How frames are read for a model.

    Attributes:
        image_size: height and width of the model's input, px.
        batch_size: how many frames are yielded at once.
        num_context_frames: how many frames the model sees on each side of one.
        keep_going: whether frames that cannot be read are black instead of an error.
        decoder: ``decoder`` of `lploss_builtin.data.frames.reader.FrameReader`.
    """

    image_size: ImageSize
    batch_size: int
    num_context_frames: int = 0
    keep_going: bool = False
    decoder: str = "cpu"


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Some consecutive frames of all views.

    Attributes:
        start: number of the first frame.
        stop: number after the last one.
        images: the frames. Those of videos include the context on each side; beyond the ends of
            the video the first or the last frame is repeated.
        is_read: which of ``images`` could be read.
        context_images: of images the ones around each, by the numbers in their names, where the
            model sees such.
        boxes: x, y, height and width of what each frame shows, px in the original image.
    """

    start: int
    stop: int
    images: UInt8[Tensor, "frames_and_context views 3 height width"]
    is_read: Bool[Tensor, "frames_and_context views"]
    context_images: UInt8[Tensor, "frames views context 3 height width"] | None
    boxes: Float64[Tensor, "frames views 4"]

    @property
    def are_predicted_read(self) -> Bool[np.ndarray, "frames views"]:
        """Which of the frames without their context could be read."""
        margin = (len(self.is_read) - (self.stop - self.start)) // 2
        return self.is_read[margin : margin + self.stop - self.start].numpy()


def read_batches(
    sources: Sequence[FrameSource], frames: range, how: FrameReading
) -> Iterator[FrameBatch]:
    """Yield the frames of a recording in order.

    Each view is read by a thread of its own, a few batches ahead, so memory does not grow with the
    number of frames.

    Args:
        sources: the videos of all views, or the images of all views.
        frames: numbers of the frames; a view that has fewer is not read beyond its end.
        how: the settings.

    Raises:
        UnreadableFrameError: a frame cannot be read.
        DataError: a file cannot be opened any more.
    """
    num = how.num_context_frames
    is_video = any(source.names is None for source in sources)
    margin, num_each = (num, 1) if is_video else (0, 2 * num + 1)
    in_context = tuple(sources if num_each == 1 else (_in_context(own, num) for own in sources))
    recording = VideoRecording("", ("",) * len(sources), in_context, frames.stop * num_each)
    ranges = [
        (start, min(start + how.batch_size, frames.stop)) for start in frames[:: how.batch_size]
    ]
    windows = (
        FrameWindow(0, num_each * (start - margin), num_each * (stop + margin))
        for start, stop in ranges
    )
    with closing(
        read_windows(
            [recording],
            windows,
            how.image_size,
            raise_errors=not how.keep_going,
            decoder=how.decoder,
        )
    ) as found:
        for (start, stop), window in zip(ranges, found, strict=True):
            if window.error is not None and not isinstance(window.error, UnreadableFrameError):
                raise window.error
            images, is_read, context = _apart(window, num_each)
            boxes = np.stack([own.seen_boxes(start, stop) for own in sources], axis=1)
            yield FrameBatch(start, stop, images, is_read, context, torch.from_numpy(boxes))


def _in_context(source: FrameSource, num: int) -> FrameSource:
    """Return the images each with those around it: ``2 num + 1`` in place of one."""
    num_each = 2 * num + 1
    return replace(
        source,
        num_frames=num_each * source.num_frames,
        names=_NamesInContext(source, num),
        folder=Path(),
        boxes=None if source.boxes is None else np.repeat(source.boxes, num_each, axis=0),
        unlisted=frozenset(num_each * frame + num for frame in source.unlisted),
    )


class _NamesInContext(Sequence[str]):
    """The paths of images, each between those around it, which are looked for when needed."""

    def __init__(self, source: FrameSource, num: int) -> None:
        self._source, self._num = source, num
        self._around = lru_cache(1)(self._paths)

    def __len__(self) -> int:
        return (2 * self._num + 1) * self._source.num_frames

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        frame, place = divmod(number, 2 * self._num + 1)
        return self._around(frame)[place]

    def _paths(self, frame: int) -> tuple[str, ...]:
        path = self._source.image(frame)
        around = context_paths(path, self._num)
        return tuple(map(str, (*around[: self._num], path, *around[self._num :])))


def _apart(window: WindowFrames, num_each: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the frames, which of them could be read, and the ones around each.

    The frame itself stands in for one around it that could not be read.
    """
    if num_each == 1:
        return window.images, window.is_readable, None
    images = rearrange(window.images, "(f c) views ... -> f views c ...", c=num_each)
    are_read = rearrange(window.is_readable, "(f c) views -> f views c", c=num_each)
    middle = num_each // 2
    own, is_read = images[:, :, middle], are_read[:, :, middle]
    around = [place for place in range(num_each) if place != middle]
    is_usable = (are_read[:, :, around] & is_read[..., None])[..., None, None, None]
    return own, is_read, torch.where(is_usable, images[:, :, around], own[:, :, None])
