"""The values of one loss in one recording, and their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float64, Int64

from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.scoring.scored_loss import ScoredLoss
from lploss_builtin.scoring.summary import ScoreRow, WorstEntry

NUM_WORST_FRAMES = 5
_SHARES = (0.5, 0.95, 0.99)


class LossScores:
    """The values of one loss in one recording.

    Args:
        loss: the loss.
        file: the recording, as tables call it.
        table: its poses, those of one individual.
        values: a row for each frame of the table; NaN does not count.

    Attributes:
        row: the statistics, as a row of the summary.
        worst_rows: rows of the frames with the greatest values, those of ``row.worst_frames``.
    """

    def __init__(
        self,
        loss: ScoredLoss,
        file: str,
        table: PoseTable,
        values: Float[np.ndarray, "frames elements"],
    ) -> None:
        self.loss, self.file, self.table, self.values = loss, file, table, values
        greatest = np.fmax.reduce(values, axis=1, initial=-np.inf)
        # Of equal values, those of the first frames.
        order = np.argsort(-greatest, kind="stable")[:NUM_WORST_FRAMES]
        self.worst_rows: tuple[int, ...] = tuple(order[greatest[order] > -np.inf].tolist())
        worst = []
        for row in self.worst_rows:
            frame = table.frames[row]
            keypoint = loss.element_names[int(np.nanargmax(values[row]))]
            frame = frame if isinstance(frame, str) else int(frame)
            worst.append(WorstEntry(file, frame, keypoint, float(greatest[row])))
        self.row = _row(loss, file, values, worst)

    def poses(self, row: int) -> Float64[np.ndarray, "frames num_keypoints 2"]:
        """Return the pose of a frame, after those of the frames that the loss looks back at."""
        return self.table.points[max(0, row - self.loss.num_previous_frames) : row + 1, 0]

    def confidences(self, row: int) -> Float64[np.ndarray, "num_keypoints"] | None:
        """Return the confidences of a frame, if there are any."""
        return None if self.table.confidences is None else self.table.confidences[row, 0]


def _row(
    loss: ScoredLoss,
    file: str,
    values: Float[np.ndarray, "frames elements"],
    worst: Sequence[WorstEntry],
) -> ScoreRow:
    valid = values[~np.isnan(values)]
    num_above = int((values > loss.epsilon).sum())
    maximum = float(valid.max()) if valid.size else np.nan
    median, percentile_95, percentile_99 = quantiles(valid, _SHARES).tolist()
    return ScoreRow(
        file=file,
        loss=loss.name,
        unit=loss.unit,
        count=values.size,
        valid=valid.size,
        median=median,
        percentile_95=percentile_95,
        percentile_99=percentile_99,
        maximum=maximum,
        epsilon=loss.one_epsilon if loss.one_epsilon is not None else tuple(loss.epsilon.tolist()),
        share_above_epsilon=num_above / valid.size if valid.size else np.nan,
        worst_frames=tuple(worst),
    )


def row_of_all(
    rows: Sequence[ScoreRow], values: Iterable[Float[np.ndarray, "_ elements"]]
) -> ScoreRow:
    """Return the statistics of one loss over several recordings.

    Args:
        rows: those of each recording.
        values: the values in each recording, which are needed one after the other.
    """
    num_valid = sum(row.valid for row in rows)
    all_valid, start = np.empty(num_valid, dtype=np.float32), 0
    for row, own in zip(rows, values, strict=True):
        all_valid[start : start + row.valid] = own[~np.isnan(own)]
        start += row.valid
    median, percentile_95, percentile_99 = quantiles(all_valid, _SHARES).tolist()
    num_above = sum(row.share_above_epsilon * row.valid for row in rows if row.valid)
    worst = sorted((entry for row in rows for entry in row.worst_frames), key=lambda w: -w.value)
    return replace(
        rows[0],
        file=None,
        count=sum(row.count for row in rows),
        valid=num_valid,
        median=median,
        percentile_95=percentile_95,
        percentile_99=percentile_99,
        maximum=float(np.fmax.reduce([row.maximum for row in rows])),
        share_above_epsilon=num_above / num_valid if num_valid else np.nan,
        worst_frames=tuple(worst[:NUM_WORST_FRAMES]),
    )


def quantiles(
    values: Float[np.ndarray, "values"], shares: Sequence[float]
) -> Float64[np.ndarray, "shares"]:
    """Return quantiles, linear between neighbouring values; NaN if there are no values.

    Unlike those of NumPy, they are defined between infinite values. The values are put into
    another order, which needs no more memory.

    Example:
        >>> quantiles(np.array([3.0, 1.0, 2.0, np.inf]), (0.0, 0.5, 1.0))
        array([1. , 2.5, inf])
    """
    if not values.size:
        return np.full(len(shares), np.nan)
    ranks = np.array(shares) * (values.size - 1)
    below: Int64[np.ndarray, "shares"] = np.floor(ranks).astype(np.int64)
    above = np.ceil(ranks).astype(np.int64)
    values.partition(np.union1d(below, above))
    lower, upper = values[below].astype(np.float64), values[above].astype(np.float64)
    with np.errstate(invalid="ignore"):
        between = lower + (upper - lower) * (ranks - below)
    return np.where(upper == lower, lower, between)
