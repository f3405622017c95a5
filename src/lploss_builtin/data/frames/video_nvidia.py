"""Decoding on an NVIDIA GPU, by torchcodec where it is at hand."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8

from lploss.errors import ArgumentValueError, MissingDependencyError
from lploss_builtin.data.frames.images import ImageSize
from lploss_builtin.data.frames.video_index import VideoIndex
from lploss_builtin.dependencies import require

#: What may decode videos; see `decoder_of`.
DECODERS = ("cpu", "cuda", "auto")

_TOLERANCE = 0.25


def nvidia_is_at_hand() -> bool:
    """Return whether there are a CUDA device and torchcodec."""
    return torch.cuda.is_available() and importlib.util.find_spec("torchcodec") is not None


def check_decoder(name: str) -> None:
    """Check that there is such a decoder.

    Raises:
        ArgumentValueError: there is not.
    """
    if name not in DECODERS:
        raise ArgumentValueError(f"decoder must be one of {', '.join(DECODERS)}, got {name!r}")


def decoder_of(name: str, device: torch.device | None = None) -> str:
    """Return what decodes videos: ``"cpu"``, or ``"cuda"`` for NVIDIA's decoder.

    Args:
        name: ``"auto"``: NVIDIA's decoder where it is at hand, and the frames go to a GPU.
        device: where the frames go; to any unless given.

    Raises:
        ArgumentValueError: there is no such decoder.
        MissingDependencyError: NVIDIA's decoder cannot be used.

    Example:
        >>> decoder_of("auto", torch.device("cpu"))
        'cpu'
    """
    check_decoder(name)
    if name == "auto":
        goes_to_gpu = device is None or device.type == "cuda"
        return "cuda" if goes_to_gpu and nvidia_is_at_hand() else "cpu"
    if name == "cuda" and not nvidia_is_at_hand():
        raise MissingDependencyError(
            "NVIDIA's decoder needs a CUDA device and torchcodec: pip install torchcodec, or "
            "decode on the CPU (--decoder cpu; in a config, dali.general.decoder: cpu)"
        )
    return name


class NvidiaMismatchError(Exception):
    """What the GPU decodes are not the frames that the packets hold."""


class NvidiaDecoder:
    """Frames of a video, decoded and resized on a GPU.

    Args:
        index: the frames of the video, with their times.
        device: of PyTorch; a CPU serves as well.

    Raises:
        NvidiaMismatchError: it counts other frames than the packets.
        MissingDependencyError: torchcodec is not installed.
    """

    def __init__(self, index: VideoIndex, device: str = "cuda") -> None:
        decoders = require("torchcodec.decoders", "train", "to decode video on a GPU")
        self._index = index
        self._decoder: Any = decoders.VideoDecoder(
            str(index.path), device=device, dimension_order="NCHW", seek_mode="exact"
        )
        if index.times is None or index.rotation or len(self._decoder) != index.num_frames:
            raise NvidiaMismatchError
        # Where its clock begins.
        self._first_time = float(self._decoder.get_frame_at(0).pts_seconds)

    def read(
        self,
        start: int,
        stop: int,
        image_size: ImageSize,
        crop: tuple[float, float, float, float] | None = None,
    ) -> UInt8[np.ndarray, "frames height width 3"]:
        """Return frames, resized with antialiasing.

        Args:
            start: the first frame.
            stop: the frame behind the last.
            image_size: height and width of what is returned, px.
            crop: x, y, height and width of a box, px; rounded to whole pixels.

        Raises:
            NvidiaMismatchError: the frames have other times, or another size.
        """
        batch = self._decoder.get_frames_in_range(start, stop)
        self._check(start, stop, batch)
        images = batch.data
        if crop is not None:
            x, y, height, width = (round(value) for value in crop)
            images = images[..., y : y + height, x : x + width]
        if tuple(images.shape[-2:]) != tuple(image_size):
            resized = torch.nn.functional.interpolate(
                images.float(), size=image_size, mode="bilinear", antialias=True
            )
            images = resized.round().clamp(0, 255).to(torch.uint8)
        pixels = rearrange(images, "frames rgb height width -> frames height width rgb")
        return pixels.cpu().numpy()

    def _check(self, start: int, stop: int, batch: Any) -> None:
        index = self._index
        times = index.times
        if times is None or batch.data.shape != (stop - start, 3, index.height, index.width):
            raise NvidiaMismatchError
        expected = (times[start:stop] - times[0]) * index.time_base
        found = batch.pts_seconds.cpu().numpy()
        step = 1 / (index.frame_rate or 1.0)
        if np.abs(found - self._first_time - expected).max(initial=0.0) > _TOLERANCE * step:
            raise NvidiaMismatchError
