"""Which frames a video holds, told by its packets: nothing but the first frame is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from lploss.errors import DataError
from lploss.reading import check_file, reason
from lploss_builtin.dependencies import require

#: Stands for a time or a place that the file does not tell.
UNKNOWN = int(np.iinfo(np.int64).min)

_CONVERT = "Copy the file again from where it came, or convert it, for example to MP4 with H.264."
# Text files are films of characters to FFmpeg, single images films of one frame.
_NO_VIDEOS = ("tty", "image2", "_pipe")
# These codecs tell the decoder alone in which order frames are shown, and AVI has no place for it.
_REORDERING = ("h264", "hevc", "vvc", "vc1")
_CLOSE = 0.01
_LOOSE_END = 16
_FEWEST_STEPS = 8
_MOSTLY = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class VideoIndex:
    """The frames of a video, and where decoding can begin.

    Attributes:
        path: the file.
        num_frames: how many frames its packets hold.
        times: when each frame is shown, in units of the stream, increasing; ``None`` where the
            file does not tell it reliably: then frames are counted from the start.
        places: number of the packet of each frame, in the order of the file.
        keyframes: for each packet where decoding can begin, in the order in which they are shown:
            the number of the first frame from there on, the number of the packet in the file, its
            two times and its size. What the file does not tell is `UNKNOWN`.
        time_base: the unit of times, seconds.
        height: of a frame as it is shown, px.
        width: likewise.
        rotation: by how many degrees frames are turned, counter-clockwise, to be shown.
        frame_rate: frames a second, on average; ``None``: the file does not tell.
        notes: what is odd about the file.
    """

    path: Path
    num_frames: int
    times: Int64[np.ndarray, "num_frames"] | None
    places: Int64[np.ndarray, "num_frames"]
    keyframes: Int64[np.ndarray, "num_keyframes 5"]
    time_base: float
    height: int
    width: int
    rotation: int
    frame_rate: float | None
    notes: tuple[str, ...]

    def keyframe_before(self, frame: int) -> int:
        """Return the number of the last keyframe that is shown not after a frame; -1: none."""
        return int(np.searchsorted(self.keyframes[:, 0], frame, side="right")) - 1


def video_index(path: Path) -> VideoIndex:
    """Return the frames of a video; that of a file which did not change is read once a process.

    Raises:
        DataError: the file is missing, damaged, or holds no frame that can be decoded.
        MissingDependencyError: av is not installed.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataError(f"the video {path} does not exist") from error
    return _read_index(path, status.st_size, status.st_mtime_ns)


def open_video(path: Path, num_threads: int = 1, *, by_frames: bool = False) -> Any:
    """Open a video.

    Args:
        path: the file.
        num_threads: how many threads decode.
        by_frames: whether each thread may decode another frame; faster, but of a damaged video
            frames are lost that could be read.

    Returns:
        The container of PyAV, and its stream of images.

    Raises:
        DataError: the file is missing, damaged, or holds no images that can be decoded.
        MissingDependencyError: av is not installed.
    """
    av = require("av", "train", "to read video")
    check_file(path, "the video")
    if path.stat().st_size == 0:
        raise DataError(f"the video {path} is empty: it has 0 bytes. {_CONVERT}")
    try:
        container = _opened(av, path)
    except (av.FFmpegError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as a video: {reason(error)}. It is not a video, or it was cut "
            f"off. {_CONVERT}"
        ) from error
    try:
        stream = _stream(path, container)
        stream.codec_context.thread_count = num_threads
        stream.codec_context.thread_type = "AUTO" if by_frames else "SLICE"
    except BaseException:
        container.close()
        raise
    return container, stream


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream from where the file stands, as far as it can be read."""
    av = require("av", "train", "to read video")
    try:
        for packet in container.demux(stream):
            # An empty one stands for a frame that was not recorded, and would end the decoding.
            if packet.size:
                yield packet
    except (av.FFmpegError, OSError):
        return


def identity(packet: Any) -> tuple[int, int, int]:
    """Return what a packet is recognised by: its two times and its size."""
    return _or_unknown(packet.pts), _or_unknown(packet.dts), packet.size


def _or_unknown(time: int | None) -> int:
    return UNKNOWN if time is None else time


def _opened(av: Any, path: Path) -> Any:
    try:
        return av.open(str(path))
    except UnicodeDecodeError:  # of a comment in the file
        return av.open(str(path), metadata_errors="replace")


def _stream(path: Path, container: Any) -> Any:
    av = require("av", "train", "to read video")
    if any(name in container.format.name for name in _NO_VIDEOS):
        raise DataError(f"{path} cannot be read as a video: it is one image, or text")
    # A picture of the cover, as music has it, is no video.
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams and container.streams.audio:
        raise DataError(f"{path} holds no video, only audio. Name the file with the images.")
    if not streams:
        raise DataError(f"{path} holds no video. {_CONVERT}")
    stream = streams[0]
    if stream.codec_context is None:
        raise DataError(
            f"the video {path} has a codec that cannot be decoded here. Convert it, for example "
            "to MP4 with H.264."
        )
    return stream


# Without a limit: what falls out of it is read through again whenever the video is opened.
@cache
def _read_index(path: Path, size: int, modified: int) -> VideoIndex:
    packets, claims = _read_packets(path)
    first, has_b_frames = _first_frame(path)
    notes = []
    if claims.num_frames and claims.num_frames != len(packets):
        notes.append(
            f"{path}: its header says {claims.num_frames} frames, it holds {len(packets)}, which "
            "are used. If some are missing in its middle, the later ones have moved up"
        )
    shown = packets[(packets[:, 4] == 0) & (np.arange(len(packets)) <= _last_whole(packets))]
    if not len(shown):
        raise DataError(f"the video {path} has no frames. {_CONVERT}")
    if not _tells_times(shown, claims, has_b_frames=has_b_frames):
        notes.append(
            f"{path} does not tell the times of its frames: to read from a place within it, it is "
            "decoded from the start, which takes long. Convert it to MP4 to have it faster"
        )
        times = None
        keyframes = np.empty((0, 5), dtype=np.int64)
    else:
        shown = shown[np.argsort(shown[:, 0], kind="stable")]
        shown = _from_first_decoded(path, shown, first.pts, notes)
        shown = _without_loose_end(path, shown, notes)
        times = np.ascontiguousarray(shown[:, 0])
        keyframes = _keyframes(packets, times)
        notes += _jumps(path, times)
    rotation = int(first.rotation) % 360
    height, width = first.height, first.width
    if rotation % 180 == 90:
        height, width = width, height
    frame_rate = _frame_rate(claims.frame_rate, times, claims.time_base)
    notes += [] if notes else _too_short(path, claims, times, frame_rate)
    return VideoIndex(
        path,
        len(shown),
        times,
        np.ascontiguousarray(shown[:, 6]),
        keyframes,
        claims.time_base,
        height,
        width,
        rotation,
        frame_rate,
        tuple(notes),
    )


class _Claims(NamedTuple):
    """What the header says."""

    format_name: str
    codec: str
    num_frames: int
    frame_rate: float | None
    duration: float | None
    time_base: float


def _read_packets(path: Path) -> tuple[Int64[np.ndarray, "num_packets 7"], _Claims]:
    """Return time, time of decoding, size, three flags and number of each packet."""
    container, stream = open_video(path)
    with container:
        rows = [
            (*identity(packet), packet.is_keyframe, packet.is_discard, packet.is_corrupt, number)
            for number, packet in enumerate(packets_of(container, stream))
        ]
        duration = stream.duration
        if duration is not None:
            duration = float(duration * stream.time_base)
        elif len(container.streams) == 1 and container.duration is not None:
            duration = container.duration / 1e6
        claims = _Claims(
            container.format.name,
            stream.codec_context.name,
            stream.frames,
            float(stream.average_rate) if stream.average_rate else None,
            duration,
            float(stream.time_base or 0),
        )
    if not rows:
        raise DataError(f"the video {path} has no frames. {_CONVERT}")
    return np.array(rows, dtype=np.int64), claims


def _first_frame(path: Path) -> tuple[Any, bool]:
    """Return the first frame that can be decoded, and whether frames are stored out of order."""
    av = require("av", "train", "to read video")
    container, stream = open_video(path)
    with container:
        for packet in (*packets_of(container, stream), None):
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError:
                continue
            if frames:
                return frames[0], bool(stream.codec_context.has_b_frames)
        name = stream.codec_context.name
    raise DataError(f"no frame of the video {path} can be decoded (codec {name}). {_CONVERT}")


def _last_whole(packets: Int64[np.ndarray, "num_packets 7"]) -> int:
    """Return the number of the last packet; what a file ends with that was cut off is half one."""
    whole = np.flatnonzero(packets[:, 5] == 0)
    return int(whole[-1]) if len(whole) else -1


def _tells_times(
    shown: Int64[np.ndarray, "num_packets 7"], claims: _Claims, *, has_b_frames: bool
) -> bool:
    times = np.sort(shown[:, 0])
    if times[0] == UNKNOWN or (np.diff(times) == 0).any():
        return False
    all_keyframes = bool(shown[:, 3].all())
    reorders = has_b_frames or claims.codec in _REORDERING
    return claims.format_name != "avi" or all_keyframes or not reorders


def _from_first_decoded(
    path: Path, shown: Int64[np.ndarray, "num_packets 7"], time: int | None, notes: list[str]
) -> Int64[np.ndarray, "num_frames 7"]:
    """Leave out what a film begins with that was cut out of a longer one."""
    if time is None:
        return shown
    number = int(np.searchsorted(shown[:, 0], time))
    if not 0 < number < len(shown) or shown[:number, 3].any():
        return shown
    notes.append(
        f"{path} begins within a film: its first {number} frames cannot be decoded; the one behind "
        "them is frame 0"
    )
    return shown[number:]


def _without_loose_end(
    path: Path, shown: Int64[np.ndarray, "num_frames 7"], notes: list[str]
) -> Int64[np.ndarray, "num_frames 7"]:
    """Leave out frames at the end of a file that was cut off, if some before them are missing."""
    gaps = _gaps(shown[:, 0])
    near_end = gaps[gaps >= len(shown) - _LOOSE_END]
    if not len(near_end) or shown[:, 3].all():
        return shown
    num_left = int(near_end[0]) + 1
    notes.append(
        f"{path} was cut off: some frames before its last {len(shown) - num_left} are missing; it "
        f"is used up to there, which are {num_left} frames"
    )
    return shown[:num_left]


def _gaps(times: Int64[np.ndarray, "num_frames"]) -> Int64[np.ndarray, "gaps"]:
    """Return the frames behind which others are missing, where the rate is constant otherwise."""
    steps = np.diff(times)
    if len(steps) < _FEWEST_STEPS:
        return np.empty(0, dtype=np.int64)
    usual = float(np.median(steps))
    is_usual = np.abs(steps - usual) <= max(1.0, 0.05 * usual)
    if is_usual.mean() < _MOSTLY:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(steps > 1.5 * usual)


def _jumps(path: Path, times: Int64[np.ndarray, "num_frames"]) -> list[str]:
    gaps = _gaps(times)
    if not len(gaps):
        return []
    steps = np.diff(times)
    missing = int(np.rint(steps[gaps] / np.median(steps)).sum()) - len(gaps)
    return [
        f"{path}: its times jump behind frame {gaps[0]} (jumps: {len(gaps)}), as if frames were "
        f"missing (in all: {missing}); the others are counted without them"
    ]


def _too_short(
    path: Path,
    claims: _Claims,
    times: Int64[np.ndarray, "num_frames"] | None,
    frame_rate: float | None,
) -> list[str]:
    if times is None or not claims.duration or not frame_rate:
        return []
    held = float(times[-1] - times[0]) * claims.time_base + 1 / frame_rate
    if held > (1 - _CLOSE) * claims.duration - 2 / frame_rate:
        return []
    return [
        f"{path}: its header says {claims.duration:.2f} s, it holds {held:.2f} s with {len(times)} "
        "frames, which are used"
    ]


def _keyframes(
    packets: Int64[np.ndarray, "num_packets 7"], times: Int64[np.ndarray, "num_frames"]
) -> Int64[np.ndarray, "num_keyframes 5"]:
    found = packets[packets[:, 3] == 1]
    found = found[np.argsort(found[:, 0], kind="stable")]
    numbers = np.searchsorted(times, found[:, 0])
    return np.concatenate([numbers[:, None], found[:, [6, 0, 1, 2]]], axis=1)


def _frame_rate(
    rate: float | None, times: Int64[np.ndarray, "num_frames"] | None, time_base: float
) -> float | None:
    """Return the rate that the header says, unless the times of the frames say another."""
    if times is None or len(times) < 2 or not time_base:
        return rate
    measured = (len(times) - 1) / (float(times[-1] - times[0]) * time_base)
    # Times are rounded in some formats, so of a short video the header knows better.
    return rate if rate and abs(rate - measured) <= _CLOSE * measured else measured
