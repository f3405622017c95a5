"""Files of points in space lie beside the predictions, and are none."""

from __future__ import annotations

import pytest

from lploss.errors import DataError
from lploss_builtin.predicting.prediction_files import PredictionFiles
from lploss_builtin.scoring import ScoreOptions, score_files
from lploss_builtin.scoring.recording import holds_points_in_space
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.data.keypoint_tables import csv_text
from tests.lploss_builtin.scoring.scoring_calls import score_with

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


def test_they_are_left_out_of_separate_files(views, tmp_path):
    summary = score_files(
        views, ScoreOptions(losses=["temporal"], out=tmp_path / "out", pictures=False)
    )
    assert summary.notes == (note(views[1]),)
    assert {row.file for row in summary.rows} == {None, *map(str, [views[0], *views[2:]])}


def test_they_are_left_out_of_calibrated_views(views, tmp_path):
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


def test_those_of_a_prediction_are_told(tmp_path):
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
def test_how_they_are_told(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert holds_points_in_space(tmp_path / name) is expected


def test_a_file_that_cannot_be_read_holds_none(tmp_path):
    assert not holds_points_in_space(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"scorer,\xff\n")
    assert not holds_points_in_space(tmp_path / "a.csv")
