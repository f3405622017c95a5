from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lploss import create_loss
from lploss.inputs import InputResolver
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.scoring.loss_scores import LossScores, quantiles, row_of_all
from lploss_builtin.scoring.scored_loss import ScoredLoss
from tests.lploss_builtin.data.keypoint_tables import pose_table

NAMES = ("a", "b")
VALUES = arrays.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.just(0.0), st.floats(2.0**-20, 1e6, width=32), st.sampled_from([1.0, 2.0, 3.5])
    ),
)


def scores(values, frames=None, epsilon=0.0):
    """Scores whose values are given; keypoints and confidences are counted."""
    loss = create_loss("temporal", epsilon=epsilon)
    example = {"keypoints_pred": torch.zeros(2, 4)}
    scored = ScoredLoss(loss, PoseNames(NAMES), InputResolver({}), example)
    values = np.array(values, dtype=np.float32)
    num = len(values)
    table = pose_table(
        np.arange(num * 4, dtype=float).reshape(-1, 4),
        NAMES,
        None if frames is None else np.array(frames, dtype=object),
        np.arange(num * 2, dtype=float).reshape(-1, 2),
    )
    return LossScores(scored, "f", table, values)


def worst(found):
    return [(one.file, one.frame, one.keypoint, one.value) for one in found.row.worst_frames]


def test_worst_frames_are_those_with_the_greatest_values():
    values = [[1, 5], [2, 0], [7, 6], [5, 1], [np.nan, 3], [0, 0], [1, 1]]
    found = scores(values)
    assert worst(found) == [
        ("f", 2, "a", 7.0),
        ("f", 0, "b", 5.0),
        ("f", 3, "a", 5.0),
        ("f", 4, "b", 3.0),
        ("f", 1, "a", 2.0),
    ]
    assert found.worst_rows == (2, 0, 3, 4, 1)


def test_frames_without_a_value_are_none():
    found = scores([[np.nan, np.nan], [np.nan, 0.0]])
    assert worst(found) == [("f", 1, "b", 0.0)]
    assert scores([[np.nan, np.nan]]).worst_rows == ()


def test_worst_frames_may_be_images():
    assert worst(scores([[1, 0]], frames=["img.png"])) == [("f", "img.png", "a", 1.0)]


def test_poses_go_back_to_the_frames_looked_at():
    found = scores([[1, 0], [9, 0]])
    assert found.poses(1).tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert found.poses(0).tolist() == [[[0, 1], [2, 3]]]
    assert found.confidences(1).tolist() == [2, 3]


def test_statistics_of_valid_values():
    row = scores([[np.nan, 1], [2, 3], [4, 5]], epsilon=2.5).row
    assert (row.count, row.valid, row.median, row.maximum) == (6, 5, 3.0, 5.0)
    assert row.percentile_95 == pytest.approx(4.8)
    assert row.share_above_epsilon == pytest.approx(0.6)
    nothing = scores([[np.nan, np.nan]]).row
    assert nothing.valid == 0
    assert np.isnan([nothing.median, nothing.maximum, nothing.share_above_epsilon]).all()


def test_statistics_of_all_recordings_are_those_of_their_values_together():
    rng = np.random.default_rng(0)
    parts = [rng.exponential(5, (number, 2)).astype(np.float32) for number in (30, 7, 12)]
    parts[0][:9] = parts[1][:] = np.nan
    one_by_one = [scores(part, epsilon=4.0) for part in parts]
    together = scores(np.concatenate(parts), epsilon=4.0).row
    found = row_of_all([own.row for own in one_by_one], (own.values for own in one_by_one))
    assert found.file is None
    for name in ("count", "valid", "median", "percentile_95", "percentile_99", "maximum"):
        assert getattr(found, name) == getattr(together, name)
    assert found.share_above_epsilon == pytest.approx(together.share_above_epsilon)
    values = [entry.value for entry in together.worst_frames]
    assert [entry.value for entry in found.worst_frames] == values


@given(VALUES, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_quantiles_are_those_of_numpy(values, shares):
    expected = np.quantile(values.astype(np.float64), shares)
    np.testing.assert_allclose(quantiles(values, shares), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_quantiles_of_infinite_values_and_of_none():
    values = np.array([0.0, 0.0, 1.0, np.inf, np.inf])
    assert quantiles(values, [0.0, 0.5, 0.9, 1.0]).tolist() == [0.0, 1.0, np.inf, np.inf]
    assert np.isnan(quantiles(np.zeros(0), [0.5])).all()
