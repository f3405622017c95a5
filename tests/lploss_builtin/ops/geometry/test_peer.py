"""Beside Lightning Pose's geometry, where that is installed."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest
import torch
from torch import Tensor

from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_pairs
from tests.lploss_builtin.ops.geometry.rigs import (
    in_own_frame,
    noise,
    random_points,
    random_rig,
)

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_pose.data import cameras
    return cameras


def tensors(rig: Cameras, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    assert rig.distortions is not None
    # The peer creates float32 tensors of its own.
    intrinsics, extrinsics, distortions = (
        tensor.float().expand(batch, *tensor.shape)
        for tensor in (rig.intrinsics, rig.extrinsics, rig.distortions)
    )
    return intrinsics, extrinsics, distortions


def mild(rig: Cameras) -> Cameras:
    """The rig with a distortion that the peer's iterations invert."""
    assert rig.distortions is not None
    return Cameras(rig.intrinsics, rig.extrinsics, 0.1 * rig.distortions)


def test_views_that_agree_are_triangulated_alike(peer: ModuleType) -> None:
    rig = mild(random_rig(2, num_views=4))
    truth = random_points(3, batch=4, num_keypoints=20)
    points = project_points(truth, rig).float()
    theirs = peer.project_camera_pairs_to_3d(points, *tensors(rig, 4))
    torch.testing.assert_close(triangulate_pairs(points, rig), theirs, rtol=1e-5, atol=1e-4)


def test_views_that_disagree_are_triangulated_alike_in_the_frame_of_the_cameras(
    peer: ModuleType,
) -> None:
    rig = mild(random_rig(2, num_views=2))
    poses, _, _ = in_own_frame(rig.extrinsics.numpy())
    own = Cameras(rig.intrinsics, torch.from_numpy(poses), rig.distortions)
    points = project_points(random_points(3, batch=4, num_keypoints=20), rig)
    points = (points + noise(4, points, 2.0)).float()
    theirs = peer.project_camera_pairs_to_3d(points, *tensors(own, 4))
    torch.testing.assert_close(triangulate_pairs(points, own), theirs, rtol=1e-5, atol=1e-5)


def test_points_are_projected_alike(peer: ModuleType) -> None:
    rig = random_rig(2, num_views=4)
    points = random_points(3, batch=4, num_keypoints=20).float()
    theirs = peer.project_3d_to_2d(points, *tensors(rig, 4))
    # Of pixel numbers up to some thousand, float32 holds seven digits.
    torch.testing.assert_close(project_points(points, rig), theirs, rtol=1e-6, atol=1e-4)
