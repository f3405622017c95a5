"""Steps of the optimizer that take several batches, against steps that take one large batch.

Frames have different numbers of labels, so the mean over means is another one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lploss import load_config
from lploss_builtin.data.project.split import split
from lploss_builtin.training.module import PoseModule
from lploss_builtin.training.run import TrainingRun, train
from tests.lploss_builtin.training.small_trainings import write_training

RATE = 10.0


def write(folder: Path, *, labelled: int = 1, **settings: Any) -> Path:
    """Write a training on 8 frames; every other one has so many keypoints a view, of two."""
    training = {
        "optimizer": "SGD",
        "optimizer_params": {"learning_rate": RATE},
        "unfreezing_epoch": 0,
        "train_frames": 8,
        "max_epochs": 1,
        "check_val_every_n_epoch": 5,
        **settings.pop("training", {}),
    }
    path = write_training(folder, training=training, **settings)
    frames = split(16, 0.75, 0.25, train_frames=8, seed=0).train
    for file in folder.glob("CollectedData_*.csv"):
        lines = file.read_text().splitlines()
        for frame in frames[::2]:
            cells = lines[3 + frame].split(",")
            num_labels = 1 + (len(cells) - 1) // 2 * labelled
            lines[3 + frame] = ",".join(
                [cell if place < num_labels else "" for place, cell in enumerate(cells)]
            )
        file.write_text("\n".join(lines) + "\n")
    return path


def parameters(path: Path, out: Path, *overrides: str) -> Tensor:
    run = train(load_config(path, overrides), out, folder=path.parent)
    return flat(run)


def flat(run: TrainingRun) -> Tensor:
    return torch.cat([value.detach().flatten() for value in run.model("last").parameters()])


def step(batch_size: int, accumulated: int, *more: str) -> tuple[str, ...]:
    return (
        f"training.train_batch_size={batch_size}",
        f"training.accumulate_grad_batches={accumulated}",
        *more,
    )


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="heatmap_mse"),
        pytest.param({"training": {"imgaug": "dlc"}}, id="augmented"),
        pytest.param(
            {
                "losses": {"supervised_reprojection_heatmap_mse": {"log_weight": 0.0}},
                "training": {"imgaug_3d": True},
            },
            id="in 3D",
        ),
        pytest.param({"model": {"model_type": "regression"}}, id="regression"),
        pytest.param(
            {"model": {"model_type": "heatmap", "heatmap_loss_type": "kl"}}, id="heatmap_kl"
        ),
        pytest.param({"model": {"model_type": "heatmap_mhcrnn"}}, id="two heads"),
    ],
)
def test_several_small_batches_are_one_large_one(tmp_path, settings, monkeypatch):
    in_px = {"model_type": "regression"} in settings.values()
    rate = f"training.optimizer_params.learning_rate={1e-3 if in_px else RATE}"
    path = write(tmp_path, **settings)
    large = parameters(path, tmp_path / "large", *step(8, 1, rate))
    small = parameters(path, tmp_path / "small", *step(2, 4, rate))
    assert_close(small, large, atol=1e-6, rtol=0)
    monkeypatch.setattr(PoseModule, "_weights_in", lambda *_: [])
    assert (parameters(path, tmp_path / "mean", *step(2, 4, rate)) - large).abs().max() > 1e-4


def test_a_step_that_an_epoch_cuts_short_is_as_large_as_others(tmp_path):
    """Of 8 frames in batches of two, three batches make a step, and the last one another."""
    path = write(tmp_path, training={"limit_train_batches": 4})
    cut = parameters(path, tmp_path / "cut", *step(2, 3))
    # The same two steps as trainings of their own.
    first = parameters(path, tmp_path / "a", *step(2, 3, "training.limit_train_batches=3"))
    whole = train(load_config(path, step(6, 1)), tmp_path / "whole", folder=path.parent)
    assert_close(cut, flat(whole), atol=1e-6, rtol=0)
    assert (first - cut).abs().max() > 1e-4


def test_what_is_logged_is_the_mean_of_each_batch(tmp_path, monkeypatch):
    found: list[tuple[float, float]] = []
    original = PoseModule._log

    def log(self: PoseModule, entries: Any, stage: Any, weight: Any) -> None:
        values = {entry["name"]: entry["value"].item() for entry in entries}
        found.extend(values.items())
        original(self, entries, stage, weight)

    monkeypatch.setattr(PoseModule, "_log", log)
    path = write(tmp_path, training={"limit_train_batches": 1})
    parameters(path, tmp_path / "run", *step(2, 4))
    logged = dict(found)
    assert logged["train_loss"] == logged["train_supervised_loss"]
    assert logged["train_loss"] == pytest.approx(logged["train_heatmap_mse_loss"] / 2)


def test_it_resumes_bit_for_bit(tmp_path):
    path = write(tmp_path, training={"max_epochs": 2, "imgaug": "dlc"})
    whole = parameters(path, tmp_path / "whole", *step(2, 3))
    out = tmp_path / "run"
    # In the middle of the second epoch, which has two steps.
    parameters(path, out, *step(2, 3, "training.max_steps=3"))
    config = load_config(out / "config.yaml", ["training.max_steps=null"])
    train(config, out, resume=True)
    assert torch.equal(flat(TrainingRun(out)), whole)


@pytest.mark.slow
def test_two_processes_accumulate_what_one_does(tmp_path):
    path = write(tmp_path)
    alone = parameters(path, tmp_path / "alone", *step(8, 1))
    out = tmp_path / "both"
    command = [sys.executable, "-m", "lploss.cli", "train", str(path), "--out", str(out)]
    subprocess.run(
        [*command, *step(2, 2, "training.devices=2")], check=True, capture_output=True, timeout=300
    )
    assert_close(flat(TrainingRun(out)), alone, atol=1e-6, rtol=0)
