"""Videos in which predicted keypoints are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8

from lploss.errors import DataError
from lploss_builtin.data.frames.drawn_videos import mark_as_drawn
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.poses.reading import iter_keypoints, read_header
from lploss_builtin.data.poses.table import KeypointTable
from lploss_builtin.dependencies import require
from lploss_builtin.output import whole_file
from lploss_builtin.predicting.keypoint_marks import (
    check_threshold,
    draw_keypoints,
    keypoint_colours,
)
from lploss_builtin.predicting.mean_value import MeanValue

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
        source: the video, or the folder of images.
        predictions: a file of predictions of its first frames, as `read_keypoints` takes it.
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
    check_threshold(confidence_threshold)
    colours = keypoint_colours(len(read_header(predictions).keypoint_names), colormap)
    drawn = MeanValue()
    with (
        whole_file(out) as path,
        closing(_Encoder(path, source)) as encoder,
        closing(_frames_and_rows(source, predictions, keep_going)) as pieces,
    ):
        for frames, table in pieces:
            keypoints = rearrange(table.keypoints, "frames (k xy) -> frames k xy", xy=2)
            is_shown = np.ones(keypoints.shape[:2], dtype=bool)
            if table.confidences is not None:
                # NaN where the model cannot tell.
                is_shown = ~(table.confidences < confidence_threshold)
            is_there = np.isfinite(keypoints).all(axis=-1)
            drawn.add(torch.from_numpy(is_shown[is_there].astype(np.float64)))
            for frame, own, shown in zip(frames, keypoints, is_shown, strict=True):
                draw_keypoints(frame, own, shown, colours)
                encoder.add(frame)
    return drawn.value


def _frames_and_rows(
    source: FrameSource, predictions: Path, keep_going: bool
) -> Generator[tuple[UInt8[np.ndarray, "frames height width 3"], KeypointTable]]:
    """Yield the frames with their rows, piece by piece; the next ones are read in the meantime."""
    num_at_once = max(1, _BYTES_AT_ONCE // (3 * source.height * source.width))
    start = 0
    with FrameReader(source) as reader, ThreadPoolExecutor(1) as pool:

        def read(start: int, stop: int) -> UInt8[np.ndarray, "frames height width 3"]:
            if keep_going:
                return reader.read_where_possible(start, stop)[0]
            return reader.read(start, stop)

        waiting: deque[tuple[Future[UInt8[np.ndarray, "..."]], KeypointTable]] = deque()
        for table in iter_keypoints(predictions, num_at_once):
            stop = start + len(table.frames)
            if stop > source.num_frames and keep_going:
                stop = source.num_frames
                table = table.rows(0, stop - start)
            if stop > source.num_frames:
                raise DataError(
                    f"{predictions} has more rows than {source.path} has frames, which are "
                    f"{source.num_frames}: they are not of this video"
                )
            waiting.append((pool.submit(read, start, stop), table))
            start = stop
            if len(waiting) > 1:
                frames, rows = waiting.popleft()
                yield frames.result(), rows
        while waiting:
            frames, rows = waiting.popleft()
            yield frames.result(), rows


class _Encoder:
    """A video that is being written."""

    def __init__(self, path: Path, source: FrameSource) -> None:
        self._av: Any = require("av", "train", "to write labelled videos")
        rate = Fraction(source.frame_rate or _FRAME_RATE).limit_denominator(1001)
        self._container = self._av.open(str(path), "w")
        mark_as_drawn(self._container)
        self._stream = self._container.add_stream("libx264", rate=rate, options=dict(_QUALITY))
        self._stream.height = source.height + source.height % 2
        self._stream.width = source.width + source.width % 2
        self._stream.pix_fmt = "yuv420p"
        self._padding = ((0, source.height % 2), (0, source.width % 2), (0, 0))

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
