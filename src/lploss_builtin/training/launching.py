"""The processes of a training: how many were started, and which is the first."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from lploss.errors import ConfigError


def is_first_process() -> bool:
    """Return whether this is the first of the processes that train together.

    This is known before the trainer is built, from the environment variables that SLURM, torchrun
    and Lightning set for the processes that they start.
    """
    # Without SLURM and torchrun, Lightning numbers the processes of each node from 0.
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return getattr(rank_zero_only, "rank", 0) == 0 and node == "0"


def check_number_of_processes(num_devices: int, num_nodes: int) -> None:
    """Check that whoever started this process did not start others that know nothing of it.

    Each would train the whole of it, and write into the same folder.

    Args:
        num_devices: ``training.devices``, on each node.
        num_nodes: ``training.num_nodes``.

    Raises:
        ConfigError: torchrun has started another number of processes, or srun more.
    """
    expected = num_devices * num_nodes
    if TorchElasticEnvironment.detect():
        started, starter = TorchElasticEnvironment().world_size(), "torchrun"
        fits = started == expected
    elif SLURMEnvironment.detect():
        # Of a batch script that starts nothing, too, SLURM tells how many tasks it may start.
        started, starter = int(os.environ["SLURM_NTASKS"]), "srun"
        fits = int(os.environ.get("SLURM_PROCID", 0)) < expected
    else:
        return
    if not fits:
        raise ConfigError(
            f"{starter} has started {started} processes, and training.devices * training.num_nodes "
            f"are {num_devices} * {num_nodes}. Give the devices of each node and the number of "
            "nodes that it was started with."
        )
