from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lploss_builtin.scoring.value_histogram import ValueHistogram

VALUES = arrays.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.just(0.0), st.floats(2.0**-20, 1e6, width=32), st.sampled_from([1.0, 2.0, 3.5])
    ),
)


@given(VALUES, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_quantiles_are_those_of_numpy(values, shares):
    histogram = ValueHistogram()
    histogram.add(values)
    expected = np.quantile(values.astype(np.float64), shares)
    np.testing.assert_allclose(histogram.quantiles(shares), expected, rtol=1.3e-4, atol=1e-12)


@given(VALUES)
def test_fewer_bits_are_less_exact(values):
    histogram = ValueHistogram(mantissa_bits=9)
    histogram.add(values)
    expected = np.quantile(values.astype(np.float64), [0.0, 0.5, 1.0])
    np.testing.assert_allclose(
        histogram.quantiles([0.0, 0.5, 1.0]), expected, rtol=1e-3, atol=1e-12
    )


@given(VALUES, VALUES)
def test_piece_by_piece_is_the_same_as_at_once(one, other):
    whole, piecewise, merged, second = (ValueHistogram() for _ in range(4))
    whole.add(np.concatenate([one, other]))
    piecewise.add(one)
    piecewise.add(other)
    merged.add(one)
    second.add(other)
    merged.merge(second)
    assert whole.num_values == piecewise.num_values == merged.num_values == len(one) + len(other)
    for found in (piecewise, merged):
        np.testing.assert_array_equal(found.quantiles([0.1, 0.5]), whole.quantiles([0.1, 0.5]))


def test_no_values():
    histogram = ValueHistogram()
    histogram.add(np.zeros(0))
    assert histogram.num_values == 0
    assert np.isnan(histogram.quantiles([0.5])).all()


@pytest.mark.filterwarnings("error")
def test_zeros_are_exact_and_infinity_stays():
    histogram = ValueHistogram()
    histogram.add(np.array([0.0, -0.0, -1e-60, np.inf, np.inf]))
    assert histogram.quantiles([0.0, 0.5, 1.0]).tolist() == [0.0, 0.0, np.inf]
    assert histogram.occupied()[0].tolist() == [0.0, np.inf]
    assert histogram.occupied()[1].tolist() == [3, 2]
