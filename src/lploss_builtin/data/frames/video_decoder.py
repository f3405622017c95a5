"""Decoding a video from any frame on, each frame under its true number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lploss_builtin.data.frames.video_index import VideoIndex, identity, open_video, packets_of
from lploss_builtin.dependencies import require


class InexactTimesError(Exception):
    """The times of decoded frames are not those of the packets."""


class DamageError(Exception):
    """Frames cannot be decoded, or not as they were filmed.

    Attributes:
        frames: their numbers.
    """

    def __init__(self, frames: range) -> None:
        super().__init__()
        self.frames = frames


class VideoDecoder:
    """Frames of a video in order, from any of them on.

    Where the file tells the time of each frame, decoding begins at the keyframe before, and a
    frame is recognised by its time: what the decoder loses does not shift the others. The packet
    of the keyframe is recognised, too, so that no inexact seeking of a format matters. Else
    frames are counted from the start.

    Behind a packet that cannot be decoded, all frames up to the next keyframe build on what is not
    there: they count as damaged, even if the decoder makes something up for them. Without times,
    these are all later frames.

    Args:
        index: the frames of the video.
        num_threads: how many threads decode; with more than one, what is told of damage may not be
            the very frames.
        is_timed: whether to rely on the times of the frames.
    """

    def __init__(self, index: VideoIndex, num_threads: int, *, is_timed: bool) -> None:
        self._index, self._num_threads = index, num_threads
        self._is_timed = is_timed and index.times is not None
        self._container: Any = None
        self._stream: Any = None
        self._running: Iterator[tuple[int, Any]] = iter(())
        self._held: tuple[int, Any] | None = None
        # All frames before this one have passed.
        self._next = index.num_frames

    def frames(
        self, start: int, stop: int, *, num_keyframes_back: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield the number and the frame, as PyAV has it, of each frame.

        Args:
            start: the first frame.
            stop: the frame behind the last.
            num_keyframes_back: how many keyframes before the last one that will do decoding is to
                begin, whatever was decoded before; it goes on where it is unless given.

        Raises:
            DamageError: the next frame cannot be decoded.
            InexactTimesError: the times of the frames cannot be relied on.
            DataError: the video cannot be opened any more.
        """
        if num_keyframes_back is not None or not self._leads_to(start):
            self._begin(start, num_keyframes_back or 0)
        while self._next < stop:
            try:
                item = self._held or next(self._running, None)
                if item is None:
                    raise DamageError(self._up_to_keyframe(max(self._next, start)))
            except (DamageError, InexactTimesError):
                self._next, self._held = self._index.num_frames, None
                raise
            number = item[0]
            if number >= stop:
                self._held, self._next = item, stop
                return
            self._held, self._next = None, number + 1
            if number >= start:
                yield item

    def close(self) -> None:
        """Close the file."""
        self._running, self._held, self._next = iter(()), None, self._index.num_frames
        if self._container is not None:
            self._container.close()
            self._container = self._stream = None

    def _leads_to(self, frame: int) -> bool:
        """Return whether to go on decoding is the shortest way to a frame."""
        if frame < self._next or self._container is None:
            return False
        keyframe = self._index.keyframe_before(frame) if self._is_timed else -1
        return keyframe < 0 or int(self._index.keyframes[keyframe, 0]) <= self._next

    def _begin(self, frame: int, num_keyframes_back: int) -> None:
        self._held = None
        keyframe = self._index.keyframe_before(frame) - num_keyframes_back if self._is_timed else -1
        if keyframe < 1:
            first, packets = 0, self._from_start(self._first_place())
        else:
            first = int(self._index.keyframes[keyframe, 0])
            packets = self._from_keyframe(keyframe)
        self._next = first
        if not self._is_timed:
            self._running = self._counted(packets)
        else:
            # Not every packet that is called a keyframe is one: some frames may have to pass.
            needed = frame if num_keyframes_back else first
            self._running = self._timed(packets, first, needed)

    def _first_place(self) -> int:
        """Return where to begin: what precedes the first keyframe cannot be decoded."""
        if not self._is_timed or not len(self._index.keyframes):
            return 0
        number, place = self._index.keyframes[0, :2].tolist()
        return place if number == 0 else 0

    def _counted(self, packets: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        number = -1
        for number, frame in enumerate(self._decoded(packets)):
            if isinstance(frame, DamageError) or frame.is_corrupt:
                raise DamageError(range(number, self._index.num_frames))
            yield number, frame

    def _timed(self, packets: Iterator[Any], first: int, needed: int) -> Iterator[tuple[int, Any]]:
        times = self._index.times
        if times is None:
            return
        expected, stop, damage = first, len(times), None
        for frame in self._decoded(packets):
            if isinstance(frame, DamageError):
                stop, damage = frame.frames.start, frame
                continue
            if frame.pts is None:
                raise InexactTimesError
            number = int(np.searchsorted(times, frame.pts))
            if number < first or number >= stop or frame.pts < times[0]:
                continue  # shown before the keyframe, damaged, or left out
            if times[number] != frame.pts or number < expected:
                raise InexactTimesError
            if frame.is_corrupt or number > max(expected, needed):
                raise DamageError(self._up_to_keyframe(expected))
            expected = number + 1
            yield number, frame
        if damage is not None:
            raise damage

    def _decoded(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Yield frames; an error where one is damaged, and then those that were decoded before."""
        av = require("av", "train", "to read video")
        for packet in packets:
            try:
                frames = None if packet.is_corrupt else self._stream.codec_context.decode(packet)
            except av.FFmpegError:
                frames = None
            if frames is None:
                yield DamageError(self._building_on(packet))
                if self._num_threads > 1 or not self._is_timed:
                    return
                break
            yield from frames
        try:
            yield from self._stream.codec_context.decode(None)
        except av.FFmpegError:
            return

    def _building_on(self, packet: Any) -> range:
        """Return the frames that build on a packet, from the first that is shown."""
        index = self._index
        if index.times is None or packet.pts is None:
            return range(index.num_frames)
        number = int(np.searchsorted(index.times, packet.pts))
        if number == index.num_frames:  # half a frame, which is left out
            return range(number, number)
        frames = self._up_to_keyframe(number)
        places = index.places[: frames.stop]
        return range(int(np.flatnonzero(places >= index.places[number])[0]), frames.stop)

    def _up_to_keyframe(self, number: int) -> range:
        """Return the frames from one on up to the next that does not build on it."""
        if not self._is_timed:
            return range(number, self._index.num_frames)
        later = self._index.keyframes[self._index.keyframes[:, 1] > self._index.places[number], 0]
        later = later[later > number]
        return range(number, int(later.min()) if len(later) else self._index.num_frames)

    def _from_keyframe(self, keyframe: int) -> Iterator[Any]:
        _, place, *wanted = self._index.keyframes[keyframe].tolist()
        for earlier in (keyframe, keyframe - 1):
            packets = self._sought(earlier, tuple(wanted))
            if packets is not None:
                return packets
        return self._from_start(place)

    def _sought(self, keyframe: int, wanted: tuple[int, ...]) -> Iterator[Any] | None:
        """Seek to a keyframe, and return the packets from a wanted one on, if it comes."""
        self._open()
        pts, dts = self._index.keyframes[keyframe, 2:4].tolist()
        try:
            self._container.seek(min(pts, dts) if dts > 0 else pts, stream=self._stream)
        except OSError:
            return None
        packets = packets_of(self._container, self._stream)
        for packet in packets:
            if identity(packet) == wanted:
                return _chain(packet, packets)
            if packet.dts is not None and packet.dts > max(wanted[:2]):
                return None
        return None

    def _from_start(self, place: int) -> Iterator[Any]:
        self.close()
        self._open()
        packets = packets_of(self._container, self._stream)
        for _ in range(place):
            next(packets, None)
        return packets

    def _open(self) -> None:
        if self._container is None:
            self._container, self._stream = open_video(
                self._index.path, self._num_threads, by_frames=self._is_timed
            )


def _chain(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others
