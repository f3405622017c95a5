from __future__ import annotations

import pytest
import torch

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.scoring.recording import (
    calibrated_views,
    camera_inputs,
    separate_files,
)
from tests.lploss_builtin.commands.rig import write_calibration

FILES = ("x/walk_top.csv", "x/walk_right2.csv", "x/walk_left1.csv")


@pytest.fixture
def calibration(tmp_path):
    return write_calibration(tmp_path / "calibration.toml")


def test_each_file_is_a_recording():
    given = separate_files(["a.csv", "b.csv"], [], ["1.mp4", "2.mp4"])
    assert [(one.name, one.files, one.videos) for one in given.recordings] == [
        ("a.csv", "a.csv", ("1.mp4",)),
        ("b.csv", "b.csv", ("2.mp4",)),
    ]
    assert given.labels is given.cameras is None
    of_all = separate_files(["a.csv", "b.csv"], ["l.csv"], ["1.mp4"])
    assert [one.videos for one in of_all.recordings] == [("1.mp4",), ("1.mp4",)]
    assert of_all.labels == "l.csv"
    assert separate_files(["a.csv"], [], []).recordings[0].videos == ()


@pytest.mark.parametrize(
    ("num_files", "labels", "videos", "message"),
    [
        (1, ["l.csv", "m.csv"], [], r"one label file, got 2: l\.csv, m\.csv\. Several are for the"),
        (1, [], ["1.mp4", "2.mp4"], "at most one video for one file; got 2"),
        (3, [], ["1.mp4", "2.mp4"], "one video for all 3 files, or one for each; got 2"),
    ],
)
def test_too_much_for_separate_files(num_files, labels, videos, message):
    with pytest.raises(ArgumentValueError, match=message):
        separate_files([f"{n}.csv" for n in range(num_files)], labels, videos)


def test_views_come_in_the_order_of_the_calibration(calibration):
    labels = ["right2.csv", "top.csv", "left1.csv"]
    given = calibrated_views(FILES, labels, ["t.mp4", "r.mp4", "l.mp4"], calibration, None)
    (recording,) = given.recordings
    assert recording.name == "x/walk_top+right2+left1.csv"
    assert list(recording.files.items()) == [
        ("Left-1", "x/walk_left1.csv"),
        ("Right-2", "x/walk_right2.csv"),
        ("Top", "x/walk_top.csv"),
    ]
    assert recording.videos == ("l.mp4", "r.mp4", "t.mp4")
    assert given.labels == {"Left-1": "left1.csv", "Right-2": "right2.csv", "Top": "top.csv"}
    assert given.cameras.names == ("Left-1", "Right-2", "Top")
    assert given.notes == ()


def test_some_of_the_cameras(calibration):
    given = calibrated_views(FILES[:2], [], [], calibration, None)
    assert given.cameras.names == ("Right-2", "Top")
    assert torch.equal(given.cameras.intrinsics, read_calibration(calibration).intrinsics[1:])
    assert given.labels is None
    assert given.notes == (f"{calibration}: no file is of Left-1",)


def test_views_that_are_named(calibration):
    files, labels = ["1.csv", "2.csv"], ["first.csv", "second.csv"]
    given = calibrated_views(files, labels, [], calibration, ["Top", "Left-1"])
    assert given.recordings[0].files == {"Left-1": "2.csv", "Top": "1.csv"}
    assert given.labels == {"Left-1": "second.csv", "Top": "first.csv"}


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (FILES[:1], {}, r"files of at least two views of one recording; got x/walk_top\.csv"),
        (
            ["top.csv", "side.csv", "left1_top.csv"],
            {},
            r"the names of the files do not tell which is of which camera \(top\.csv: Top; "
            r"side\.csv: none; left1_top\.csv: Left-1\)\. The cameras are Left-1, Right-2, Top\. "
            "Name the camera of each file, in their order: --views NAME,NAME",
        ),
        (["top1.csv", "top2.csv"], {}, r"\(top1\.csv: Top; top2\.csv: Top\)"),
        (FILES, {"views": ["Top", "Left-1"]}, "another camera for each of the 3 files, in their"),
        (FILES[:2], {"views": ["Top", "Top"]}, r"for each of the 2 files, .*; got Top, Top"),
        (FILES[:2], {"views": ["Top", "Left"]}, "there is no camera 'Left'. Did you mean 'Left-1'"),
        (
            FILES,
            {"labels": ["top.csv", "left1.csv"]},
            r"one label file for each of the 3 views, or none; got 2: top\.csv, left1\.csv",
        ),
        (
            FILES,
            {"videos": ["t.mp4"]},
            r"one video for each of the 3 views, or none; got 1: t\.mp4",
        ),
        (
            FILES[:2],
            {"labels": ["top.csv", "left1.csv"]},
            r"names of the label files .* \(top\.csv: Top; left1\.csv: none\)",
        ),
    ],
)
def test_views_that_do_not_go_together(calibration, files, options, message):
    given = {"labels": [], "videos": [], "views": None, **options}
    with pytest.raises(ArgumentValueError, match=message):
        calibrated_views(files, calibration=calibration, **given)


def test_a_calibration_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"none\.toml does not exist"):
        calibrated_views(FILES, [], [], tmp_path / "none.toml", None)


def test_cameras_as_inputs_of_losses(calibration):
    cameras = read_calibration(calibration)
    inputs = camera_inputs(cameras, 5)
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        "intrinsics": (5, 3, 3, 3),
        "extrinsics": (5, 3, 3, 4),
        "distortions": (5, 3, 5),
    }
    assert {value.dtype for value in inputs.values()} == {torch.float64}
    assert torch.equal(inputs["extrinsics"][4], cameras.extrinsics)
    assert camera_inputs(None, 5) == {}
