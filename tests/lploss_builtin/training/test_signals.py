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

COMMAND = Path(__file__).with_name("reading_ahead.py")


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(COMMAND), "train", *arguments],
        # Sums over several threads round otherwise.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists(), process.communicate()


def checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(TrainingRun(run).checkpoint("last"), weights_only=True)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The config of a training on 24 frames, in 24 steps an epoch."""
    folder = tmp_path_factory.mktemp("project")
    training = {"max_epochs": 4, "train_batch_size": 1}
    return str(write_training(folder, frames=16, training=training))


@pytest.fixture(scope="module")
def whole(config: str) -> dict[str, Any]:
    """The last checkpoint of that training where nothing ends it."""
    run = Path(config).with_name("whole")
    finish(start(config, "training.num_workers=2", "--out", str(run)))
    return checkpoint(run)


@pytest.mark.parametrize(
    ("number", "to_all", "num_workers"),
    [(signal.SIGTERM, False, 2), (signal.SIGTERM, True, 0), (signal.SIGINT, True, 2)],
)
def test_it_ends_with_a_checkpoint_and_resumes_bit_for_bit(
    tmp_path, config, whole, number, to_all, num_workers
):
    """A terminal and a scheduler send a signal to all processes, those that read ahead too."""
    part = tmp_path / "part"
    process = start(config, "training.num_workers=2", "--out", str(part))
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
    assert 24 <= checkpoint(part)["global_step"] < 4 * 24
    finish(start("--resume", str(part), f"training.num_workers={num_workers}"))
    resumed = checkpoint(part)
    assert resumed["global_step"] == whole["global_step"] == 4 * 24
    torch.testing.assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)


def test_of_several_processes_all_end_after_the_same_step(tmp_path, config):
    part = tmp_path / "part"
    process = start(config, "training.devices=2", "training.max_epochs=200", "--out", str(part))
    wait_for(part / "checkpoints" / "last.ckpt", process)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert err.count("To resume it: lploss train --resume") == 1
    assert 12 <= checkpoint(part)["global_step"] < 200 * 12


def test_two_trainings_in_one_folder(tmp_path, config):
    run = tmp_path / "run"
    first = start(config, "training.max_epochs=200", "--out", str(run))
    wait_for(run / "checkpoints" / "last.ckpt", first)
    for arguments in (["--resume", str(run)], [config, "--out", str(run)]):
        second = start(*arguments)
        _, err = second.communicate(timeout=120)
        assert second.returncode == 1
        assert f"is in use by lploss train, process {first.pid} on " in err
    first.kill()
    first.communicate()
    # A lock ends with its process.
    third = start("--resume", str(run), "training.max_epochs=1")
    _, err = third.communicate(timeout=240)
    assert third.returncode == 2
    assert f"the training in {run} is complete: it has" in err
