from __future__ import annotations

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lploss.errors import ArgumentValueError
from lploss_builtin.commands.demo import demo
from lploss_builtin.commands.score import score
from lploss_builtin.demo.faulty_tracks import Fault, make_demo_project
from lploss_builtin.demo.scoring import compare, scoring_demo
from lploss_builtin.scoring import score_recording
from tests.lploss_builtin.data.keypoint_tables import read_keypoints


def app_of(function):
    app = typer.Typer()
    app.command()(function)
    return app


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder in which the demo ran, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "100")
        # The tests of scoring look at pictures; they are most of the time.
        monkeypatch.setattr(score_recording, "draw_pictures", lambda *args: None)
        arguments = ["score", "--frames", "150"]
        result = CliRunner().invoke(app_of(demo), arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return folder, result.stdout


def test_a_project_is_left(made):
    folder, _ = made
    project = folder / "lploss-demo"
    assert sorted(path.name for path in project.iterdir()) == [
        "CollectedData.csv",
        "config.yaml",
        "faults.csv",
        "predictions",
        "scores",
    ]
    labels = read_keypoints(project / "CollectedData.csv")
    assert labels.keypoints.shape == (100, 28)
    assert 0.01 < np.isnan(labels.keypoints).mean() < 0.08
    assert labels.frames[0].startswith("labeled-data/walk/img")
    predictions = read_keypoints(project / "predictions" / "walk2.csv")
    assert predictions.keypoints.shape == (150, 28)
    assert predictions.keypoint_names == labels.keypoint_names
    assert predictions.confidences.min() > 0.05


def test_faults_are_counted_and_found(made):
    folder, said = made
    with (folder / "lploss-demo" / "faults.csv").open() as file:
        faults = list(csv.DictReader(file))
    faulty = {(fault["file"], fault["frame"]) for fault in faults}
    assert f"Of 450 frames, {len(faulty)} hold a keypoint" in " ".join(said.split())
    rows = {line.split()[0]: line.split() for line in said.splitlines() if " %" in line}
    found, of_all = rows["any"][-3].split("/")
    assert int(of_all) == len(faulty)
    # A loss that finds little, or flags whatever comes, would be none.
    assert int(found) > 0.6 * len(faulty)
    assert float(rows["any"][rows["any"].index("%") - 1]) > 85


def test_the_command_that_is_printed_works(made, monkeypatch):
    folder, said = made
    monkeypatch.chdir(folder)
    command = next(line for line in said.splitlines() if line.startswith("lploss score "))
    words = shlex.split(command)[2:]
    files = sorted(map(str, Path().glob(words[0])))
    assert len(files) == 3
    result = CliRunner().invoke(
        app_of(score),
        [*files, *words[1:], "--losses", "temporal", "--no-pictures"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0


def test_the_same_seed_makes_the_same_files(tmp_path):
    def made_with(seed, name):
        (tmp_path / name).mkdir()
        make_demo_project(tmp_path / name, 150, seed)
        return {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file()
        }

    one = made_with(1, "one")
    assert one == made_with(1, "two")
    assert one != made_with(2, "three")


def test_comparison_by_hand():
    faults = [
        [
            Fault("jump", 2, "nose", 9.0),
            Fault("jump", 2, "tail", 9.0),
            Fault("swap", 4, "tail", 9.0),
        ],
        [],
    ]
    flags = [np.array([1, 0, 1, 1, 0, 1], dtype=bool), np.array([1, 0], dtype=bool)]
    looking_back, alone = compare(faults, {"a": flags, "b": flags}, {"a": 1, "b": 0})
    assert looking_back.flagged == alone.flagged == 5
    assert alone.flagged_rightly == 1
    # Frames 3 and 5 follow a fault.
    assert looking_back.flagged_rightly == 3
    assert alone.faulty == {"jump": 1, "swap": 1, "all": 2}
    assert alone.found == looking_back.found == {"jump": 1, "swap": 0, "all": 1}


def test_too_few_frames_for_a_fault(tmp_path):
    with pytest.raises(ArgumentValueError) as raised:
        scoring_demo(tmp_path / "out", 149, 0)
    assert str(raised.value) == (
        "the demo needs at least 150 frames for a fault of each kind, got 149"
    )
    assert not (tmp_path / "out").exists()
