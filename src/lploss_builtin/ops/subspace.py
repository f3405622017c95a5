"""Linear subspaces: fitted to rows with gaps, and the distance of rows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and covariance of rows with gaps.

    Attributes:
        mean: of each coordinate, over the rows that have it.
        covariance: of each pair of coordinates, over the rows that have both.
        counts: how many rows have both.
    """

    mean: Float[Tensor, "dim"]
    covariance: Float[Tensor, "dim dim"]
    counts: Int[Tensor, "dim dim"]


def pairwise_moments(rows: Float[Tensor, "num_rows dim"]) -> Moments:
    """Return mean and pairwise-complete covariance; NaN marks what is missing.

    Each entry of the covariance uses all rows that have both of its coordinates, so that no
    label is thrown away; in return the matrix need not be positive semi-definite. Entries of
    pairs that fewer than two rows have are NaN.

    Example:
        >>> pairwise_moments(torch.tensor([[0.0, 0.0], [2.0, 4.0], [4.0, float("nan")]])).counts
        tensor([[3, 2],
                [2, 2]])
    """
    present = rows.isfinite()
    weights = present.to(rows.dtype)
    mean = rows.masked_fill(~present, 0.0).sum(dim=0) / weights.sum(dim=0)
    centred = (rows - mean).masked_fill(~present, 0.0)
    counts = weights.T @ weights
    covariance = centred.T @ centred / (counts - 1)
    covariance = covariance.masked_fill(counts < 2, torch.nan)
    return Moments(mean, covariance, counts.round().long())


@dataclass(frozen=True, slots=True)
class FilledRows:
    """Rows whose gaps hold what is to be expected there.

    Attributes:
        rows: the rows, complete.
        uncertainty: covariance of what was filled in, summed over the rows.
    """

    rows: Float[Tensor, "num_rows dim"]
    uncertainty: Float[Tensor, "dim dim"]

    @property
    def mean(self) -> Float[Tensor, "dim"]:
        """The mean of the rows."""
        return self.rows.mean(dim=0)

    @property
    def covariance(self) -> Float[Tensor, "dim dim"]:
        """The covariance of the rows, their uncertainty included."""
        centred = self.rows - self.mean
        return (centred.T @ centred + self.uncertainty) / (len(self.rows) - 1)


def fill_gaps(
    rows: Float[Tensor, "num_rows dim"],
    moments: Moments,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
) -> FilledRows:
    """Fill the gaps of rows as is most likely for a normal distribution.

    Where coordinates all but determine each other, as those of several views do, the
    pairwise-complete covariance blurs just that relation, because its entries stem from
    different rows; it may not even be positive semi-definite. Expectation maximisation starts
    from it and mends both.

    Args:
        rows: the rows, NaN marks what is missing; none of them is empty.
        moments: where to start: of the same rows, with no NaN.
        max_iterations: how often the gaps are filled at most.
        tolerance: change of the covariance, relative to its largest entry, to stop at.

    Source: Dempster, Laird and Rubin, Journal of the Royal Statistical Society B, 1977.

    Example:
        >>> x = torch.arange(8.0, dtype=torch.float64)
        >>> rows = torch.stack([x, 2 * x], dim=1)
        >>> rows[7, 1] = float("nan")
        >>> filled = fill_gaps(rows, pairwise_moments(rows), tolerance=1e-9)
        >>> filled.rows[7].round(decimals=3)
        tensor([ 7., 14.], dtype=torch.float64)
    """
    present = rows.isfinite()
    filled = FilledRows(rows, torch.zeros_like(moments.covariance))
    if present.all():
        return filled
    # NumPy, because torch hands even the smallest systems to threads, which fight for busy cores.
    patterns, of_row = np.unique(present.numpy(), axis=0, return_inverse=True)
    mean, covariance = moments.mean, positive_part(moments.covariance)
    for _ in range(max_iterations):
        completed, uncertainty = _expected(
            rows.numpy(), patterns, of_row, mean.numpy(), covariance.numpy()
        )
        filled = FilledRows(torch.from_numpy(completed), torch.from_numpy(uncertainty))
        change = (filled.covariance - covariance).abs().max()
        mean, covariance = filled.mean, filled.covariance
        if change <= tolerance * covariance.abs().max():
            break
    return filled


def _expected(
    rows: NDArray[np.float64],
    patterns: NDArray[np.bool_],
    of_row: NDArray[np.intp],
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows filled with what their other coordinates let expect, and its covariance."""
    filled = rows.copy()
    uncertainty = np.zeros_like(covariance)
    for number, here in enumerate(patterns):
        there = ~here
        if not there.any():
            continue
        of_pattern = np.flatnonzero(of_row == number)
        known = covariance[np.ix_(here, here)]
        ridge = 1e-9 * known.trace() / len(known) * np.eye(len(known))
        across = covariance[np.ix_(here, there)]
        slope = np.linalg.solve(known + ridge, across)
        centred = rows[np.ix_(of_pattern, here)] - mean[here]
        filled[np.ix_(of_pattern, there)] = mean[there] + centred @ slope
        spread = covariance[np.ix_(there, there)] - across.T @ slope
        uncertainty[np.ix_(there, there)] += len(of_pattern) * spread
    return filled, uncertainty


def positive_part(covariance: Float[Tensor, "dim dim"]) -> Float[Tensor, "dim dim"]:
    """Return the covariance with variances along its axes raised to a millionth of the largest.

    Example:
        >>> positive_part(torch.diag(torch.tensor([-1.0, 4.0]))).diagonal() > 0
        tensor([True, True])
    """
    axes, variances = principal_axes(covariance)
    return axes.T @ (variances.clamp(min=1e-6 * variances[0])[:, None] * axes)


def principal_axes(
    covariance: Float[Tensor, "dim dim"],
) -> tuple[Float[Tensor, "dim dim"], Float[Tensor, "dim"]]:
    """Return the principal axes as rows, and the variance along each, largest first.

    Variances may be negative where the covariance is not positive semi-definite.

    Example:
        >>> principal_axes(torch.diag(torch.tensor([1.0, 4.0])))[1]
        tensor([4., 1.])
    """
    variances, axes = torch.linalg.eigh(covariance)
    return axes.T.flip(0), variances.flip(0)


def num_components(share: float, variances: Float[Tensor, "dim"]) -> int:
    """Return how many components explain at least a share (0 to 1) of the variance.

    Example:
        >>> num_components(0.9, torch.tensor([6.0, 3.0, 1.0]))
        2
    """
    explained = variances.cumsum(0) / variances.sum()
    # The last sum may miss 1 by rounding.
    reached = (explained >= share - 1e-12).nonzero()
    return int(reached[0]) + 1 if len(reached) else len(variances)


def residual(
    rows: Float[Tensor, "num_rows dim"],
    mean: Float[Tensor, "dim"],
    components: Float[Tensor, "num_components dim"],
) -> Float[Tensor, "num_rows dim"]:
    """Return what of each row lies outside the subspace through ``mean``.

    Args:
        rows: the points.
        mean: a point of the subspace.
        components: an orthonormal basis of the subspace.

    Example:
        >>> residual(torch.tensor([[3.0, 4.0]]), torch.zeros(2), torch.tensor([[1.0, 0.0]]))
        tensor([[0., 4.]])
    """
    centred = rows - mean
    return centred - (centred @ components.T) @ components
