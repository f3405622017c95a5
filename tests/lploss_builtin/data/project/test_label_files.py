from __future__ import annotations

import numpy as np
import pytest

from lploss.errors import DataError
from lploss_builtin.data.findings import Findings
from lploss_builtin.data.poses.reading import read_poses
from lploss_builtin.data.project.label_files import read_labels
from tests.lploss_builtin.data.keypoint_tables import csv_text, write_predictions
from tests.lploss_builtin.data.small_projects import write_text


def test_visible_of_some_keypoints(tmp_path):
    text = (
        "scorer,a,a,a,a,a\nbodyparts,nose,nose,tail,tail,tail\ncoords,x,y,visible,x,y\n"
        "a.png,1,2,1,3,4\nb.png,1,2,,3,4\n"
    )
    path = write_text(tmp_path / "labels.csv", text)
    expected = [[np.nan, 1], [np.nan, np.nan]]
    np.testing.assert_array_equal(read_poses(path).visibility[:, 0], expected)
    labels = read_labels(path, Findings())
    assert labels.visibility.tolist() == [[2, 1], [2, 2]]


def test_no_visible(tmp_path):
    path = write_text(tmp_path / "labels.csv", csv_text(["a.png,1,2,3,4"]))
    assert read_poses(path).visibility is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "b.png,1,2,yes,3,4,1",
            "line 5, keypoint 'nose', visible: expected a number, or nothing where it is missing, "
            "got 'yes'",
        ),
        ("b.png,1,2,2,3,4", "line 5: expected 7 columns as in line 1, got 6"),
    ],
)
def test_visible_that_is_none(tmp_path, row, message):
    path = write_text(tmp_path / "labels.csv", csv_text(["a.png,1,2,2,3,4,1", row], coords="xyv"))
    with pytest.raises(DataError, match=message):
        read_poses(path)
    findings = Findings()
    assert read_labels(path, findings) is None
    assert message in findings.problems()


def test_labels_of_several_animals_cannot_be_trained_on(tmp_path):
    text = (
        "scorer,a,a,a,a\nindividuals,m1,m1,m2,m2\nbodyparts,nose,nose,nose,nose\n"
        "coords,x,y,x,y\na.png,1,2,3,4\n"
    )
    findings = Findings()
    assert read_labels(write_text(tmp_path / "labels.csv", text), findings) is None
    assert "labels.csv holds several animals: m1, m2. Split it" in findings.problems()


def test_labels_of_another_format(tmp_path):
    keypoints = np.array([[[1.0, 2.0], [np.nan, np.nan]]])
    path = write_predictions(
        tmp_path / "labels.h5", keypoints, ("nose", "tail"), ["labeled-data/a.png"], None
    )
    labels = read_labels(path, Findings())
    assert labels.images == ("labeled-data/a.png",)
    assert labels.visibility.tolist() == [[2, 0]]
    np.testing.assert_array_equal(labels.keypoints, keypoints)
