from __future__ import annotations

import numpy as np
import pytest

from lploss_builtin.scoring.peak_series import PeakSeries


def test_short_series_are_kept_as_they_are():
    series = PeakSeries(2, max_points=10)
    values = np.array([[1.0, 2.0], [np.nan, 4.0], [5.0, np.nan]])
    series.add(values)
    np.testing.assert_array_equal(series.points, values)
    assert series.frames_a_point == 1


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_points_are_the_peaks_of_their_frames(piece):
    values = np.random.default_rng(0).uniform(size=(100, 3))
    values[10:20] = np.nan
    series = PeakSeries(3, max_points=16)
    for start in range(0, 100, piece):
        series.add(values[start : start + piece])
    assert series.frames_a_point == 8
    assert series.num_frames == 100
    expected = [[np.nanmax(values[at : at + 8, k]) for k in range(3)] for at in range(0, 100, 8)]
    np.testing.assert_array_equal(series.points, expected)


def test_frames_without_a_value_leave_a_gap():
    series = PeakSeries(1, max_points=2)
    series.add(np.array([[np.nan], [np.nan], [1.0], [2.0]]))
    np.testing.assert_array_equal(series.points, [[np.nan], [2.0]])
