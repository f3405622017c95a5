from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lploss import cli
from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.commands import score as command
from tests.lploss_builtin.commands.rig import NAMES as RIG_NAMES
from tests.lploss_builtin.commands.rig import (
    points_in_space,
    project,
    write_calibration,
    write_views,
)
from tests.lploss_builtin.data.keypoint_tables import write_predictions

NAMES = ("nose", "tail")


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run the command in a folder with two files of predictions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in "ab":
        keypoints = np.zeros((4, 2, 2))
        keypoints[2, 1] = [3, 4]
        write_predictions(tmp_path / f"{name}.csv", keypoints, NAMES)
    app = typer.Typer()
    app.command()(command.score)

    def run(*args):
        return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)

    return run


def test_tables_on_the_screen(invoke, tmp_path):
    result = invoke("a.csv", "b.csv", "--losses", "temporal", "--set", "losses.temporal.epsilon=2")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "temporal epsilon 2 px" in lines
    # 2 of 8 values of a frame are none (the first frame), 2 of the other 6 are 5.
    assert "a 75 % 0 5 5 5 33.3 % 2 tail" in lines
    assert any(line.startswith("all files 75 % 0") for line in lines)
    assert (
        "lploss-score: scores.parquet, scores.csv, summary.json, pictures (6); metric files (2)"
        in lines
    )
    assert (tmp_path / "lploss-score" / "scores.csv").is_file()


def test_json_and_nothing_else(invoke):
    result = invoke("a.csv", "--losses", " temporal ", "--json", "--out", "there")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["out"] == "there"
    assert found["rows"][0]["maximum"] == 5
    assert result.stderr == ""


def test_without_losses_all_that_can_run(invoke):
    result = invoke("a.csv")
    assert result.exit_code == 0
    assert "left out: rmse: needs keypoints_targ, which no file gives" in result.stdout


def test_keep_going_ends_with_status_1(invoke, tmp_path):
    result = invoke("none.csv", "a.csv", "--losses", "temporal", "--keep-going")
    assert result.exit_code == 1
    assert "not scored: none.csv does not exist" in result.stdout
    assert (tmp_path / "lploss-score" / "scores.csv").is_file()


def test_errors_are_raised_for_the_core_to_show(invoke, tmp_path):
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        invoke("none.csv")
    assert not (tmp_path / "lploss-score").exists()


@pytest.mark.parametrize("losses", ["temporal,", "", " , temporal"])
def test_empty_names_of_losses(invoke, losses):
    with pytest.raises(ArgumentValueError, match=r"separated by single commas .*; got .*''"):
        invoke("a.csv", "--losses", losses)


def test_all_options_reach_the_library(invoke, monkeypatch):
    calls = []

    def record(files, options, progress):
        calls.append(([str(file) for file in files], asdict(options)))
        raise DataError("recorded")

    monkeypatch.setattr(command, "score_files", record)
    with pytest.raises(DataError):
        invoke(
            "a.csv",
            "--calibration",
            "k.toml",
            "--views",
            "top, bot",
            "--labels",
            "l.csv",
            "--labels",
            "m.csv",
            "--config",
            "c.yaml",
            "--set",
            "a.b=1",
            "--set",
            "c=2",
            "--losses",
            "x,y",
            "--out",
            "o",
            "--video",
            "v.mp4",
            "--keep-going",
            "--no-pictures",
            "--no-metric-files",
            "--beside",
            "--processes",
            "3",
            "--scheduler",
            "tcp://host:8786",
        )
    ((files, options),) = calls
    assert options.pop("max_frames") == 4096
    assert files == ["a.csv"]
    assert {name: str(value) for name, value in options.items()} == {
        "calibration": "k.toml",
        "views": "['top', 'bot']",
        "labels": str([type(options["out"])(name) for name in ("l.csv", "m.csv")]),
        "config": "c.yaml",
        "overrides": "['a.b=1', 'c=2']",
        "losses": "['x', 'y']",
        "out": "o",
        "videos": str([type(options["out"])("v.mp4")]),
        "pictures": "False",
        "metric_files": "False",
        "beside": "True",
        "keep_going": "True",
        "processes": "3",
        "scheduler": "tcp://host:8786",
    }


def lploss(*args):
    return CliRunner().invoke(cli.app, ["score", *map(str, args)])


@pytest.fixture
def views(tmp_path, monkeypatch):
    """The files of three calibrated views, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    write_calibration(tmp_path / "rig.toml")
    seen = project(points_in_space(6))
    seen["Top"][4, 1] += (9.0, -9.0)
    return [path.name for path in write_views(tmp_path, seen).values()]


def test_calibrated_views_on_the_screen(views, tmp_path):
    done = lploss(*views, "--calibration", "rig.toml", "--losses", "multiview_reprojection")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.startswith("walk_left1+right2+top 100 %") for line in lines)
    table = lines[lines.index("views median px from where these views put a keypoint") :]
    assert table[2] == "view valid all all others with Left-1 with Right-2 with Top"
    assert table[4].split()[:2] == ["Left-1", "18"]
    assert table[4].split()[4] == "-", "no pair with itself"
    picture = "pictures/walk_left1+right2+top/multiview_reprojection_worst_frames.png"
    assert (tmp_path / "lploss-score" / picture).is_file()


def test_two_views_by_name_and_as_json(views):
    options = ("--calibration", "rig.toml", "--views", "Top, Left-1", "--no-pictures", "--json")
    done = lploss(views[2], views[0], "--losses", "multiview_reprojection", *options)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [view["view"] for view in found["views"]] == ["Left-1", "Top"]
    assert found["views"][0]["left_one_out"] is None
    assert found["notes"] == ["rig.toml: no file is of Right-2"]


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (
            ["walk_top.csv", "--calibration", "rig.toml"],
            2,
            "error: with a calibration, give the fi",
        ),
        (["walk_top.csv", "--views", "Top"], 2, "error: views, here Top, need a calibration"),
        (
            ["walk_top.csv", "x.csv", "--calibration", "rig.toml"],
            2,
            "error: the names of the files",
        ),
        (
            ["walk_top.csv", "x.csv", "--calibration", "rig.toml", "--views", "Top,Side"],
            2,
            "error: there is no camera 'Side'.",
        ),
        (
            ["walk_top.csv", "walk_left1.csv", "--calibration", "rig.toml", "--labels", "l.csv"],
            2,
            "error: give one label file for each of the 2 views, or none; got 1: l.csv",
        ),
        (
            ["walk_top.csv", "walk_left1.csv", "--calibration", "x.csv"],
            1,
            "error: x.csv is not valid TOML",
        ),
        (
            ["walk_top.csv", "x.csv", "--calibration", "rig.toml", "--views", "Top,Left-1"],
            1,
            "error: walk_top.csv ends after 6 frames, x.csv goes on with frame 6.",
        ),
        (
            ["walk_top.csv", "img.csv", "--calibration", "rig.toml", "--views", "Top,Left-1"],
            1,
            "error: walk_top.csv: its frames are numbers, those of img.csv are images.",
        ),
    ],
)
def test_views_used_wrongly(views, tmp_path, args, status, message):
    keypoints = project(points_in_space(8))["Top"]
    write_predictions(tmp_path / "x.csv", keypoints, RIG_NAMES)
    write_predictions(tmp_path / "img.csv", keypoints, RIG_NAMES, [f"a/{n}.png" for n in range(8)])
    before = sorted(tmp_path.iterdir())
    done = lploss(*args, "--losses", "temporal")
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("error: ") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_progress_goes_to_a_terminal_only(monkeypatch, capsys):
    def show_some():
        with command.progress_bar(2) as progress:
            progress("folder/a.csv", 0)
            progress("folder/a.csv", 4096)
            progress("folder/b[x].csv", 0)

    show_some()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    show_some()
    out, err = capsys.readouterr()
    assert out == ""
    assert "1/2" in err
    assert "b[x].csv: 0 frames" in err


def test_as_a_command_of_lploss(invoke, tmp_path):
    done = lploss("a.csv", "--losses", "temporal", "--no-pictures", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["rows"][0]["valid"] == 6
    failed = lploss("a.csv", "none.csv", "--out", "other")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr == "error: none.csv does not exist\n"
    wrong = lploss("a.csv", "--losses", "temproal", "--out", "other")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("error: there is no loss 'temproal'. Did you mean 'temporal'?")
    assert not (tmp_path / "other").exists()
