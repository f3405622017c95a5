from __future__ import annotations

import pytest
import torch

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.predicting.prediction_files import PredictionFiles
from lploss_builtin.scoring import ScoreOptions, score_files
from lploss_builtin.scoring.recording import (
    calibrated_views,
    camera_inputs,
    holds_points_in_space,
    separate_files,
)
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.commands.rig import write_calibration
from tests.lploss_builtin.data.keypoint_tables import csv_text
from tests.lploss_builtin.scoring.scoring_calls import score_with

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


NAMES = ("nose", "neck", "tail")
IN_SPACE = "\n".join(
    [
        "scorer" + 4 * ",net",
        "bodyparts" + 4 * ",nose",
        "coords,x,y,z,error",
        "0,1,2,3,0.5",
        "1,1,2,3,0.5",
    ]
)


@pytest.fixture
def views(tmp_path):
    """The predictions of three calibrated views, and between them the points in space."""
    seen = rig.project(rig.points_in_space(5))
    files = list(rig.write_views(tmp_path, seen).values())
    (tmp_path / "walk_3d.csv").write_text(IN_SPACE)
    return [files[0], tmp_path / "walk_3d.csv", *files[1:]]


def note(path):
    return f"{path}: left out; it holds points in space, not the keypoints of a view"


def test_points_in_space_are_left_out_of_separate_files(views, tmp_path):
    summary = score_files(
        views, ScoreOptions(losses=["temporal"], out=tmp_path / "out", pictures=False)
    )
    assert summary.notes == (note(views[1]),)
    assert {row.file for row in summary.rows} == {None, *map(str, [views[0], *views[2:]])}


def test_points_in_space_are_left_out_of_calibrated_views(views, tmp_path):
    calibration = rig.write_calibration(tmp_path / "calibration.toml")
    options = {"calibration": calibration, "losses": ["temporal"], "pictures": False}
    by_name = score_with(views, out=tmp_path / "by_name", **options)
    names = [row.view for row in by_name.views]
    given = score_with(
        views, views=[names[0], "in space", *names[1:]], out=tmp_path / "given", **options
    )
    assert by_name.notes == given.notes == (note(views[1]),)
    assert [row.view for row in given.views] == names


def test_points_in_space_alone(views, tmp_path):
    with pytest.raises(DataError) as caught:
        score_files([views[1]], ScoreOptions(out=tmp_path / "out"))
    assert str(caught.value) == note(views[1])


def test_points_in_space_of_a_prediction_are_told(tmp_path):
    files = PredictionFiles(tmp_path, ["a.csv", "b.csv"], "a_3d.csv", "net", NAMES)
    files.close()
    told = {path.name: holds_points_in_space(path) for path in tmp_path.iterdir()}
    assert told == {"a.csv": False, "b.csv": False, "a_3d.csv": True}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("any.csv", IN_SPACE, True),
        ("any.CSV", "\ufeff" + IN_SPACE, True),
        ("any.csv", csv_text(["0,1,2,3,4"]), False),
        ("any.csv", csv_text(["0,1,2,3,4"], names=("z", "tail")), False),
        ("any.csv", ",x,y,z\n0,1,2,3\n1,1,2,3\n", False),
        ("any.csv", "", False),
        ("any.txt", IN_SPACE, False),
    ],
)
def test_how_points_in_space_are_told(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert holds_points_in_space(tmp_path / name) is expected


def test_a_file_that_cannot_be_read_holds_no_points_in_space(tmp_path):
    assert not holds_points_in_space(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"scorer,\xff\n")
    assert not holds_points_in_space(tmp_path / "a.csv")
