"""A time series that keeps its peaks while it is thinned out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


class PeakSeries:
    """Values over time, at most so many points; each point is the greatest value of its frames.

    Args:
        num_elements: values a frame.
        max_points: most points; even.

    Example:
        >>> series = PeakSeries(num_elements=1, max_points=2)
        >>> series.add(np.array([[1.0], [9.0], [2.0], [3.0]]))
        >>> series.points.tolist(), series.frames_a_point
        ([[9.0], [3.0]], 2)
    """

    def __init__(self, num_elements: int, max_points: int = 4000) -> None:
        self._peaks = np.full((max_points, num_elements), np.nan)
        self.frames_a_point = 1
        self.num_frames = 0

    @property
    def points(self) -> Float64[np.ndarray, "points elements"]:
        """The greatest value of each run of `frames_a_point` frames; NaN where none counts."""
        return self._peaks[: -(-self.num_frames // self.frames_a_point)]

    def add(self, values: Float64[np.ndarray, "frames elements"]) -> None:
        """Append the values of the frames that follow."""
        end = self.num_frames + len(values)
        while end > self.frames_a_point * len(self._peaks):
            halves = np.fmax(self._peaks[0::2], self._peaks[1::2])
            self._peaks[: len(halves)] = halves
            self._peaks[len(halves) :] = np.nan
            self.frames_a_point *= 2
        point = np.arange(self.num_frames, end) // self.frames_a_point
        np.fmax.at(self._peaks, point, values)
        self.num_frames = end
