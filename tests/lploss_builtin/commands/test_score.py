from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lploss import cli
from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.commands import score as command
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
    assert "lploss-score: scores.parquet, scores.csv, summary.json, pictures (6)" in lines
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

    def record(files, **options):
        calls.append(([str(file) for file in files], options))
        raise DataError("recorded")

    monkeypatch.setattr(command, "score_files", record)
    with pytest.raises(DataError):
        invoke(
            "a.csv",
            "--labels",
            "l.csv",
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
        )
    ((files, options),) = calls
    options.pop("progress")
    assert files == ["a.csv"]
    assert {name: str(value) for name, value in options.items()} == {
        "labels": "l.csv",
        "config": "c.yaml",
        "overrides": "['a.b=1', 'c=2']",
        "losses": "['x', 'y']",
        "out": "o",
        "videos": str([type(options["out"])("v.mp4")]),
        "pictures": "False",
        "keep_going": "True",
    }


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
    def lploss(*args):
        return CliRunner().invoke(cli.app, ["score", *args])

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
