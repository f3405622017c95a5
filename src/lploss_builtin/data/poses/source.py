"""The interface of all readers of keypoint files, and their check of likelihoods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Shaped

from lploss.reading import reading
from lploss_builtin.data.poses.table import KeypointHeader

# How far outside 0 to 1 a likelihood may be: interpolated peaks of SLEAP reach 1.02 and more.
_TOLERANCE = 0.1

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

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader has changed in the rows so far."""
        return ()

    def blocks(self, max_frames: int) -> Iterator[Block]:
        """Yield the file's rows in order, at most ``max_frames`` at a time.

        Raises:
            DataError: a row cannot be read, or the views of a recording differ in their frames.
        """
        with reading(self.header.path):
            yield from self._blocks(max_frames)

    @abstractmethod
    def _blocks(self, max_frames: int) -> Iterator[Block]:
        """Yield the rows; `blocks` turns all exceptions into `DataError`."""


class CheckedSource(KeypointSource):
    """A file whose likelihoods are brought into the range from 0 to 1.

    A point without a likelihood gets the likelihood 1: a person has corrected it, or its model
    gives no likelihoods. Likelihoods that are outside the range by at most 0.1, such as those that
    SLEAP interpolates, become 0 or 1. If a likelihood is further outside, the point cannot be
    trusted: its coordinates and its likelihood become missing. The notes count both cases.

    Args:
        source: the reader of the file.
    """

    def __init__(self, source: KeypointSource) -> None:
        self.header = source.header
        self._source = source
        self._clipped: Counter[str] = Counter()
        self._unusable: Counter[str] = Counter()

    def _blocks(self, max_frames: int) -> Iterator[Block]:
        self._clipped.clear()
        self._unusable.clear()
        for frames, keypoints, confidences in self._source.blocks(max_frames):
            if confidences is None:
                yield frames, keypoints, None
            else:
                yield frames, *self._checked(keypoints, confidences)

    @property
    def notes(self) -> tuple[str, ...]:
        """One note if likelihoods outside 0 to 1 were read, else none."""
        if not self._clipped and not self._unusable:
            return ()
        parts = [f"{self.header.path}: likelihoods must be from 0 to 1."]
        if self._clipped:
            parts.append(
                f"Those within {_TOLERANCE} of it were set to 0 or 1: {_counts(self._clipped)}."
            )
        if self._unusable:
            parts.append(
                "Points whose likelihood is further outside count as missing: "
                f"{_counts(self._unusable)}. Correct the file; divide likelihoods in percent by "
                "100."
            )
        return (" ".join(parts),)

    def _checked(
        self,
        keypoints: Float64[np.ndarray, "frames two_x_num_keypoints"],
        confidences: Float64[np.ndarray, "frames num_keypoints"],
    ) -> tuple[
        Float64[np.ndarray, "frames two_x_num_keypoints"],
        Float64[np.ndarray, "frames num_keypoints"],
    ]:
        points = keypoints.reshape(*confidences.shape, 2)
        is_there = np.isfinite(points).all(axis=-1)
        # NaN is neither outside nor inside.
        is_outside = is_there & ((confidences < 0.0) | (confidences > 1.0))
        is_far = (confidences < -_TOLERANCE) | (confidences > 1.0 + _TOLERANCE)
        is_unusable = is_there & is_far
        for counter, chosen in (
            (self._clipped, is_outside & ~is_unusable),
            (self._unusable, is_unusable),
        ):
            names = self.header.keypoint_names
            counter.update(
                {names[k]: int(chosen[:, k].sum()) for k in np.flatnonzero(chosen.any(axis=0))}
            )
        confidences = np.where(is_unusable, np.nan, np.clip(confidences, 0.0, 1.0))
        is_certain = is_there & ~is_unusable & np.isnan(confidences)
        return (
            np.where(is_unusable[..., None], np.nan, points).reshape(keypoints.shape),
            np.where(is_certain, 1.0, confidences),
        )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{number} of {name!r}" for name, number in counter.items())
