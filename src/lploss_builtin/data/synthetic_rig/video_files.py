"""The videos of a session, one a view, made from the images of its frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lploss_builtin.data.dependencies import require

FRAME_RATE = 30
# Edges stay sharp; a keyframe every two seconds, as cameras have it.
_OPTIONS = {"crf": "17", "g": "60"}


def write_videos(videos: Mapping[Path, Sequence[Path]]) -> None:
    """Write videos from images, H.264 in MP4.

    The same images give the same file.

    Args:
        videos: for each video the images of its frames, of even height and width.

    Raises:
        MissingDependencyError: av or Pillow is not installed.
    """
    av = require("av", "train", "to write videos")
    image = require("PIL.Image", "train", "to read images")
    for path, frames in videos.items():
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FRAME_RATE, options=_OPTIONS)
            stream.pix_fmt = "yuv420p"
            # How many threads there are changes what the codec writes.
            stream.thread_count = 1
            for number, frame in enumerate(frames):
                with image.open(frame) as file:
                    pixels = np.asarray(file.convert("RGB"))
                if number == 0:
                    stream.height, stream.width = pixels.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
