from __future__ import annotations

import numpy as np
import torch

from lploss_builtin.ops import keypoints


def test_operations_agree_with_numpy() -> None:
    generator = np.random.default_rng(0)
    targ, pred = 100 * generator.normal(size=(2, 5, 6))
    points = (pred - targ).reshape(5, 3, 2)
    squared = keypoints.squared_error(torch.tensor(targ), torch.tensor(pred))
    np.testing.assert_allclose(squared, (points**2).mean(axis=-1))
    root = keypoints.root_mean_squared_error(torch.tensor(targ), torch.tensor(pred))
    np.testing.assert_allclose(root, np.hypot(*points.T).T / np.sqrt(2))
    steps = np.diff(pred.reshape(5, 3, 2), axis=0)
    distance = keypoints.temporal_distance(torch.tensor(pred))
    np.testing.assert_allclose(distance, np.hypot(steps[..., 0], steps[..., 1]))


def test_gaps_get_no_gradient() -> None:
    pose = torch.tensor([[torch.nan, torch.inf, -torch.inf, 7.0]], requires_grad=True)
    filled = keypoints.without_gaps(pose)
    filled.sum().backward()
    assert filled.tolist() == [[0.0, 0.0, 0.0, 7.0]]
    assert pose.grad is not None
    assert pose.grad.tolist() == [[0.0, 0.0, 0.0, 1.0]]


def test_a_keypoint_near_the_largest_float_is_present() -> None:
    pose = torch.tensor([[2e38, -2e38, torch.inf, 0.0, torch.nan, 0.0, 1.0, 2.0]])
    assert keypoints.is_present(pose).tolist() == [[True, False, False, True]]


def test_half_precision_is_made_float32_before_it_is_limited() -> None:
    filled = keypoints.without_gaps(torch.tensor([[65504.0, torch.inf]], dtype=torch.float16))
    torch.testing.assert_close(filled, torch.tensor([[65504.0, 0.0]]))
