from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lploss import cli
from lploss_builtin.evaluation import labelled_frames
from lploss_builtin.output import lock_folder
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.evaluation.test_runner import write_training
from tests.lploss_builtin.predicting.runs import FindsSpots


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingRun, "model", lambda self: FindsSpots(2))
    return str(write_training(tmp_path).folder)


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["evaluate", *arguments])


def test_a_table_and_what_was_kept(run):
    result = invoke(run)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "labelled frames mean (median)"
    assert "pixel_error, px 5 (5) 5 (5) 5 (5)" in lines
    assert "finished before, and kept: labelled frames" in invoke(run).stdout
    assert "kept" not in invoke(run, "--overwrite").stdout


def test_json(run):
    content = json.loads(invoke(run, "--json").stdout)
    assert content["folder"] == run
    assert content["kept"] == content["failed"] == []
    (row,) = (
        row
        for row in content["metrics"]
        if (row["set"], row["metric"], row["keypoint"]) == ("test", "pixel_error", "")
    )
    assert (row["unit"], row["count"], round(row["mean"], 1)) == ("px", 30, 5.0)
    assert f"{run}/labelled_metrics.csv" in content["files"]
    assert json.loads(invoke(run, "--json").stdout)["kept"] == ["labelled frames"]


def test_what_failed(run, tmp_path):
    (tmp_path / "project" / "CollectedData_left.csv").unlink()
    result = invoke(run)
    assert result.exit_code == 1
    assert result.stdout.startswith("not evaluated: the labelled frames: ")


def test_a_folder_without_a_training(tmp_path):
    result = invoke(str(tmp_path / "nothing"))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path}/nothing is no folder of a training: ")
    assert not (tmp_path / "nothing").exists()


def test_a_folder_in_use(run, monkeypatch):
    """By another thread, which counts as another process."""
    monkeypatch.setattr("threading.get_ident", lambda: 1)
    with lock_folder(Path(run), "lploss train"):
        monkeypatch.setattr("threading.get_ident", lambda: 2)
        result = invoke(run)
        monkeypatch.setattr("threading.get_ident", lambda: 1)
    assert result.exit_code == 1
    assert f"error: the folder {run} is in use by lploss train, process {os.getpid()} on " in (
        result.stderr
    )


def test_a_signal_leaves_finished_files_only(run, monkeypatch):
    write = labelled_frames.write_metric_files

    def end(*arguments):
        write(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(labelled_frames, "write_metric_files", end)
    before = sorted(Path(run).iterdir())
    result = invoke(run)
    assert (result.exit_code, result.stderr) == (143, "ended by SIGTERM\n")
    assert sorted(Path(run).iterdir()) == before
