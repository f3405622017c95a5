from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lploss_builtin.commands.training_demo.predictors import mean_pose, predicted_by
from tests.lploss_builtin.commands.training_demo.small_rig import small_rig


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return small_rig(tmp_path_factory.mktemp("rig") / "project")


class Knowing(nn.Module):
    """Knows the labels of the frames, and is asked for them in order."""

    def __init__(self, keypoints):
        super().__init__()
        self.keypoints = torch.from_numpy(keypoints)

    def predict(self, images, views):
        assert images.shape[1] == len(views)
        found = self.keypoints[:, list(views)].flatten(1, 2)
        return None, found, torch.ones(found.shape[:2])


@pytest.mark.parametrize("views", [None, [0, 2]])
def test_true_keypoints_are_joined_to_the_truth_in_space(held_out, views):
    found = predicted_by("it", Knowing(held_out.keypoints), held_out, views)
    assert found.keypoints.shape == (3, 3 if views is None else 2, 12, 2)
    used = held_out.visibility if views is None else held_out.visibility[:, views]
    is_known = (used > 0).sum(axis=1) > 1
    assert is_known.any()
    np.testing.assert_allclose(found.points[is_known], held_out.points[is_known], atol=0.01)
    # Also in the view that was not there.
    seen = is_known[:, None] & (held_out.visibility > 0)
    np.testing.assert_allclose(found.reprojected[seen], held_out.keypoints[seen], atol=0.01)


def test_the_mean_pose_is_the_same_in_all_frames(held_out):
    found = mean_pose("mean", held_out)
    for frame in range(3):
        np.testing.assert_array_equal(found.keypoints[frame], held_out.mean_pose)
    assert np.ptp(found.points, axis=0).max() < 1e-9
