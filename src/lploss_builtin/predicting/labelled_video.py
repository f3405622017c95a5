"""Videos in which predicted keypoints are drawn."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8

from lploss.errors import ArgumentValueError, DataError, did_you_mean
from lploss_builtin.data.frames.batches import started_ahead
from lploss_builtin.data.frames.images import ImageSize
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.frames.video_recordings import mark_as_drawn
from lploss_builtin.data.poses.reading import read_poses
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.dependencies import require
from lploss_builtin.output import whole_file
from lploss_builtin.predicting.summary import MeanValue

# Of the shorter side of a frame.
_RADIUS = 0.009
_SMALLEST = 2.0
_RIM = 1.0


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """How keypoints are drawn into videos.

    Attributes:
        confidence_threshold: from which likelihood on a keypoint is shown, 0 to 1.
        colormap: of matplotlib.
    """

    confidence_threshold: float = 0.9
    colormap: str = "cool"

    def check(self) -> None:
        """Check that videos can be drawn like this.

        Raises:
            ArgumentValueError: there is no such colormap, or the threshold is no likelihood.
        """
        if not 0.0 <= self.confidence_threshold <= 1.0:
            raise ArgumentValueError(
                f"confidence_threshold must be between 0 and 1, got {self.confidence_threshold}"
            )
        keypoint_colours(1, self.colormap)


def keypoint_colours(num_keypoints: int, colormap: str) -> UInt8[np.ndarray, "num_keypoints 3"]:
    """Return a colour for each keypoint, evenly spread over a colormap of matplotlib.

    Raises:
        ArgumentValueError: there is no such colormap.
    """
    known = require("matplotlib", "train", "to colour keypoints").colormaps
    if colormap not in known:
        raise ArgumentValueError(
            f"there is no colormap {colormap!r}.{did_you_mean(colormap, known)} Those of "
            "matplotlib can be used, such as cool, viridis or hsv"
        )
    colours = known[colormap](np.linspace(0.0, 1.0, num_keypoints))
    rounded: UInt8[np.ndarray, "num_keypoints 3"] = (255 * colours[:, :3]).round().astype(np.uint8)
    return rounded


def draw_keypoints(
    frame: UInt8[np.ndarray, "height width 3"],
    keypoints: Float[np.ndarray, "num_keypoints 2"],
    is_shown: Bool[np.ndarray, "num_keypoints"],
    colours: UInt8[np.ndarray, "num_keypoints 3"],
) -> None:
    """Draw a disc with a dark rim at each keypoint into a frame.

    Args:
        frame: gets the discs.
        keypoints: x and y, px; a disc that reaches out of the frame is cut off.
        is_shown: which of them to draw.
        colours: of each keypoint.

    Example:
        >>> frame = np.zeros((9, 9, 3), dtype=np.uint8)
        >>> green = np.array([[0, 255, 0]], dtype=np.uint8)
        >>> draw_keypoints(frame, np.array([[3.0, 5.0]]), np.array([True]), green)
        >>> frame[5, 3].tolist()
        [0, 255, 0]
    """
    height, width, _ = frame.shape
    radius = max(_SMALLEST, _RADIUS * min(height, width))
    reach = radius + _RIM + 1.0
    for number in np.flatnonzero(is_shown & np.isfinite(keypoints).all(axis=1)).tolist():
        x, y = keypoints[number].tolist()
        if not (-reach < x < width - 1 + reach and -reach < y < height - 1 + reach):
            continue
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 2)
        top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 2)
        distance = np.hypot(np.arange(left, right) - x, (np.arange(top, bottom) - y)[:, None])[
            ..., None
        ]
        rim = np.clip(radius + _RIM + 0.5 - distance, 0.0, 1.0)
        disc = np.clip(radius + 0.5 - distance, 0.0, 1.0)
        patch = frame[top:bottom, left:right]
        mixed = patch * (1.0 - rim) + disc * colours[number]
        patch[:] = np.clip(mixed, 0.0, 255.0).round().astype(np.uint8)


_BYTES_AT_ONCE = 2**25
# Of images, which have none.
_FRAME_RATE = 25
# The difference to the original can hardly be seen.
_QUALITY = {"crf": "20", "preset": "superfast"}


def write_labelled_video(
    source: FrameSource,
    predictions: Path,
    out: Path,
    *,
    confidence_threshold: float = 0.9,
    colormap: str = "cool",
    keep_going: bool = False,
) -> float:
    """Draw predicted keypoints into a video, frame by frame.

    The result has the frames of the video, in its size and at its frame rate, as H.264; where a
    side is odd, which H.264 does not know, its last row or column stands there twice. It appears
    when it is complete.

    Args:
        source: the video, or the images. Images are shown in the size of the first that can be
            read. Where the frames were cut out of larger ones, the keypoints are px in these.
        predictions: a file of predictions of its first frames, as `read_poses` takes it.
        out: the file to write; its name ends in ``.mp4`` or that of another container.
        confidence_threshold: from which likelihood on a keypoint is drawn, 0 to 1; where there
            are no likelihoods, all are.
        colormap: of matplotlib, for a colour a keypoint.
        keep_going: whether frames that cannot be read are black, and rows behind the last frame
            are left out, instead of an error.

    Returns:
        Which share of the keypoints that were found is likely enough to be drawn, 0 to 1; NaN
        where none was found.

    Raises:
        DataError: the predictions cannot be used or are of more frames, or a frame cannot be
            read.
        ArgumentValueError: there is no such colormap, or the threshold is no likelihood.
        MissingDependencyError: av is not installed.
    """
    LabelledVideo(confidence_threshold, colormap).check()
    poses = read_poses(predictions)
    # A colour per keypoint, the same for each individual.
    colours = np.tile(keypoint_colours(len(poses.keypoints), colormap), (len(poses.individuals), 1))
    drawn = MeanValue()
    source = replace(source, boxes=source.boxes if source.are_cut_out else None)
    size = source.shown_size()
    with (
        whole_file(out) as path,
        closing(_Encoder(path, size, source.frame_rate)) as encoder,
        closing(_frames_and_rows(source, size, poses, keep_going)) as pieces,
    ):
        for start, frames, table in pieces:
            keypoints = rearrange(table.points, "frames i k xy -> frames (i k) xy")
            is_shown = np.ones(keypoints.shape[:2], dtype=bool)
            if table.confidences is not None:
                # NaN where the model cannot tell.
                likely = ~(table.confidences < confidence_threshold)
                is_shown = rearrange(likely, "frames i k -> frames (i k)")
            is_there = np.isfinite(keypoints).all(axis=-1)
            drawn.add(torch.from_numpy(is_shown[is_there].astype(np.float64)))
            # From px of the original images to px of the video.
            boxes = source.seen_boxes(start, start + len(frames))[:, None]
            scale = np.array(size[::-1]) / boxes[..., :1:-1]
            placed = (keypoints - boxes[..., :2]) * scale
            for frame, own, shown in zip(frames, placed, is_shown, strict=True):
                draw_keypoints(frame, own, shown, colours)
                encoder.add(frame)
    return drawn.value


def _frames_and_rows(
    source: FrameSource, size: ImageSize, poses: PoseTable, keep_going: bool
) -> Generator[tuple[int, UInt8[np.ndarray, "frames height width 3"], PoseTable]]:
    """Yield the frames with their rows, piece by piece; the next ones are read in the meantime."""
    num_at_once = max(1, _BYTES_AT_ONCE // (3 * size[0] * size[1]))
    num_frames = len(poses.frames)
    if num_frames > source.num_frames:
        if not keep_going:
            raise DataError(
                f"{poses.path} has more rows than {source.path} has frames, which are "
                f"{source.num_frames}: they are not of this video"
            )
        num_frames = source.num_frames
    with FrameReader(source, size) as reader, ThreadPoolExecutor(1) as pool:

        def read(start: int, stop: int) -> UInt8[np.ndarray, "frames height width 3"]:
            if keep_going:
                return reader.read_where_possible(start, stop)[0]
            return reader.read(start, stop)

        def pieces() -> Iterator[tuple[int, Future[UInt8[np.ndarray, "..."]], PoseTable]]:
            for start in range(0, num_frames, num_at_once):
                stop = min(start + num_at_once, num_frames)
                yield start, pool.submit(read, start, stop), poses.between(start, stop)

        for start, frames, rows in started_ahead(pieces(), 1):
            yield start, frames.result(), rows


class _Encoder:
    """A video that is being written."""

    def __init__(self, path: Path, size: ImageSize, frame_rate: float | None) -> None:
        self._av: Any = require("av", "train", "to write labelled videos")
        rate = Fraction(frame_rate or _FRAME_RATE).limit_denominator(1001)
        self._container = self._av.open(str(path), "w")
        mark_as_drawn(self._container)
        self._stream = self._container.add_stream("libx264", rate=rate, options=dict(_QUALITY))
        height, width = size
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))

    def add(self, frame: UInt8[np.ndarray, "height width 3"]) -> None:
        """Add a frame."""
        even = np.pad(frame, self._padding, mode="edge") if self._padding != _NOTHING else frame
        picture = self._av.VideoFrame.from_ndarray(even, format="rgb24")
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file."""
        try:
            for packet in self._stream.encode():
                self._container.mux(packet)
        finally:
            self._container.close()


_NOTHING = ((0, 0), (0, 0), (0, 0))
