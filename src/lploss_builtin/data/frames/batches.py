"""Frames of all views of recordings, read in the background, a few windows ahead."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, UInt8
from torch import Tensor

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.images import ImageSize
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.video_recordings import VideoRecording

_Task = TypeVar("_Task")

_MAX_LANES = 8
# Of each lane; a file that is open holds the memory of its decoder.
_NUM_OPEN = 4


class FrameWindow(NamedTuple):
    """Consecutive frames of a recording.

    Attributes:
        recording: its number.
        start: the first frame; below 0, frame 0 is repeated.
        stop: the frame behind the last; beyond the end, the last frame is repeated.
    """

    recording: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class WindowFrames:
    """The frames of a window.

    Attributes:
        window: the window.
        images: of all views, RGB; black where a frame cannot be read.
        is_readable: which frames could be read.
        error: what is wrong with the first one that could not.
    """

    window: FrameWindow
    images: UInt8[Tensor, "frames views 3 height width"]
    is_readable: Bool[Tensor, "frames views"]
    error: DataError | None


def read_windows(
    recordings: Sequence[VideoRecording],
    windows: Iterable[FrameWindow],
    image_size: ImageSize,
    *,
    num_ahead: int = 2,
    raise_errors: bool = True,
    decoder: str = "cpu",
) -> Generator[WindowFrames, None, None]:
    """Yield the frames of windows, in order; the next ones are read in the meantime.

    Memory does not grow with the number of windows: besides the one that is yielded, ``num_ahead``
    are held. Windows that follow each other in a recording are decoded without seeking, even if
    they overlap by some frames. When the iterator is closed, so are all threads and files.

    Args:
        recordings: the recordings.
        windows: which frames to read.
        image_size: height and width of the frames that are yielded, px.
        num_ahead: how many windows are read ahead, at least 1.
        raise_errors: raise where a frame cannot be read; else its window says so.
        decoder: what decodes videos; see `FrameReader`.

    Yields:
        The frames.

    Raises:
        ArgumentValueError: a number is out of its range.
        UnreadableFrameError: a frame cannot be read; raised in the place of its window.
        DataError: likewise, a file cannot be opened any more.
    """
    if num_ahead < 1:
        raise ArgumentValueError(f"num_ahead must be at least 1, got {num_ahead}")
    most_views = max((len(own.views) for own in recordings), default=1)
    num_lanes = min(most_views, _MAX_LANES)
    num_threads = max(1, min(4, 2 * (os.cpu_count() or 1) // num_lanes))
    with ExitStack() as stack:
        lanes = [
            stack.enter_context(_Lane(recordings, image_size, num_threads, decoder))
            for _ in range(num_lanes)
        ]
        readings = (
            _Reading(recordings[window.recording], window, image_size, lanes) for window in windows
        )
        for reading in started_ahead(readings, num_ahead):
            yield reading.result(raise_errors=raise_errors)


def started_ahead(tasks: Iterable[_Task], num_ahead: int = 2) -> Iterator[_Task]:
    """Yield tasks that run in the background, such as futures, the next ones having been started.

    Args:
        tasks: an iterator that starts each task when it yields it.
        num_ahead: how many tasks are started before the one that is yielded is needed.

    Example:
        >>> tasks = (print("start", number) or number for number in range(3))
        >>> for task in started_ahead(tasks, 1):
        ...     print("wait for", task)
        start 0
        start 1
        wait for 0
        start 2
        wait for 1
        wait for 2
    """
    waiting: deque[_Task] = deque()
    for task in tasks:
        waiting.append(task)
        if len(waiting) > num_ahead:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


class _Reading:
    """A window that is being read, each view in its lane."""

    def __init__(
        self,
        recording: VideoRecording,
        window: FrameWindow,
        image_size: ImageSize,
        lanes: Sequence[_Lane],
    ) -> None:
        if window.start >= window.stop:
            raise ArgumentValueError(f"a window must hold a frame, got {window}")
        num_frames, num_views = window.stop - window.start, len(recording.views)
        self._window = window
        self._images = torch.empty((num_frames, num_views, 3, *image_size), dtype=torch.uint8)
        self._is_readable = torch.empty((num_frames, num_views), dtype=torch.bool)
        self._views = [
            lanes[view % len(lanes)].submit(
                window, view, self._images[:, view], self._is_readable[:, view]
            )
            for view in range(num_views)
        ]

    def result(self, *, raise_errors: bool) -> WindowFrames:
        errors = [error for view in self._views if (error := view.result()) is not None]
        if errors and raise_errors:
            raise errors[0]
        return WindowFrames(
            self._window, self._images, self._is_readable, errors[0] if errors else None
        )


class _Lane:
    """A thread that reads some of the views, and the files that it holds open."""

    def __init__(
        self,
        recordings: Sequence[VideoRecording],
        image_size: ImageSize,
        num_threads: int,
        decoder: str,
    ) -> None:
        self._recordings, self._image_size = recordings, image_size
        self._num_threads, self._decoder = num_threads, decoder
        self._readers: OrderedDict[tuple[int, int], FrameReader] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="frames")

    def __enter__(self) -> _Lane:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for reader in self._readers.values():
            reader.close()

    def submit(
        self,
        window: FrameWindow,
        view: int,
        images: UInt8[Tensor, "frames 3 height width"],
        is_readable: Bool[Tensor, "frames"],
    ) -> Future[DataError | None]:
        return self._pool.submit(self._read, window, view, images, is_readable)

    def _read(
        self,
        window: FrameWindow,
        view: int,
        images: UInt8[Tensor, "frames 3 height width"],
        is_readable: Bool[Tensor, "frames"],
    ) -> DataError | None:
        recording = self._recordings[window.recording]
        numbers = np.clip(np.arange(window.start, window.stop), 0, recording.num_frames - 1)
        first, stop = int(numbers[0]), int(numbers[-1]) + 1
        try:
            reader = self._reader(window.recording, view)
            frames, found = reader.read_where_possible(
                min(first, reader.source.num_frames), min(stop, reader.source.num_frames)
            )
        except DataError as error:
            images.zero_()
            is_readable.fill_(False)
            return error
        problem = None if found.all() else reader.error(first + int(np.argmin(found)), first)
        pixels = torch.from_numpy(frames)
        if len(frames) == len(numbers):
            images.copy_(rearrange(pixels, "frames height width rgb -> frames rgb height width"))
            is_readable.copy_(torch.from_numpy(found))
            return problem
        for place, number in enumerate((numbers - first).tolist()):
            is_there = number < len(frames)
            images[place] = (
                rearrange(pixels[number], "height width rgb -> rgb height width") if is_there else 0
            )
            is_readable[place] = is_there and bool(found[number])
        return problem

    def _reader(self, recording: int, view: int) -> FrameReader:
        key = recording, view
        if key not in self._readers:
            source = self._recordings[recording].sources[view]
            self._readers[key] = FrameReader(
                source, self._image_size, num_threads=self._num_threads, decoder=self._decoder
            )
        self._readers.move_to_end(key)
        while len(self._readers) > _NUM_OPEN:
            _, oldest = self._readers.popitem(last=False)
            oldest.close()
        return self._readers[key]
