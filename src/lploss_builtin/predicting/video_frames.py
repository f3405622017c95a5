"""Consecutive frames of all views of a recording, read in the background, with their context."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Bool, UInt8
from torch import Tensor

from lploss_builtin.data.frames.images import ImageSize
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import FrameSource

# So many pieces are read while one is predicted.
_PIECES_AHEAD = 2

#: x, y, height and width, px; ``None``: the whole frame.
Crop: TypeAlias = tuple[float, float, float, float] | None

_Read: TypeAlias = tuple[UInt8[Tensor, "frames views 3 height width"], Bool[Tensor, "frames views"]]


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrames:
    """Some consecutive frames of all views.

    Attributes:
        start: number of the first frame.
        stop: number after the last one.
        images: the frames, and those of the context on each side; beyond the ends of the video
            the first or the last frame once more.
        is_read: which of them could be read.
    """

    start: int
    stop: int
    images: UInt8[Tensor, "frames_and_context views 3 height width"]
    is_read: Bool[Tensor, "frames_and_context views"]


def read_video_frames(
    sources: Sequence[FrameSource],
    image_size: ImageSize,
    *,
    num_frames: int,
    start: int = 0,
    batch_size: int,
    num_context_frames: int = 0,
    crops: Sequence[Crop] | None = None,
    keep_going: bool = False,
    decoder: str = "cpu",
) -> Iterator[VideoFrames]:
    """Yield the frames of a recording in order, each of them once but for its context.

    Each view is decoded by a thread of its own, a few pieces ahead; so what is held in memory does
    not grow with the length of the videos.

    Args:
        sources: the videos of the views.
        image_size: height and width of the model's input, px.
        num_frames: how many frames to read; of a view that has fewer the rest is not read.
        start: the first of them.
        batch_size: how many to yield at once.
        num_context_frames: how many to add on each side.
        crops: what each view is cut to.
        keep_going: whether frames that cannot be read are black instead of an error.
        decoder: ``decoder`` of `lploss_builtin.data.frames.reader.FrameReader`.

    Raises:
        UnreadableFrameError: a frame cannot be read.
        DataError: a file cannot be opened any more.
    """
    num = num_context_frames
    pieces = _pieces(num_frames, start, batch_size, num)
    held_from = max(0, start - num)
    held: list[_Read] = []
    for (first, stop), read in _in_background(
        sources, image_size, crops or [None] * len(sources), pieces, keep_going, decoder
    ):
        if not num:
            yield VideoFrames(first, stop, *read)
            continue
        held.append(read)
        images, is_read = (torch.cat(own) for own in zip(*held, strict=True))
        wanted = torch.arange(first - num, stop + num).clamp(0, num_frames - 1) - held_from
        yield VideoFrames(first, stop, images[wanted], is_read[wanted])
        kept_from = max(held_from, stop - num)
        held = [(images[kept_from - held_from :], is_read[kept_from - held_from :])]
        held_from = kept_from


@dataclass(frozen=True, slots=True)
class _Piece:
    """Frames to predict, and which of them, or of their context, are to be read for that."""

    first: int
    stop: int
    read_from: int
    read_to: int


def _pieces(num_frames: int, start: int, batch_size: int, num: int) -> Iterator[_Piece]:
    read_from = max(0, start - num)
    for first in range(start, num_frames, batch_size):
        stop = min(first + batch_size, num_frames)
        read_to = min(stop + num, num_frames)
        yield _Piece(first, stop, read_from, read_to)
        read_from = read_to


def _in_background(
    sources: Sequence[FrameSource],
    image_size: ImageSize,
    crops: Sequence[Crop],
    pieces: Iterator[_Piece],
    keep_going: bool,
    decoder: str,
) -> Iterator[tuple[tuple[int, int], _Read]]:
    """Yield which frames to predict, and those that were read for it."""
    with ExitStack() as stack:
        views = [
            (number, _View(stack, source, image_size, crop, keep_going, decoder))
            for number, (source, crop) in enumerate(zip(sources, crops, strict=True))
        ]
        waiting: deque[tuple[_Piece, _Read, list[Future[None]]]] = deque()
        for piece in pieces:
            read = _empty(piece.read_to - piece.read_from, len(views), image_size)
            futures = [view.submit(piece, *(own[:, n] for own in read)) for n, view in views]
            waiting.append((piece, read, futures))
            if len(waiting) > _PIECES_AHEAD:
                yield _collected(*waiting.popleft())
        while waiting:
            yield _collected(*waiting.popleft())


def _empty(num_frames: int, num_views: int, image_size: ImageSize) -> _Read:
    images = torch.zeros((num_frames, num_views, 3, *image_size), dtype=torch.uint8)
    return images, torch.zeros((num_frames, num_views), dtype=torch.bool)


def _collected(
    piece: _Piece, read: _Read, futures: Sequence[Future[None]]
) -> tuple[tuple[int, int], _Read]:
    for future in futures:
        future.result()
    return (piece.first, piece.stop), read


class _View:
    """A view, and the thread that reads it."""

    def __init__(
        self,
        stack: ExitStack,
        source: FrameSource,
        image_size: ImageSize,
        crop: Crop,
        keep_going: bool,
        decoder: str,
    ) -> None:
        self._source, self._keep_going = source, keep_going
        self._reader = stack.enter_context(
            FrameReader(source, image_size, crop=crop, decoder=decoder)
        )
        self._pool = ThreadPoolExecutor(1)
        # The thread ends before its reader is closed.
        stack.callback(self._pool.shutdown, cancel_futures=True)

    def submit(self, piece: _Piece, images: Tensor, is_read: Tensor) -> Future[None]:
        """Let the thread fill in what there is of the frames of a piece."""
        return self._pool.submit(self._read, piece.read_from, piece.read_to, images, is_read)

    def _read(self, start: int, stop: int, images: Tensor, is_read: Tensor) -> None:
        there = slice(0, max(0, min(stop, self._source.num_frames) - start))
        if not there.stop:
            return
        if self._keep_going:
            frames, is_readable = self._reader.read_where_possible(start, start + there.stop)
            is_read[there] = torch.from_numpy(is_readable)
        else:
            frames = self._reader.read(start, start + there.stop)
            is_read[there] = True
        images[there] = rearrange(torch.from_numpy(frames), "f h w rgb -> f rgb h w")
