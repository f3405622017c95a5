from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lploss_builtin.ops import subspace


def rows_with_gaps(seed: int, share: float, num_rows: int = 60, dim: int = 5) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(num_rows, dim)) @ generator.normal(size=(dim, dim)) + 100
    rows[generator.random(rows.shape) < share] = np.nan
    return rows[~np.isnan(rows).all(axis=1)]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0, 0.5))
def test_pairwise_moments_agree_with_numpy(seed: int, share: float) -> None:
    rows = rows_with_gaps(seed, share)
    moments = subspace.pairwise_moments(torch.tensor(rows))
    masked = np.ma.masked_invalid(rows)
    np.testing.assert_allclose(moments.mean, masked.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(moments.covariance, np.ma.cov(masked, rowvar=False).data, atol=1e-9)
    present = ~np.isnan(rows)
    np.testing.assert_array_equal(moments.counts, present.T.astype(int) @ present)


def test_a_pair_that_no_two_rows_have_is_nan() -> None:
    rows = torch.tensor([[1.0, torch.nan], [2.0, 5.0], [3.0, torch.nan]])
    covariance = subspace.pairwise_moments(rows).covariance
    assert covariance.isnan().tolist() == [[False, True], [True, True]]


def test_filling_gaps_of_complete_rows_changes_nothing() -> None:
    rows = torch.tensor(rows_with_gaps(3, 0.0))
    moments = subspace.pairwise_moments(rows)
    filled = subspace.fill_gaps(rows, moments)
    torch.testing.assert_close(filled.mean, moments.mean)
    torch.testing.assert_close(filled.covariance, moments.covariance)


def log_likelihood(rows: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Of the coordinates that are there, row by row, by SciPy."""
    from scipy.stats import multivariate_normal

    total = 0.0
    for row in rows:
        here = ~np.isnan(row)
        total += multivariate_normal.logpdf(row[here], mean[here], covariance[np.ix_(here, here)])
    return total


@pytest.mark.parametrize("seed", range(5))
def test_filling_gaps_makes_the_rows_more_likely(seed: int) -> None:
    rows = rows_with_gaps(seed, 0.3)
    start = subspace.pairwise_moments(torch.tensor(rows))
    positive = subspace.positive_part(start.covariance)
    filled = subspace.fill_gaps(torch.tensor(rows), start, max_iterations=500, tolerance=1e-10)
    scale = (len(rows) - 1) / len(rows)  # the most likely covariance divides by n
    best = log_likelihood(rows, filled.mean.numpy(), filled.covariance.numpy() * scale)
    assert best > log_likelihood(rows, start.mean.numpy(), positive.numpy())
    generator = np.random.default_rng(seed)
    for _ in range(20):
        nearby = filled.mean.numpy() + 0.05 * generator.normal(size=5)
        assert log_likelihood(rows, nearby, filled.covariance.numpy() * scale) < best
    assert np.linalg.eigvalsh(filled.covariance.numpy()).min() > 0


def test_residual_is_orthogonal_to_the_subspace() -> None:
    generator = torch.Generator().manual_seed(1)
    components = torch.linalg.qr(torch.randn(6, 2, generator=generator, dtype=torch.float64)).Q.T
    rows = torch.randn(10, 6, generator=generator, dtype=torch.float64)
    mean = torch.randn(6, generator=generator, dtype=torch.float64)
    outside = subspace.residual(rows, mean, components)
    torch.testing.assert_close(outside @ components.T, torch.zeros(10, 2, dtype=torch.float64))
    inside = rows - mean - outside
    torch.testing.assert_close(inside @ components.T @ components, inside)


def test_number_of_components_for_a_share() -> None:
    variances = torch.tensor([6.0, 3.0, 1.0, 0.0])
    assert [subspace.num_components(s, variances) for s in (0.1, 0.6, 0.61, 0.9, 1.0)] == [
        1,
        1,
        2,
        2,
        3,
    ]
