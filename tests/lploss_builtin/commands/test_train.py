from __future__ import annotations

import os
import re
import subprocess
import sys

import pandas as pd
import pytest
import typer
from lightning.pytorch.utilities import rank_zero_only
from typer.testing import CliRunner

from lploss.errors import ArgumentValueError, ConfigError, MissingDependencyError
from lploss_builtin import evaluation as after_training
from lploss_builtin.commands.train import train
from lploss_builtin.evaluation import EvalTasks, TrainingEvaluation
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.training.small_trainings import write_training

VARIABLE = "LPLOSS_RUN_FOLDER"


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    app = typer.Typer()
    app.command()(train)
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def given(monkeypatch):
    """What the command has handed on, in place of trainings."""
    calls = []

    def stand_in(config, out, **options):
        calls.append((config, str(out), options, os.environ.get(VARIABLE)))
        return TrainingRun(out)

    def evaluate(run, tasks, **options):
        return TrainingEvaluation(run.folder, (), (), {}, (), ())

    monkeypatch.setattr("lploss_builtin.training.run.train", stand_in)
    monkeypatch.setattr(after_training, "evaluate_training", evaluate)
    return calls


def write_config(folder, text="training: {max_epochs: 7}\n"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(text)


def start(folder):
    """Make a folder look like that of a training."""
    write_config(folder)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()


def test_a_training_and_how_it_goes_on(invoke, tmp_path):
    write_training(tmp_path / "project", training={"max_epochs": 1})
    result = invoke("project/config.yaml", "training.train_frames=4", "--out", "run")
    assert (result.exit_code, result.stderr) == (0, "")
    first, heading, *_ = result.stdout.splitlines()
    assert (first, " ".join(heading.split())) == ("trained: run", "labelled frames mean (median)")
    errors = pd.read_csv(tmp_path / "run" / "predictions_left_pixel_error.csv", index_col=0)
    assert errors["set"].value_counts().to_dict() == {"unused": 8, "train": 4, "validation": 4}
    assert TrainingRun(tmp_path / "run").config.training.train_frames == 4
    with pytest.raises(ConfigError, match=r"^the training in run is complete: it has 1 epochs\."):
        invoke("--resume", "run")
    before = (tmp_path / "run" / "predictions_left.csv").read_bytes()
    result = invoke("--resume", "run", "training.max_epochs=2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("trained: run\nlabelled frames")
    assert (tmp_path / "run" / "predictions_left.csv").read_bytes() != before
    config = TrainingRun(tmp_path / "run").config
    assert (config.training.max_epochs, config.training.train_frames) == (2, 4)
    assert VARIABLE not in os.environ


def test_what_is_handed_on(invoke, given, tmp_path):
    write_config(tmp_path / "project")
    invoke("project/config.yaml", "training.min_epochs=3", "training.devices=2", "--out", "a/b")
    ((config, out, options, variable),) = given
    assert (config.training.max_epochs, config.training.min_epochs) == (7, 3)
    assert config.training.devices == 2
    assert (out, variable) == ("a/b", "a/b")
    assert options == {
        "folder": tmp_path / "project",
        "resume": False,
        "shows_progress": False,
    }


def test_a_folder_named_after_the_time(invoke, given, tmp_path):
    write_config(tmp_path)
    result = invoke("config.yaml")
    ((_, out, _, variable),) = given
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", out)
    assert result.stdout == f"trained: {out}\n"
    assert variable == out
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    "arguments",
    [
        ("--resume", "run", "training.min_epochs=1", "model.checkpoint=//server/last.ckpt"),
        ("training.min_epochs=1", "model.checkpoint=//server/last.ckpt", "--resume", "run"),
        ("training.min_epochs=1", "--resume", "run", "model.checkpoint=//server/last.ckpt"),
        ("model.checkpoint=//server/last.ckpt", "--resume", "run", "training.min_epochs=1"),
    ],
    ids=" ".join,
)
def test_overrides_stand_before_or_behind_the_folder_to_resume(invoke, given, tmp_path, arguments):
    start(tmp_path / "run")
    assert invoke(*arguments).stdout == "trained: run\n"
    ((config, out, options, variable),) = given
    assert (config.training.max_epochs, config.training.min_epochs) == (7, 1)
    assert config.model.checkpoint == "//server/last.ckpt"
    assert (out, variable) == ("run", "run")
    assert options == {"folder": None, "resume": True, "shows_progress": False}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), ArgumentValueError, "name a config to train with, or a folder by --resume"),
        (
            ("nothing.yaml",),
            ConfigError,
            "the config nothing.yaml does not exist",
        ),
        (
            ("config.yaml", "max_epochs"),
            ConfigError,
            "an override must read section.key=value, got 'max_epochs'",
        ),
        (
            ("--resume", "run", "--out", "other"),
            ArgumentValueError,
            "--resume goes on in its own folder: leave out --out",
        ),
        (
            ("config.yaml", "--resume", "run"),
            ConfigError,
            "an override must read section.key=value, got 'config.yaml'",
        ),
        (
            ("--resume", "nothing"),
            ConfigError,
            "nothing is no folder of a training: there is no checkpoints/last.ckpt",
        ),
        (
            ("config.yaml", "--out", "run"),
            ArgumentValueError,
            "run holds a training already: go on with it by --resume run, or name another folder "
            "by --out",
        ),
    ],
)
def test_what_cannot_be_trained(invoke, given, tmp_path, arguments, error, message):
    write_config(tmp_path)
    start(tmp_path / "run")
    with pytest.raises(error) as raised:
        invoke(*arguments)
    assert str(raised.value) == message
    assert given == []
    assert VARIABLE not in os.environ


def test_further_processes_use_the_folder_of_the_first(invoke, given, tmp_path, monkeypatch):
    write_config(tmp_path)
    start(tmp_path / "run")
    for arguments in ((), ("--out", "run")):
        monkeypatch.setenv(VARIABLE, "run")
        invoke("config.yaml", *arguments)
    assert [out for _, out, _, _ in given] == ["run", "run"]


def test_further_processes_say_nothing(invoke, given, tmp_path, monkeypatch):
    write_config(tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    result = invoke("config.yaml", "--out", "run")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert len(given) == 1


@pytest.mark.slow
def test_two_processes_say_once_that_they_are_done(tmp_path):
    write_training(tmp_path, training={"max_epochs": 1})
    program = [sys.executable, "-m", "lploss.cli", "train", "config.yaml", "--out", "run"]
    done = subprocess.run(
        [*program, "training.devices=2"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trained: run\nlabelled frames")
    assert done.stdout.count("pixel_error, px") == 1
    assert (tmp_path / "run" / "predictions_left_pixel_error.csv").is_file()


def test_what_cannot_be_done_afterwards_is_said_before(invoke, given, tmp_path):
    write_config(tmp_path, "eval: {predict_vids_after_training: true, test_videos_directory: a}\n")
    with pytest.raises(ConfigError, match=r"^eval\.test_videos_directory must be a folder of vid"):
        invoke("config.yaml")
    assert given == []


def test_what_is_not_read_is_said(invoke, given, tmp_path):
    write_config(tmp_path, "eval: {hydra_paths: [a], fiftyone: {port: 5151}}\n")
    result = invoke("config.yaml", "--out", "run")
    assert result.stderr.splitlines() == [
        "note: eval.hydra_paths is not read: it is for a tool that lploss has no part in",
        "note: eval.fiftyone is not read: it is for a tool that lploss has no part in",
    ]


def test_an_evaluation_that_fails_is_named_after_the_training(invoke, given, tmp_path, monkeypatch):
    def evaluate(run, tasks, **options):
        assert (run.folder.name, tasks) == ("run", EvalTasks())
        return TrainingEvaluation(run.folder, (), (), {}, ("one",), ("the videos: none",))

    monkeypatch.setattr(after_training, "evaluate_training", evaluate)
    write_config(tmp_path)
    result = invoke("config.yaml", "--out", "run")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == "trained: run\nnote: one\nnot evaluated: the videos: none\n"


def test_a_training_that_fails_leaves_no_trace_of_its_folder(invoke, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise ConfigError("as it is")

    monkeypatch.setattr("lploss_builtin.training.run.train", fail)
    write_config(tmp_path)
    with pytest.raises(ConfigError, match=r"^as it is$"):
        invoke("config.yaml", "--out", "run")
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("module", ["lightning", "timm", "PIL"])
def test_what_is_not_installed_is_named(invoke, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as raised:
        invoke("config.yaml")
    assert f'{module} is needed to train a model: pip install "lploss[train]"' in str(raised.value)
