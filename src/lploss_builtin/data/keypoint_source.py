"""What a reader of one file format gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Shaped

from lploss.reading import reading
from lploss_builtin.data.keypoint_table import KeypointHeader

#: Frames, coordinates ``x0 y0 x1 y1 ...`` (px) and likelihoods of consecutive rows.
Block: TypeAlias = tuple[
    Shaped[np.ndarray, "frames"],
    Float64[np.ndarray, "frames two_x_num_keypoints"],
    Float64[np.ndarray, "frames num_keypoints"] | None,
]


class KeypointSource(ABC):
    """A file whose header has been read and checked.

    Attributes:
        header: what the file says before its first frame.
    """

    header: KeypointHeader

    def blocks(self, max_frames: int) -> Iterator[Block]:
        """Yield the file's rows in order, at most ``max_frames`` at a time.

        Raises:
            DataError: a row cannot be read, or the views of a recording differ in their frames.
        """
        with reading(self.header.path):
            yield from self._blocks(max_frames)

    @abstractmethod
    def _blocks(self, max_frames: int) -> Iterator[Block]:
        """Yield the rows; what this raises need not be a `DataError`."""
