from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lploss.errors import DataError
from lploss_builtin.data.poses.reading import read_header
from tests.lploss_builtin.data.keypoint_tables import frame_of, read_keypoints, write_predictions

NAMES = ("nose", "tail")


def poses(num_frames, start):
    return start + np.arange(num_frames * 4.0).reshape(-1, 2, 2)


@pytest.fixture
def files(tmp_path):
    """The same recording by two cameras, in files of different formats and order."""
    left = write_predictions(tmp_path / "left.csv", poses(7, 0), NAMES, range(3, 10))
    right = write_predictions(
        tmp_path / "right.h5", poses(7, 100)[:, ::-1], NAMES[::-1], range(3, 10), 0.5
    )
    return {"L": left, "R": right}


def test_views_stand_side_by_side(files, tmp_path):
    header = read_header(files)
    assert header.keypoint_names == NAMES
    assert header.view_names == ("L", "R")
    assert header.path == tmp_path / "left.csv+right.h5"
    assert header.has_confidences
    assert header.frames_are_numbers
    table = read_keypoints(files)
    assert table.keypoint_names == ("L/nose", "L/tail", "R/nose", "R/tail")
    assert table.frames.tolist() == [3, 4, 5, 6, 7, 8, 9]
    expected = np.concatenate([poses(7, 0), poses(7, 100)], axis=1).reshape(7, -1)
    np.testing.assert_array_equal(table.keypoints, expected)
    np.testing.assert_array_equal(table.confidences, np.tile([1, 1, 0.5, 0.5], (7, 1)))


def test_a_view_without_likelihoods(files, tmp_path):
    table = frame_of(poses(7, 100), NAMES)
    table.index = pd.RangeIndex(3, 10)
    files["R"] = tmp_path / "right.parquet"
    table.to_parquet(files["R"], row_group_size=2)
    read = read_keypoints(files)
    assert read.frames.tolist() == [3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(read.keypoints[:, 4:], poses(7, 100).reshape(7, -1))
    assert read.confidences is None, "one view has none"


def test_other_keypoints(files, tmp_path):
    files["R"] = write_predictions(tmp_path / "r.csv", poses(7, 0), ("nose", "paw"))
    message = (
        r"r\.csv: its keypoints are not those of .*left\.csv: it lacks 'tail'; it alone has "
        r"'paw'\. The views of a recording must hold the same keypoints"
    )
    with pytest.raises(DataError, match=message):
        read_header(files)


def test_other_frames(files, tmp_path):
    frames = [3, 4, 5, 7, 8, 9, 10]
    files["R"] = write_predictions(tmp_path / "r.csv", poses(7, 0), NAMES, frames)
    with pytest.raises(
        DataError,
        match=r"r\.csv: row 4 is frame 7, in .*left\.csv it is frame 6\. The files of",
    ):
        read_keypoints(files)


@pytest.mark.parametrize("num", [5, 8])
def test_another_number_of_frames(files, tmp_path, num):
    files["R"] = write_predictions(tmp_path / "r.csv", poses(num, 0), NAMES, range(3, 3 + num))
    shorter, longer = ("r", "left") if num < 7 else ("left", "r")
    shared = min(num, 7)
    message = (
        rf"{shorter}\.csv ends after {shared} frames, .*{longer}\.csv goes on with frame "
        rf"{3 + shared}\. The files of a recording's views must hold the same frames in the same"
    )
    with pytest.raises(DataError, match=message):
        read_keypoints(files)


def images(view, numbers=range(3)):
    return [f"labeled-data/monday_{view}/img{number}.png" for number in numbers]


def test_images_of_views_have_a_folder_each(tmp_path):
    files = {
        "Cam-L": write_predictions(tmp_path / "l.csv", poses(3, 0), NAMES, images("camL")),
        "Cam-R": write_predictions(tmp_path / "r.csv", poses(3, 9), NAMES, images("Cam-R")),
    }
    assert not read_header(files).frames_are_numbers
    table = read_keypoints(files)
    assert table.frames.tolist() == ["monday/img0.png", "monday/img1.png", "monday/img2.png"]


def test_images_that_all_views_call_the_same(tmp_path):
    files = {
        view: write_predictions(tmp_path / f"{view}.csv", poses(3, 0), NAMES, images("x"))
        for view in "LR"
    }
    assert read_keypoints(files).frames.tolist() == images("x")


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            images("side"),
            r"R\.csv: its images are not those of the other views, and which belong together "
            r"cannot be told: labeled-data/monday_side/img0\.png: the image's folder must be "
            "called <session>_<view>, with one of the views R; got 'monday_side'",
        ),
        (
            images("R", [0, 2, 1]),
            r"R\.csv: row 2 is frame labeled-data/monday_R/img2\.png, in .*L\.csv it is frame "
            r"labeled-data/monday_L/img1\.png",
        ),
        (range(3), r"R\.csv: its frames are numbers, those of .*L\.csv are images\. The files of"),
    ],
)
def test_images_that_do_not_go_together(tmp_path, others, message):
    files = {
        "L": write_predictions(tmp_path / "L.csv", poses(3, 0), NAMES, images("L")),
        "R": write_predictions(tmp_path / "R.csv", poses(3, 0), NAMES, others),
    }
    with pytest.raises(DataError, match=message):
        read_keypoints(files)


def test_a_view_that_is_missing(files, tmp_path):
    files["R"] = tmp_path / "none.csv"
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        read_header(files)
