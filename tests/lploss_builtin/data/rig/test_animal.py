from __future__ import annotations

import numpy as np
import pytest

from lploss_builtin.data.rig.animal import KEYPOINT_NAMES, PARTS, walk
from lploss_builtin.data.rig.capsules import pillars


def walked(num_frames, seed):
    return walk(num_frames, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def long_walks():
    return [walked(600, seed) for seed in range(8)]


def test_at_least_ten_keypoints_with_names_of_their_own():
    assert len(set(KEYPOINT_NAMES)) == len(KEYPOINT_NAMES) == 12


def test_the_same_seed_walks_the_same_way_and_farther():
    one, same, longer, other = walked(50, 1), walked(50, 1), walked(200, 1), walked(50, 2)
    np.testing.assert_array_equal(one.keypoints, same.keypoints)
    assert not np.allclose(one.keypoints, other.keypoints, atol=5.0)
    assert longer.keypoints.shape == (200, 12, 3)


def test_nothing_jumps(long_walks):
    for poses in long_walks:
        points = np.concatenate([poses.keypoints, poses.body.starts, poses.body.ends], axis=1)
        speeds = np.linalg.norm(np.diff(points, axis=0), axis=-1)
        # mm a frame; the body is 100 mm long, and a paw that swings overtakes it.
        assert speeds.max() < 25
        changes = np.linalg.norm(np.diff(poses.keypoints, 2, axis=0), axis=-1)
        assert changes.max() < 15
        trunk = [KEYPOINT_NAMES.index(name) for name in ("neck", "hip", "tail_base")]
        assert speeds[:, trunk].max() < 8
        assert np.median(speeds[:, trunk]) > 2


def test_it_turns_both_ways_and_raises_its_head(long_walks):
    turning = [np.diff(poses.headings).mean() for poses in long_walks]
    assert min(turning) < 0 < max(turning)
    nose, neck = (KEYPOINT_NAMES.index(name) for name in ("nose", "neck"))
    for poses in long_walks:
        height = poses.keypoints[:, nose, 2] - poses.keypoints[:, neck, 2]
        assert np.ptp(height) > 20


def test_paws_stand_still_on_the_ground(long_walks):
    paws = [KEYPOINT_NAMES.index(name) for name in KEYPOINT_NAMES if name.startswith("paw")]
    for poses in long_walks:
        feet = poses.keypoints[:, paws]
        is_down = (feet[1:, :, 2] < 4.01) & (feet[:-1, :, 2] < 4.01)
        steps = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
        assert 0.4 < is_down.mean() < 0.7
        assert np.median(steps[is_down]) < 1e-9
        assert feet[..., 2].max() > 12


def test_left_and_right_are_mirror_images(long_walks):
    for name, radius in PARTS.items():
        if "left" in name:
            assert PARTS[name.replace("left", "right")] == radius
    ears = [KEYPOINT_NAMES.index(f"ear_{side}") for side in ("left", "right")]
    nose = KEYPOINT_NAMES.index("nose")
    for poses in long_walks:
        left, right = (
            np.linalg.norm(poses.keypoints[:, ear] - poses.keypoints[:, nose], axis=-1)
            for ear in ears
        )
        np.testing.assert_allclose(left, right)


def test_it_runs_into_nothing(long_walks):
    obstacles = pillars(0, 0)
    for poses in long_walks:
        for ends in (poses.body.starts, poses.body.ends):
            away = np.linalg.norm(ends[:, :, None, :2] - obstacles.starts[:, :2], axis=-1)
            assert (away - poses.body.radii[:, None] > obstacles.radii).all()
