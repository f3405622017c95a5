from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from lploss.errors import ConfigError
from lploss_builtin.training.launching import check_number_of_processes
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.training.small_trainings import write_training

SLURM = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "devices", "nodes"),
    [
        ({}, 2, 3),
        (TORCHRUN, 2, 1),
        (TORCHRUN, 1, 2),
        ({**SLURM, "SLURM_PROCID": "3"}, 2, 2),
        ({**SLURM, "SLURM_PROCID": "0"}, 1, 1),
        ({"SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "4", "SLURM_PROCID": "1"}, 1, 1),
    ],
)
def test_as_many_as_the_config_tells_of(monkeypatch, environment, devices, nodes):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    check_number_of_processes(devices, nodes)


@pytest.mark.parametrize(
    ("environment", "started"),
    [(TORCHRUN, "torchrun has started 2"), ({**SLURM, "SLURM_PROCID": "1"}, "srun has started 4")],
)
def test_more_than_the_config_tells_of(monkeypatch, environment, started):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        check_number_of_processes(1, 1)
    assert str(raised.value) == (
        f"{started} processes, and training.devices * training.num_nodes are 1 * 1. Give the "
        "devices of each node and the number of nodes that it was started with."
    )


def torchrun(folder, *options, out):
    scripts = Path(sysconfig.get_path("scripts"))
    command = [sys.executable, "-m", "torch.distributed.run", *options, "--no-python"]
    command += [str(scripts / "lploss"), "train", "config.yaml", "--out", out]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights(run):
    return torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]


@pytest.mark.slow
def test_torchrun_on_one_node_and_on_two(tmp_path):
    write_training(tmp_path, training={"max_epochs": 1, "devices": 2})
    one = torchrun(tmp_path, "--nproc-per-node", "2", out="one")
    said, errors = one.communicate(timeout=300)
    assert one.returncode == 0, errors
    assert said.count("trained: one") == 1
    write_training(tmp_path / "again", training={"max_epochs": 1, "num_nodes": 2})
    where = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
    where += ["--master-port", "29533"]
    nodes = [
        torchrun(tmp_path / "again", *where, "--node-rank", rank, out="two") for rank in ("0", "1")
    ]
    ends = [node.communicate(timeout=300) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], ends
    assert ["trained: two" in said for said, _ in ends] == [True, False]
    first = weights(TrainingRun(tmp_path / "one"))
    second = weights(TrainingRun(tmp_path / "again" / "two"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)


@pytest.mark.slow
def test_torchrun_with_a_config_of_one_process(tmp_path):
    write_training(tmp_path, training={"max_epochs": 1})
    process = torchrun(tmp_path, "--nproc-per-node", "2", out="run")
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "error: torchrun has started 2 processes, and training.devices" in errors
    assert not (tmp_path / "run").exists()
