from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.lploss_builtin.commands.training_demo.small_rig import small_rig


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return small_rig(tmp_path_factory.mktemp("rig") / "project")


def test_truth_in_space_is_where_the_labels_are(held_out):
    assert held_out.points.shape == (3, 12, 3)
    assert held_out.project.frames[0] == "session2/img00000.png"
    cameras = held_out.cameras
    for view in range(3):
        rotation, translation = np.split(cameras.extrinsics[view].numpy(), [3], axis=1)
        for frame in range(3):
            seen, _ = cv2.projectPoints(
                held_out.points[frame],
                rotation,
                translation,
                cameras.intrinsics[view].numpy(),
                cameras.distortions[view].numpy(),
            )
            label = held_out.keypoints[frame, view]
            is_labelled = held_out.visibility[frame, view] > 0
            np.testing.assert_allclose(seen[is_labelled, 0], label[is_labelled], atol=1e-4)
            assert np.isnan(label[~is_labelled]).all()


def test_mean_pose_is_that_of_the_training(held_out):
    folder = held_out.project.folder
    for view, name in enumerate(held_out.project.view_names):
        rows = (folder / f"CollectedData_{name}.csv").read_text().splitlines()[3:]
        cells = np.genfromtxt(rows, delimiter=",")[:, 1:]
        by_hand = np.nanmean(cells.reshape(4, 12, 3)[..., :2], axis=0)
        np.testing.assert_allclose(held_out.mean_pose[view], by_hand)


def test_images_are_those_of_the_disk(held_out):
    path = held_out.project.folder / "labeled-data" / "session2_right" / "img00001.png"
    np.testing.assert_array_equal(held_out.image(1, 1), cv2.imread(str(path))[..., ::-1])
