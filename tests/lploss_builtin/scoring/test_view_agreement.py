from __future__ import annotations

import math

import numpy as np
import pytest

from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.scoring import view_agreement
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.data.keypoint_tables import pose_table


def agreement(tmp_path, views, confidences=None):
    cameras = read_calibration(rig.write_calibration(tmp_path / "c.toml")).select(list(views))
    names = PoseNames(rig.NAMES, tuple(views))
    flat = np.concatenate([one.reshape(len(one), -1) for one in views.values()], axis=1)
    table = pose_table(flat, names.flat, confidences=confidences)
    return view_agreement.view_agreement(table, names, cameras)


@pytest.fixture
def views():
    rng = np.random.default_rng(1)
    seen = rig.project(rig.points_in_space(40))
    return {view: keypoints + rng.normal(0, 1, (40, 3, 2)) for view, keypoints in seen.items()}


@pytest.mark.parametrize("at_once", [200_000, 20, 1])
def test_medians_are_those_of_opencv(tmp_path, views, monkeypatch, at_once):
    monkeypatch.setattr(view_agreement, "_AT_ONCE", at_once)
    rows = agreement(tmp_path, views)
    of_all = np.median(rig.reprojection_error(views), axis=(0, 2))
    assert [row.view for row in rows] == list(rig.VIEWS)
    assert [row.valid for row in rows] == [120, 120, 120]
    assert [row.reprojection for row in rows] == pytest.approx(of_all, rel=1e-5)
    for row in rows:
        assert list(row.in_pairs) == [view for view in rig.VIEWS if view != row.view]
        for other, median in row.in_pairs.items():
            pair = {view: views[view] for view in (row.view, other)}
            expected = np.median(rig.reprojection_error(pair)[:, 0])
            assert median == pytest.approx(expected, rel=1e-5)
        # Nothing is fitted to the view itself, so it is farther off.
        assert row.left_one_out > 1.2 * row.reprojection


def test_of_two_views_none_can_be_left_out(tmp_path, views):
    del views["Top"]
    rows = agreement(tmp_path, views)
    assert all(math.isnan(row.left_one_out) for row in rows)
    assert rows[0].reprojection == rows[0].in_pairs["Right-2"]


def test_a_view_of_no_confidence_has_no_say(tmp_path, views):
    views["Top"] += 20.0
    confidences = np.ones((40, 9))
    confidences[:, 6:] = 0.0
    left, right, top = agreement(tmp_path, views, confidences)
    alone = agreement(tmp_path, {view: views[view] for view in ("Left-1", "Right-2")})
    assert left.reprojection == pytest.approx(alone[0].reprojection, rel=1e-6)
    assert right.reprojection == pytest.approx(alone[1].reprojection, rel=1e-6)
    assert top.reprojection > 15


def test_what_is_missing_does_not_count(tmp_path, views):
    views["Left-1"][:10, 0] = np.nan
    rows = agreement(tmp_path, views)
    assert [row.valid for row in rows] == [110, 120, 120]
    views["Right-2"][:] = np.nan
    views["Top"][:] = np.nan
    rows = agreement(tmp_path, views)
    assert [row.valid for row in rows] == [0, 0, 0]
    assert math.isnan(rows[0].reprojection)
