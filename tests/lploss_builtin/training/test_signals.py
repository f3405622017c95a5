"""Trainings in processes of their own that signals end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.training.small_trainings import write_training

pytestmark = pytest.mark.slow

#: Frames are read while the training goes on, by processes of their own.
READS_AHEAD = """
from lploss.cli import main
from lploss_builtin.data.project.labelled_frames import LabelledFrames

LabelledFrames.load = lambda *_: False
main()
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", READS_AHEAD, "train", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists(), process.communicate()


def checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(TrainingRun(run).checkpoint("last"), weights_only=True)


def write(folder: Path) -> Path:
    """Write a project of 24 frames to train with."""
    return write_training(folder, frames=16, training={"max_epochs": 4, "train_batch_size": 1})


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
)
def test_it_ends_with_a_checkpoint_and_a_status_that_says_why(tmp_path, number, to_all):
    """A terminal and a scheduler send a signal to all processes, those that read ahead too."""
    path, part = write(tmp_path), tmp_path / "part"
    process = start(str(path), "training.num_workers=2", "--out", str(part))
    wait_for(part / "checkpoints" / "last.ckpt", process)
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=120)
    name = signal.Signals(number).name
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert f"the training was ended by {name} after " in err
    assert f"To resume it: lploss train --resume {part}" in err
    assert err.endswith(f"ended by {name}\n")
    assert not list(part.glob(".*"))
    process = start("--resume", str(part), "training.num_workers=0")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert checkpoint(part)["global_step"] == 4 * 24


def test_of_several_processes_all_end_after_the_same_step(tmp_path):
    path = write(tmp_path)
    part = tmp_path / "part"
    process = start(str(path), "training.devices=2", "training.max_epochs=200", "--out", str(part))
    wait_for(part / "checkpoints" / "last.ckpt", process)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert err.count("To resume it: lploss train --resume") == 1
    assert 12 <= checkpoint(part)["global_step"] < 200 * 12


def test_two_trainings_in_one_folder(tmp_path):
    path = write(tmp_path)
    process = start(str(path), "training.max_epochs=200", "--out", str(tmp_path / "run"))
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    for arguments in (
        ["--resume", str(tmp_path / "run")],
        [str(path), "--out", str(tmp_path / "run")],
    ):
        second = start(*arguments)
        _, err = second.communicate(timeout=120)
        assert second.returncode == 1
        assert f"is in use by lploss train, process {process.pid} on " in err
    process.kill()
    process.communicate()
    # A lock ends with its process.
    third = start("--resume", run, "training.max_epochs=1")
    _, err = third.communicate(timeout=240)
    assert third.returncode == 2
    assert f"the training in {run} is complete: it has" in err
