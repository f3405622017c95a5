"""Counts of values, from which quantiles are read in memory that does not grow."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64

# Of a float32 that is not negative, the first 20 bits after the sign: the exponent and the
# first 12 bits of the mantissa.
_DROPPED_BITS = 11
_NUM_BINS = 1 << 20


class ValueHistogram:
    """Counts values of at least 0 in bins of a fixed relative width.

    A bin is as wide as 1/4096 of its values, so a quantile read from it is off by at most
    1.3e-4 of its value; zeros are exact.

    Example:
        >>> histogram = ValueHistogram()
        >>> histogram.add(np.arange(101.0))
        >>> histogram.quantiles([0.5, 0.95]).round(1)
        array([50., 95.])
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_NUM_BINS, dtype=np.int64)

    @property
    def num_values(self) -> int:
        """How many values were added."""
        return int(self._counts.sum())

    def add(self, values: Float[np.ndarray, "values"]) -> None:
        """Add values; none may be NaN or negative."""
        # Adding zero turns -0.0, whose first bit is set, into 0.0.
        bits = (np.ascontiguousarray(values, dtype=np.float32) + np.float32(0.0)).view(np.uint32)
        bins, counts = np.unique(bits >> _DROPPED_BITS, return_counts=True)
        self._counts[bins] += counts

    def merge(self, other: ValueHistogram) -> None:
        """Add all that another one has counted."""
        self._counts += other._counts

    def occupied(self) -> tuple[Float64[np.ndarray, "bins"], Int64[np.ndarray, "bins"]]:
        """Return the middle of each bin that holds values, in order, and how many."""
        bins = np.flatnonzero(self._counts)
        edges = np.stack([bins, bins + 1]).astype(np.uint32) << _DROPPED_BITS
        with np.errstate(invalid="ignore"):  # the bin of infinity ends in what is no number
            low, high = edges.view(np.float32).astype(np.float64)
        exact = (bins == 0) | ~np.isfinite(high)
        return np.where(exact, low, (low + np.where(exact, low, high)) / 2), self._counts[bins]

    def quantiles(self, shares: list[float]) -> Float64[np.ndarray, "shares"]:
        """Return quantiles, linear between neighbouring values; NaN where there is no value."""
        middles, counts = self.occupied()
        if not len(middles):
            return np.full(len(shares), np.nan)
        ends = np.cumsum(counts)
        ranks = np.array(shares) * (ends[-1] - 1)
        lower = middles[np.searchsorted(ends, np.floor(ranks), side="right")]
        upper = middles[np.searchsorted(ends, np.ceil(ranks), side="right")]
        with np.errstate(invalid="ignore"):
            between = lower + (upper - lower) * (ranks % 1.0)
        return np.where(upper == lower, lower, between)
