"""Decoded frames as red, green, blue, in the size that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

from lploss_builtin.data.frames.images import ImageSize
from lploss_builtin.dependencies import require


class FrameConverter:
    """Converts frames from the colours of their codec, and resizes them with antialiasing.

    A frame in its own size is what OpenCV gives. Colours and size are changed in one step, which
    is several times faster than to resize the image; what differs from that is half a grey level
    of 255 on average.
    """

    def __init__(self) -> None:
        self._reformatter: Any = None

    def rgb(self, frame: Any, image_size: ImageSize) -> UInt8[np.ndarray, "height width 3"]:
        """Return the pixels of a frame.

        Args:
            frame: as PyAV has it.
            image_size: height and width of the result, px.
        """
        module = require("av.video.reformatter", "train", "to read video")
        if self._reformatter is None:
            self._reformatter = module.VideoReformatter()
        # In one thread: several views are read at the same time.
        how: dict[str, Any] = {"format": "rgb24", "threads": 1}
        if image_size != (frame.height, frame.width):
            kind = module.Interpolation
            flags = kind.BILINEAR | kind.ACCURATE_RND | kind.FULL_CHR_H_INT | kind.FULL_CHR_H_INP
            how |= {"height": image_size[0], "width": image_size[1], "interpolation": int(flags)}
            # One plane a colour, put together by NumPy: half the time, for the same values but for
            # a grey level in one of two thousand.
            how["format"] = "gbrp"
        return self._reformatter.reformat(frame, **how).to_ndarray()
