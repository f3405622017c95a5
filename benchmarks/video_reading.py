"""Reading frames of a video: from start to end, and in windows at random places.

Beside OpenCV, which seeks by the number of the frame, and beside a decoding from the start, which
needs no seeking. All give frames of the size that a model takes. OpenCV's frames are compared
with ours, in full size, so that the table says whether it found the very ones that were asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from benchmarks import report, timing
from benchmarks.report import Options
from benchmarks.timing import Comparison, Quartiles
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import FrameSource, frame_source

_HEIGHT, _WIDTH, _NUM_FRAMES = 512, 640, 480
_SIZE = 256, 256
_WINDOW, _NUM_WINDOWS = 16, 6
_BLOCK = 32
_KINDS = {
    "H.264, keyframe every 60": ("a.mp4", "libx264", {"g": "60"}),
    "H.264, keyframe every 240": ("b.mp4", "libx264", {"g": "240"}),
    "H.264 in AVI, no times": ("c.avi", "libx264", {"g": "60"}),
    "MJPEG in AVI": ("d.avi", "mjpeg", {}),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured for one video; times in seconds for a frame.

    Attributes:
        video: what kind it is.
        reading: which frames.
        ours: time of ours.
        opencv: time of OpenCV.
        comparison: how many times faster ours is.
        from_start: how many times faster ours is than a decoding from the start.
        opencv_is_exact: whether OpenCV gave the frames that were asked for.
    """

    video: str
    reading: str
    ours: Quartiles
    opencv: Quartiles
    comparison: Comparison
    from_start: Comparison | None
    opencv_is_exact: bool


def main() -> None:
    report.run("video_reading", __doc__, run)


def run(options: Options) -> None:
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    starts = np.random.default_rng(0).integers(0, _NUM_FRAMES - _WINDOW, _NUM_WINDOWS).tolist()
    # Each call takes long: fewer rounds will do.
    rounds = max(2, options.rounds // 4)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, (name, codec, settings) in _KINDS.items():
            source = frame_source(_write(Path(folder) / name, codec, settings))
            rows.append(_whole(kind, source, rounds, options))
            rows.append(_windows(kind, source, starts, rounds, options))
    note = (
        f"{_NUM_FRAMES} frames of {_HEIGHT} x {_WIDTH} px, read as {_SIZE[0]} x {_SIZE[1]}; "
        f"windows of {_WINDOW} frames."
    )
    report.publish("video_reading", options, _table(rows), rows, [], note)


def _write(path: Path, codec: str, settings: dict[str, str]) -> Path:
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    noise = np.random.default_rng(1).integers(0, 40, (_HEIGHT, 2 * _WIDTH, 1), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=settings)
        stream.height, stream.width = _HEIGHT, _WIDTH
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(_NUM_FRAMES):
            wave = 100 + 60 * np.sin((x + 2 * number) / 25) * np.cos((y - number) / 19)
            moved = noise[:, number % _WIDTH : number % _WIDTH + _WIDTH]
            picture = np.repeat(wave[..., None].astype(np.uint8) + moved, 3, axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _whole(kind: str, source: FrameSource, rounds: int, options: Options) -> Row:
    def ours() -> None:
        with FrameReader(source, _SIZE) as reader:
            for start in range(0, source.num_frames, _BLOCK):
                reader.read(start, min(start + _BLOCK, source.num_frames))

    def opencv() -> None:
        capture = cv2.VideoCapture(str(source.path))
        while (picture := capture.read()[1]) is not None:
            _resized(picture)
        capture.release()

    calls = {"ours": ours, "opencv": opencv}
    return _row(kind, "from start to end", calls, source, [0], _NUM_FRAMES, rounds, options)


def _windows(
    kind: str, source: FrameSource, starts: list[int], rounds: int, options: Options
) -> Row:
    reader = FrameReader(source, _SIZE)
    capture = cv2.VideoCapture(str(source.path))

    def ours() -> None:
        for start in starts:
            reader.read(start, start + _WINDOW)

    def opencv() -> None:
        for start in starts:
            for picture in _opencv_window(capture, start):
                _resized(picture)

    def from_start() -> None:
        for start in starts:
            with FrameReader(source, _SIZE) as fresh:
                # Blocks follow each other, so nothing is sought.
                for first in range(0, start, _BLOCK):
                    fresh.read(first, min(first + _BLOCK, start))
                fresh.read(start, start + _WINDOW)

    calls = {"ours": ours, "opencv": opencv, "from_start": from_start}
    row = _row(kind, "random windows", calls, source, starts, _WINDOW, rounds, options)
    reader.close()
    capture.release()
    return row


def _row(
    kind: str,
    reading: str,
    calls: dict[str, Callable[[], None]],
    source: FrameSource,
    starts: list[int],
    length: int,
    rounds: int,
    options: Options,
) -> Row:
    seconds = timing.interleaved(calls, options.device, rounds, number=1)
    num_frames = len(starts) * length
    own = {name: [value / num_frames for value in values] for name, values in seconds.items()}
    return Row(
        kind,
        reading,
        Quartiles.of(own["ours"]),
        Quartiles.of(own["opencv"]),
        Comparison.of(own["opencv"], own["ours"]),
        Comparison.of(own["from_start"], own["ours"]) if "from_start" in own else None,
        _is_exact(source, starts),
    )


def _is_exact(source: FrameSource, starts: list[int]) -> bool:
    """Return whether OpenCV finds the frames that we find; both give the same colours."""
    capture = cv2.VideoCapture(str(source.path))
    with FrameReader(source) as reader:
        for start in starts:
            expected = reader.read(start, start + _WINDOW)
            found = np.stack(_opencv_window(capture, start))[..., ::-1]
            if not np.array_equal(found, expected):
                return False
    capture.release()
    return True


def _opencv_window(capture: cv2.VideoCapture, start: int) -> list[np.ndarray]:
    capture.set(cv2.CAP_PROP_POS_FRAMES, start)
    return [capture.read()[1] for _ in range(_WINDOW)]


def _resized(picture: np.ndarray) -> np.ndarray:
    colours = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return cv2.resize(colours, _SIZE[::-1], interpolation=cv2.INTER_AREA)


def _table(rows: list[Row]) -> dict[str, list[str]]:
    return {
        "video": [row.video for row in rows],
        "reading": [row.reading for row in rows],
        "ms a frame": [report.milliseconds(row.ours) for row in rows],
        "OpenCV, ms": [report.milliseconds(row.opencv) for row in rows],
        "times as fast": [report.times(row.comparison.ratio) for row in rows],
        "quiet": [f"{row.comparison.quiet:.1f}" for row in rows],
        "OpenCV exact": ["yes" if row.opencv_is_exact else "no" for row in rows],
        "against from the start": [
            report.times(row.from_start.ratio) if row.from_start else "" for row in rows
        ],
    }


if __name__ == "__main__":
    main()
