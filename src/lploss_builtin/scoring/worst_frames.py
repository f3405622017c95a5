"""The frames with the greatest values, kept while a file goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from lploss_builtin.data.poses.table import KeypointTable


@dataclass(frozen=True, slots=True, eq=False)
class WorstFrame:
    """A frame with a great value.

    Attributes:
        file: the file, as it was given.
        frame: number of the frame, or path of its image.
        row: how many frames of the file stand before it.
        keypoint: the element whose value is the greatest there.
        value: that value.
        poses: the pose of this frame, and before it those of the frames that the loss looks
            back at, as far as there are any; ``(frames, num_keypoints, 2)``, px.
        confidences: of this frame, where there are some.
    """

    file: str
    frame: int | str
    row: int
    keypoint: str
    value: float
    poses: Float64[np.ndarray, "frames num_keypoints 2"]
    confidences: Float64[np.ndarray, "num_keypoints"] | None = None


class WorstFrames:
    """Keeps the frames with the greatest values, each with its greatest; the first of equals.

    Args:
        num_kept: how many.
    """

    def __init__(self, num_kept: int) -> None:
        self.num_kept = num_kept
        self.found: list[WorstFrame] = []

    def add(
        self,
        file: str,
        element_names: Sequence[str],
        table: KeypointTable,
        first_row: int,
        values: Float64[np.ndarray, "new_frames elements"],
        num_previous_frames: int,
    ) -> None:
        """Look through consecutive frames.

        Args:
            file: the file, as it was given.
            element_names: a name for each value of a frame.
            table: the keypoints of the frames.
            first_row: how many frames of the file stand before the first new one.
            values: values of each frame that is new; NaN does not count.
            num_previous_frames: how many frames before its own a value looks at.
        """
        greatest = np.where(np.isnan(values), -np.inf, values).max(axis=1, initial=-np.inf)
        order = np.argsort(-greatest, kind="stable")[: self.num_kept]
        num_repeated = table.num_previous_frames
        for at in order.tolist():
            if greatest[at] == -np.inf:
                break
            here = num_repeated + at
            poses = table.keypoints[max(0, here - num_previous_frames) : here + 1]
            frame = table.frames[here]
            self.found.append(
                WorstFrame(
                    file,
                    frame if isinstance(frame, str) else int(frame),
                    first_row + at,
                    element_names[int(np.nanargmax(values[at]))],
                    float(greatest[at]),
                    poses.reshape(len(poses), -1, 2).copy(),
                    None if table.confidences is None else table.confidences[here].copy(),
                )
            )
        self._keep()

    def merge(self, other: WorstFrames) -> None:
        """Add what another one has found."""
        self.found += other.found
        self._keep()

    def _keep(self) -> None:
        self.found = sorted(self.found, key=lambda worst: -worst.value)[: self.num_kept]
