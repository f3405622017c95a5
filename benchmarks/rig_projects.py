"""Projects of the synthetic rig that stay in a folder, and trainings in them."""

from __future__ import annotations

import logging
import pickle
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf

from lploss import load_config
from lploss_builtin.data.rig.project import RigOptions, RigProject, make_rig_project
from lploss_builtin.training.run import TrainingRun, train


def made(folder: Path, config: Mapping[str, Any], **sizes: Any) -> RigProject:
    """Make the project in a folder, unless it is there."""
    kept = folder / "project.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    project = make_rig_project(folder, RigOptions(**sizes), config=config)
    kept.write_bytes(pickle.dumps(project))
    return project


def trained(
    project: RigProject, folder: Path, sections: Mapping[str, Any], overrides: Sequence[str] = ()
) -> TrainingRun:
    """Train in a project, with one thread, and return what is in ``folder / "run"``."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    # As a file, `lploss train` can do the same again.
    OmegaConf.save(
        OmegaConf.merge(OmegaConf.load(project.config), sections), folder / "config.yaml"
    )
    return train(load_config(folder / "config.yaml", overrides), folder / "run")


def content(path: Path) -> dict[str, Any]:
    """Return what a YAML file says; ``{}`` where it says nothing."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return mean and standard deviation as text."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"
