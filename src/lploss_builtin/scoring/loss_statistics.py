"""What one loss says of one file, or of all, kept while the frames go by."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from lploss_builtin.data.poses.table import KeypointTable
from lploss_builtin.scoring.peak_series import PeakSeries
from lploss_builtin.scoring.scored_loss import ScoredLoss
from lploss_builtin.scoring.summary import ScoreRow, WorstEntry
from lploss_builtin.scoring.value_histogram import ValueHistogram
from lploss_builtin.scoring.worst_frames import WorstFrames

NUM_WORST_FRAMES = 5


class LossStatistics:
    """Statistics of the values of one loss.

    Args:
        loss: the loss.

    Attributes:
        histogram: of all valid values.
        worst: the worst frames.
        series: the values over time; only of a single file.
    """

    def __init__(self, loss: ScoredLoss) -> None:
        self.loss = loss
        self.histogram = ValueHistogram()
        self.worst = WorstFrames(NUM_WORST_FRAMES)
        self.series = PeakSeries(len(loss.element_names))
        self._num_values = 0
        self._num_above = 0
        self._maximum = np.nan

    def __getstate__(self) -> dict[str, Any]:
        # It is for the pictures of the file alone, and large.
        return self.__dict__ | {"series": PeakSeries(len(self.loss.element_names), max_points=2)}

    def add(
        self,
        file: str,
        table: KeypointTable,
        first_row: int,
        values: Float64[np.ndarray, "new_frames elements"],
    ) -> None:
        """Add consecutive frames of a file; the parameters are those of `WorstFrames.add`."""
        valid = values[~np.isnan(values)]
        self._num_values += values.size
        self._num_above += int((values > self.loss.epsilon).sum())
        self._maximum = np.fmax(self._maximum, valid.max(initial=-np.inf) if valid.size else np.nan)
        self.histogram.add(valid)
        self.series.add(values)
        self.worst.add(
            file,
            self.loss.element_names,
            table,
            first_row,
            values,
            self.loss.num_previous_frames,
        )

    def merge(self, other: LossStatistics) -> None:
        """Add the statistics of another file."""
        self._num_values += other._num_values
        self._num_above += other._num_above
        self._maximum = np.fmax(self._maximum, other._maximum)
        self.histogram.merge(other.histogram)
        self.worst.merge(other.worst)

    def row(self, file: str | None) -> ScoreRow:
        """Return the statistics as a row of the summary; ``None`` stands for all files."""
        num_valid = self.histogram.num_values
        median, percentile_95, percentile_99 = self.histogram.quantiles([0.5, 0.95, 0.99]).tolist()
        return ScoreRow(
            file=file,
            loss=self.loss.name,
            count=self._num_values,
            valid=num_valid,
            median=median,
            percentile_95=percentile_95,
            percentile_99=percentile_99,
            maximum=float(self._maximum),
            unit=self.loss.unit,
            epsilon=self.loss.one_epsilon
            if self.loss.one_epsilon is not None
            else tuple(self.loss.epsilon.tolist()),
            share_above_epsilon=self._num_above / num_valid if num_valid else np.nan,
            worst_frames=tuple(
                WorstEntry(worst.file, worst.frame, worst.keypoint, worst.value)
                for worst in self.worst.found
            ),
        )
