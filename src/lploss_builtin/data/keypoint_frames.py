"""The index of a keypoint file: frame numbers, or paths of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, Shaped


def frame_numbers(texts: Sequence[object]) -> Int64[np.ndarray, "frames"] | None:
    """Return frames as whole numbers, or ``None`` where one of them is none.

    Example:
        >>> frame_numbers(["0", "1.0"])
        array([0, 1])
        >>> frame_numbers(["img0.png"]) is None
        True
    """
    try:
        return np.array([int(str(text)) for text in texts], dtype=np.int64)
    except ValueError:
        pass
    try:
        numbers = [float(str(text)) for text in texts]
    except ValueError:
        return None
    if not all(number.is_integer() for number in numbers):
        return None
    return np.array(numbers).astype(np.int64)


def image_paths(levels: Sequence[Sequence[object]]) -> Shaped[np.ndarray, "frames"]:
    """Return the path of each frame's image, with ``/`` between its parts.

    Args:
        levels: for each level of the index the entries of all frames. Older files of
            DeepLabCut have three: ``labeled-data``, folder, image.

    Example:
        >>> image_paths([["labeled-data"], ["mouse"], ["img0.png"]])
        array(['labeled-data/mouse/img0.png'], dtype=object)
    """
    paths = np.empty(len(levels[0]), dtype=object)
    paths[:] = [
        "/".join(str(part) for part in parts).replace("\\", "/")
        for parts in zip(*levels, strict=True)
    ]
    return paths
