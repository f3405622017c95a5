"""Videos of many kinds for tests, and what is in them by a decoding from start to end."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np


class Kind(NamedTuple):
    name: str
    codec: str
    options: dict[str, str]
    pixels: str = "yuv420p"
    height: int = 48
    width: int = 66


KINDS = (
    Kind("b_frames.mp4", "libx264", {"g": "12", "bf": "3"}),
    Kind("open_gop.mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3"}),
    Kind("one_keyframe.mkv", "libx264", {}),
    Kind("h264.avi", "libx264", {"g": "12"}),
    Kind("h264.ts", "libx264", {"g": "12"}),
    Kind("raw.h264", "libx264", {"g": "12"}),
    Kind("ten_bits.mp4", "libx264", {"g": "12"}, "yuv420p10le"),
    Kind("grey.mp4", "libx264", {"g": "12"}, "gray", 47, 65),
    Kind("odd.mp4", "libx264", {"g": "12"}, "yuv444p", 47, 65),
    Kind("refreshed.ts", "libx264", {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}),
    Kind("hevc.mp4", "libx265", {"x265-params": "log-level=none:keyint=12:open-gop=1"}),
    Kind("mpeg4.avi", "mpeg4", {"g": "12"}),
    Kind("mpeg4_b.avi", "mpeg4", {"g": "12", "bf": "2"}),
    Kind("mpeg2.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    Kind("mjpeg.avi", "mjpeg", {}, "yuvj420p", 47, 65),
    Kind("vp8.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "9", "g": "12"}),
    Kind("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "g": "12"}, "yuv420p", 47, 65),
    Kind("alpha.mov", "qtrle", {}, "argb", 47, 65),
    Kind("ffv1.mkv", "ffv1", {}),
)


def moving_picture(number: int, height: int = 48, width: int = 66) -> np.ndarray:
    """Return a picture that tells its number by eight black or white squares."""
    y, x = np.mgrid[:height, :width]
    channels = [(2 * x + 3 * number) % 256, (2 * y + 5 * number) % 256, 0 * x + 2 * number]
    picture = np.stack(channels, axis=-1).astype(np.uint8)
    for bit in range(8):
        picture[8:16, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
    return picture


def number_in(picture: np.ndarray) -> int:
    """Return the number that a picture tells."""
    means = [picture[10:14, 8 * bit + 2 : 8 * bit + 6].mean() for bit in range(8)]
    return sum((mean > 127) << bit for bit, mean in enumerate(means))


def write_video(
    path: Path,
    num_frames: int = 60,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    height: int = 48,
    width: int = 66,
    times: Sequence[int] | None = None,
    rate: int = 25,
    container_options: dict[str, str] | None = None,
    comment: str | None = None,
) -> Path:
    with av.open(str(path), "w", options=container_options or {}) as container:
        if comment is not None:
            container.metadata["comment"] = comment
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        stream.thread_count = 1
        for number in range(num_frames):
            picture = moving_picture(number, height, width)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_kind(folder: Path, kind: Kind, num_frames: int = 60) -> Path:
    return write_video(
        folder / kind.name,
        num_frames,
        kind.codec,
        kind.options,
        kind.pixels,
        kind.height,
        kind.width,
    )


def all_frames(path: Path) -> np.ndarray:
    """Return every frame that a decoding from start to end gives."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_drawn_video(path: Path) -> Path:
    """Write a video that says that keypoints are drawn in it."""
    return write_video(path, 2, comment="lploss: predicted keypoints are drawn in this video")
