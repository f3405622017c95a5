from __future__ import annotations

import numpy as np
import pytest

from lploss_builtin.demo.faulty_tracks import (
    BODY_PARTS,
    IMPOSSIBLE,
    KEYPOINT_NAMES,
    put_faults,
    treadmill_walk,
)


@pytest.fixture(scope="module")
def exact():
    return treadmill_walk(900, np.random.default_rng(3))


def test_the_same_seed_walks_the_same_way():
    one, other = (treadmill_walk(50, np.random.default_rng(seed)) for seed in (1, 1))
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(one, treadmill_walk(50, np.random.default_rng(2)))


def test_the_animal_stays_in_the_image_and_moves_smoothly(exact):
    assert exact.shape == (900, 14, 2)
    assert exact.min() > 0
    assert exact.max() < 400
    steps = np.linalg.norm(np.diff(exact, axis=0), axis=-1)
    assert 0.5 < np.median(steps) < 5
    # No step of a good track is above the epsilon of the temporal loss in the demo.
    assert steps.max() < 20


def test_two_views_come_from_three_dimensions(exact):
    # Affine views of the same points: one keypoint in both views has three degrees of freedom.
    num_parts = len(BODY_PARTS)
    both = np.concatenate([exact[:, :num_parts], exact[:, num_parts:]], axis=-1).reshape(-1, 4)
    singular = np.linalg.svd(both - both.mean(axis=0), compute_uv=False)
    assert singular[3] < 1e-9 * singular[0]
    assert singular[2] > 1e-2 * singular[0]


def test_paws_on_the_ground_go_back_together(exact):
    paws = [KEYPOINT_NAMES.index(f"{paw}_top") for paw in BODY_PARTS if paw.startswith("paw")]
    forward = np.diff(exact[:, paws, 0], axis=0)
    # On the ground more than half of the time, at the pace of the belt.
    assert ((forward < 0).mean(axis=0) > 0.5).all()


def test_faults_are_where_the_record_says(exact):
    faulty, faults = put_faults(exact, np.random.default_rng(0))
    distances = np.linalg.norm(faulty - exact, axis=-1)
    recorded = {(fault.frame, KEYPOINT_NAMES.index(fault.keypoint)) for fault in faults}
    assert recorded == set(map(tuple, np.argwhere(distances >= IMPOSSIBLE).tolist()))
    for fault in faults:
        assert fault.distance == distances[fault.frame, KEYPOINT_NAMES.index(fault.keypoint)]
    assert {fault.kind for fault in faults} == {"jump", "swap", "wrong view"}
    # Six of each kind: one in 150 frames.
    jumps = sorted({fault.frame for fault in faults if fault.kind == "jump"})
    assert 6 <= len(jumps) <= 18


def test_too_short_for_a_fault():
    exact = treadmill_walk(100, np.random.default_rng(0))
    faulty, faults = put_faults(exact, np.random.default_rng(0))
    assert faults == []
    np.testing.assert_array_equal(faulty, exact)
