"""Counts of values, from which quantiles are read in memory that does not grow."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64

# Of a float32: the sign, which is none here, the exponent, and the mantissa.
_NUM_EXPONENT_BITS, _NUM_MANTISSA_BITS = 8, 23


class ValueHistogram:
    """Counts values of at least 0 in bins of a fixed relative width.

    A bin holds the values that share the first bits of a float32. With 12 bits of the mantissa it
    is as wide as 1/4096 of its values, so a quantile read from it is off by at most 1.3e-4 of its
    value; each bit less doubles that, and halves the memory from 8 MB on. Zeros are exact.

    Args:
        mantissa_bits: how many bits of the mantissa make a bin.

    Example:
        >>> histogram = ValueHistogram()
        >>> histogram.add(np.arange(101.0))
        >>> histogram.quantiles([0.5, 0.95]).round(1)
        array([50., 95.])
    """

    def __init__(self, mantissa_bits: int = 12) -> None:
        self._dropped_bits = _NUM_MANTISSA_BITS - mantissa_bits
        self._counts = np.zeros(1 << (_NUM_EXPONENT_BITS + mantissa_bits), dtype=np.int64)

    def __getstate__(self) -> dict[str, Any]:
        bins = np.flatnonzero(self._counts)
        return {
            "dropped_bits": self._dropped_bits,
            "num_bins": len(self._counts),
            "bins": bins,
            "counts": self._counts[bins],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._dropped_bits = state["dropped_bits"]
        self._counts = np.zeros(state["num_bins"], dtype=np.int64)
        self._counts[state["bins"]] = state["counts"]

    @property
    def num_values(self) -> int:
        """How many values were added."""
        return int(self._counts.sum())

    def add(self, values: Float[np.ndarray, "values"]) -> None:
        """Add values; none may be NaN or negative."""
        # Adding zero turns -0.0, whose first bit is set, into 0.0.
        bits = (np.ascontiguousarray(values, dtype=np.float32) + np.float32(0.0)).view(np.uint32)
        bins, counts = np.unique(bits >> self._dropped_bits, return_counts=True)
        self._counts[bins] += counts

    def merge(self, other: ValueHistogram) -> None:
        """Add all that another one of as many bits has counted."""
        self._counts += other._counts

    def occupied(self) -> tuple[Float64[np.ndarray, "bins"], Int64[np.ndarray, "bins"]]:
        """Return the middle of each bin that holds values, in order, and how many."""
        bins = np.flatnonzero(self._counts)
        edges = np.stack([bins, bins + 1]).astype(np.uint32) << self._dropped_bits
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
