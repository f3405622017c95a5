from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from lploss.errors import ConfigError, DataError
from lploss_builtin.commands import predict as command
from lploss_builtin.predicting import LabelledVideo
from tests.lploss_builtin.data.small_projects import calibration, write_text
from tests.lploss_builtin.predicting.runs import write_run, write_spots
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video
from tests.lploss_builtin.predicting.test_runner import KEYPOINTS

CALIBRATION = calibration(("left", "top"), (96, 64), [0.0] * 5)


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run the command in a folder with a training and images of two calibrated views."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    write_run(tmp_path / "run", ("left", "top"))
    for view in ("left", "top"):
        write_spots(tmp_path / f"mo_{view}", KEYPOINTS)
    write_text(tmp_path / "calibration.toml", CALIBRATION)
    app = typer.Typer()
    app.command()(command.predict)

    def run(*args):
        return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)

    return run


def test_a_table_on_the_screen(invoke, tmp_path):
    result = invoke("run", "mo_left", "mo_top")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "┃ recording ┃ views ┃ frames ┃ mean likelihood ┃ mean reprojection error, px ┃" in lines
    assert any(line.startswith("│ mo │ left, top │ 3 │ 0.") for line in lines)
    head = "┃ recording ┃ predicted now ┃ frames/s ┃ decoding ┃ model ┃ writing ┃"
    assert head in lines
    assert any(line.startswith("│ mo │ 3 │ ") and line.endswith("% │") for line in lines)
    assert lines[-1] == "run/predictions: 3 files"
    names = [path.name for path in (tmp_path / "run/predictions").iterdir() if path.name[0] != "."]
    assert sorted(names) == ["mo_3d.csv", "mo_left.csv", "mo_top.csv"]
    assert result.stderr == ""


def test_json_and_nothing_else(invoke):
    result = invoke("run", "mo_top", "--json", "--out", "there")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    (recording,) = found.pop("recordings")
    note = "mo: predicted without left, of which there are no images"
    assert found == {"failed": [], "unreadable": [], "notes": [note], "out": "there"}
    assert 0 <= recording.pop("likelihood") <= 1
    assert recording.pop("frames_per_second") > 0
    shares = recording.pop("shares_of_time")
    assert list(shares) == ["decoding", "model", "writing"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert recording == {
        "name": "mo",
        "views": ["top"],
        "num_frames": 3,
        "reprojection_error": None,
        "files": ["mo_top.csv"],
        "num_kept_frames": 0,
        "drawing_seconds": 0.0,
        "drawn_share": None,
        "decoder": None,
    }
    assert result.stderr == ""


def test_notes_are_shown(invoke, tmp_path):
    write_text(tmp_path / "calibration.toml", CALIBRATION.replace('"top"', '"tip"'))
    result = invoke("run", "mo_left", "mo_top", "--out", "there")
    assert result.exit_code == 0
    assert "mo: no points in space: " in result.stdout


def test_keep_going_ends_with_status_1(invoke, tmp_path):
    (tmp_path / "mo_top/img0.png").write_text("nothing")
    with pytest.raises(DataError, match=r"img0\.png cannot be read: it holds no image$"):
        invoke("run", "mo_top")
    result = invoke("run", "mo_top", "--keep-going")
    assert result.exit_code == 1
    assert "not predicted: the image " in result.stdout
    assert (tmp_path / "run/predictions/mo_top.csv").is_file()


def test_a_video_that_failed_ends_with_status_1(invoke, tmp_path):
    write_spot_video(tmp_path / "mo_top.mp4", wandering(3))
    (tmp_path / "tu_top.mp4").write_bytes(b"")
    result = invoke("run", "mo_top.mp4", "tu_top.mp4", "--video", "--confidence", "0.1")
    assert result.exit_code == 1
    assert "failed: the video tu_top.mp4 is empty" in result.stdout
    files = {path.name for path in (tmp_path / "run/predictions").iterdir() if path.is_file()}
    assert files == {"mo_top.csv", "mo_top_labelled.mp4"}
    result = invoke("run", "mo_top.mp4")
    assert result.exit_code == 0
    assert "predicted now" not in result.stdout


def test_errors_are_raised_for_the_core_to_show(invoke):
    with pytest.raises(ConfigError, match=r"^mo_top is no folder of a training: "):
        invoke("mo_top", "mo_left")


def test_all_options_reach_the_library(invoke, monkeypatch):
    calls = []

    def record(run, inputs, **options):
        calls.append((str(run), [str(path) for path in inputs], options))
        raise DataError("recorded")

    monkeypatch.setattr("lploss_builtin.predicting.predict_files", record)
    options = (
        *("--out", "o", "--checkpoint", "last", "--views", "top, left", "--calibration", "k.toml"),
        *("--bbox", "a.csv", "--bbox", "b.csv", "--batch-size", "7", "--device", "cuda:1"),
    )
    drawing = (
        *("--video", "--confidence", "0.5", "--colormap", "hsv", "--overwrite"),
        *("--decoder", "cpu", "--processes", "3", "--scheduler", "tcp://host:8786"),
    )
    with pytest.raises(DataError):
        invoke("run", "a", "b.csv", *options, "--keep-going", *drawing)
    ((run, inputs, given),) = calls
    assert (run, inputs) == ("run", ["a", "b.csv"])
    given.pop("progress")
    files = {name: given.pop(name) for name in ("out", "calibration", "bbox_files")}
    assert [str(files["out"]), str(files["calibration"])] == ["o", "k.toml"]
    assert [str(path) for path in files["bbox_files"]] == ["a.csv", "b.csv"]
    assert given == {
        "checkpoint": "last",
        "views": ["top", "left"],
        "batch_size": 7,
        "device": "cuda:1",
        "decoder": "cpu",
        "keep_going": True,
        "overwrite": True,
        "video": LabelledVideo(0.5, "hsv"),
        "processes": 3,
        "scheduler": "tcp://host:8786",
    }


def test_a_batch_of_nothing_is_a_wrong_usage(invoke):
    result = invoke("run", "mo_top", "--batch-size", "0")
    assert result.exit_code == 2


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with command.progress_bar() as progress:
        progress("mo", 3, 6)
    assert "3/6" in capsys.readouterr().err


def test_no_bar_elsewhere(capsys):
    with command.progress_bar() as progress:
        progress("mo", 3, 6)
    assert capsys.readouterr() == ("", "")
