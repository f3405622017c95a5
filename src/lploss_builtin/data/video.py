"""Single frames of a video, by their number."""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lploss.errors import DataError
from lploss.reading import check_file
from lploss_builtin.data.dependencies import require

_PURPOSE = "to read video"


def check_video(path: str | PathLike[str]) -> None:
    """Check that a file is a video.

    Raises:
        DataError: the file is missing or no video.
        MissingDependencyError: av is not installed.
    """
    _open(path).close()


def count_frames(path: str | PathLike[str]) -> int:
    """Return how many frames a video has, as its container stores them.

    Raises:
        DataError: the file is missing or no video.
        MissingDependencyError: av is not installed.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        return sum(1 for packet in container.demux(stream) if packet.size)


def read_frames(
    path: str | PathLike[str], numbers: Collection[int]
) -> dict[int, UInt8[np.ndarray, "height width 3"]]:
    """Read frames of a video.

    Every frame up to the last one asked for is decoded: what containers say of the time of a
    frame is not always its number.

    Args:
        path: the video.
        numbers: numbers of the frames, from 0 on.

    Returns:
        The frames as red, green, blue.

    Raises:
        DataError: the file is missing or no video, or ends before.
        MissingDependencyError: av is not installed.
    """
    wanted = set(numbers)
    found: dict[int, UInt8[np.ndarray, "height width 3"]] = {}
    if not wanted:
        return found
    number = -1
    with _open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24")
            if number >= max(wanted):
                return found
    raise DataError(
        f"the video {path} has {number + 1} frames; frame {max(wanted)} was asked for (frames "
        "count from 0)"
    )


def _open(path: str | PathLike[str]) -> Any:
    av = require("av", "score", _PURPOSE)
    check_file(Path(path), "the video")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path} cannot be read as a video: {error}") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no video")
    return container
