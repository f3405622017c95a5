from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from lploss_builtin.commands.training_demo.errors import (
    Error,
    errors_of,
    failed_camera,
    write_errors,
    write_errors_in_space,
)
from lploss_builtin.commands.training_demo.predictors import Predicted
from tests.lploss_builtin.commands.training_demo.small_rig import small_rig


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """Truth at 0; in view 1 all is occluded, in view 2 nothing is labelled but the nose."""
    rig = small_rig(tmp_path_factory.mktemp("rig") / "project")
    visibility = np.full((3, 3, 12), 2, dtype=np.uint8)
    visibility[:, 1] = 1
    visibility[:, 2, 1:] = 0
    keypoints = np.zeros((3, 3, 12, 2))
    keypoints[:, 2, 1:] = np.nan
    return replace(rig, keypoints=keypoints, visibility=visibility, points=np.zeros((3, 12, 3)))


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


def test_means_by_hand(predicted, held_out):
    errors = errors_of(predicted, held_out)
    # 36 in each of the first two views, and 3 noses in the last.
    assert errors.all == Error(75, (36 * 5 + 36 * 10 + 3 * 100) / 75, 10.0)
    assert errors.visible == Error(39, (36 * 5 + 3 * 100) / 39, 5.0)
    assert errors.occluded == Error(36, 10.0, 10.0)
    assert errors.in_space == Error(35, 7.0, 7.0)


def test_without_a_camera_by_hand(predicted, held_out):
    of_two = replace(predicted, keypoints=predicted.keypoints[:, [0, 2]])
    found = failed_camera(of_two, held_out, 1)
    assert found.view == "right"
    assert found.others == Error(39, (36 * 5 + 3 * 100) / 39, 5.0)
    assert found.unseen == Error(36, 11.0, 11.0)
    assert failed_camera(predicted, held_out, None).view == ""


def test_the_tables_hold_each_view_and_keypoint(predicted, held_out, tmp_path):
    write_errors(tmp_path / "errors.csv", [predicted, replace(predicted, name="other")], held_out)
    with (tmp_path / "errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 13 * 3
    found = {(r["predictor"], r["view"], r["keypoint"], r["visibility"]): r for r in rows}
    row = found["it", "right", "hip", "occluded"]
    assert (row["num"], row["mean_px"], row["median_px"]) == ("3", "10.0000", "10.0000")
    row = found["it", "top", "hip", "all"]
    assert (row["num"], row["mean_px"], row["median_px"]) == ("0", "", "")
    assert found["other", "all", "nose", "visible"]["num"] == "6"


def test_the_table_of_space(predicted, held_out, tmp_path):
    write_errors_in_space(tmp_path / "errors.csv", [predicted], held_out)
    lines = (tmp_path / "errors.csv").read_text().splitlines()
    assert lines[:3] == [
        "predictor,keypoint,num,mean_mm,median_mm",
        "it,all,35,7.0000,7.0000",
        "it,nose,2,7.0000,7.0000",
    ]
    assert len(lines) == 14
