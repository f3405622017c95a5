"""The index of a keypoint file: frame numbers, or paths of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int64, Shaped

from lploss.errors import DataError

# Above, a number that was once a float may not be the one that was meant.
_GREATEST = 2**53


def frame_numbers(
    texts: Sequence[object], where: Callable[[int], str]
) -> Int64[np.ndarray, "frames"] | None:
    """Return frames as whole numbers, or ``None`` where one of them is none.

    Args:
        texts: the frames, as numbers or text.
        where: returns, for a position among them, where it stands in the file, for messages.

    Raises:
        DataError: a number is beyond what can be a frame.

    Example:
        >>> frame_numbers(["0", "1.0"], "row {}".format)
        array([0, 1])
        >>> frame_numbers(["img0.png"], "row {}".format) is None
        True
    """
    numbers = _whole_numbers(texts)
    if numbers is None:
        return None
    for position, number in enumerate(numbers):
        if abs(number) > _GREATEST:
            raise DataError(
                f"{where(position)}: the number of a frame must be from -2**53 to 2**53, got "
                f"{texts[position]!s}. Correct it."
            )
    return np.array(numbers, dtype=np.int64)


def _whole_numbers(texts: Sequence[object]) -> list[int] | None:
    try:
        return [int(str(text)) for text in texts]
    except ValueError:
        pass
    try:
        numbers = [float(str(text)) for text in texts]
    except ValueError:
        return None
    return [int(number) for number in numbers] if all(map(float.is_integer, numbers)) else None


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
