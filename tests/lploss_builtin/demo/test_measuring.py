from __future__ import annotations

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lploss_builtin.data.rig.project import RigOptions, make_rig_project
from lploss_builtin.demo.measuring import (
    Error,
    Predicted,
    errors_of,
    failed_camera,
    mean_pose,
    predicted_by,
    read_held_out,
    write_errors,
    write_errors_in_space,
)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """3 held-out frames of 3 views, 12 keypoints each."""
    options = RigOptions(num_frames=4, num_views=3, image_size=(32, 32), num_test_frames=3)
    return read_held_out(make_rig_project(tmp_path_factory.mktemp("rig") / "project", options))


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


@pytest.fixture
def by_hand(held_out):
    """Truth at 0; in view 1 all is occluded, in view 2 nothing is labelled but the nose."""
    visibility = np.full((3, 3, 12), 2, dtype=np.uint8)
    visibility[:, 1] = 1
    visibility[:, 2, 1:] = 0
    keypoints = np.zeros((3, 3, 12, 2))
    keypoints[:, 2, 1:] = np.nan
    return replace(
        held_out, keypoints=keypoints, visibility=visibility, points=np.zeros((3, 12, 3))
    )


@pytest.fixture
def predicted():
    """Off by 5 px in view 0, by 10 in view 1, by 100 in view 2; in space by 7 mm."""
    keypoints = np.zeros((3, 3, 12, 2))
    keypoints[:, 0] = 3.0, 4.0
    keypoints[:, 1] = 0.0, 10.0
    keypoints[:, 2] = 100.0, 0.0
    points = np.zeros((3, 12, 3))
    points[..., 2] = 7.0
    points[0, 0] = np.nan
    return Predicted("it", keypoints, points, keypoints + np.array([0.0, 1.0]))


def test_means_by_hand(predicted, by_hand):
    errors = errors_of(predicted, by_hand)
    # 36 in each of the first two views, and 3 noses in the last.
    assert errors.all == Error(75, (36 * 5 + 36 * 10 + 3 * 100) / 75, 10.0)
    assert errors.visible == Error(39, (36 * 5 + 3 * 100) / 39, 5.0)
    assert errors.occluded == Error(36, 10.0, 10.0)
    assert errors.in_space == Error(35, 7.0, 7.0)


def test_without_a_camera_by_hand(predicted, by_hand):
    of_two = replace(predicted, keypoints=predicted.keypoints[:, [0, 2]])
    found = failed_camera(of_two, by_hand, 1)
    assert found[0] == Error(39, (36 * 5 + 3 * 100) / 39, 5.0)
    assert found[1] == Error(36, 11.0, 11.0)


def test_the_tables_hold_each_view_and_keypoint(predicted, by_hand, tmp_path):
    write_errors(tmp_path / "errors.csv", [predicted, replace(predicted, name="other")], by_hand)
    with (tmp_path / "errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 13 * 3
    found = {(r["predictor"], r["view"], r["keypoint"], r["visibility"]): r for r in rows}
    row = found["it", "right", "hip", "occluded"]
    assert (row["num"], row["mean_px"], row["median_px"]) == ("3", "10.0000", "10.0000")
    row = found["it", "top", "hip", "all"]
    assert (row["num"], row["mean_px"], row["median_px"]) == ("0", "", "")
    assert found["other", "all", "nose", "visible"]["num"] == "6"


def test_the_table_of_space(predicted, by_hand, tmp_path):
    write_errors_in_space(tmp_path / "errors.csv", [predicted], by_hand)
    lines = (tmp_path / "errors.csv").read_text().splitlines()
    assert lines[:3] == [
        "predictor,keypoint,num,mean_mm,median_mm",
        "it,all,35,7.0000,7.0000",
        "it,nose,2,7.0000,7.0000",
    ]
    assert len(lines) == 14
