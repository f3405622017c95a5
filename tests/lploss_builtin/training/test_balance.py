"""How a training shows what its losses contribute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lploss_builtin.training.balance import BalanceOfTraining
from lploss_builtin.training.module import PoseModule
from tests.lploss_builtin.training.test_videos import trained, weights, with_videos

ANNEALED = {"anneal_weight": {"freeze_until_epoch": 0, "increase_factor": 0.25}}
LOGGER = "lploss_builtin.training.balance"


def a_training(folder: Path, log_weight: float, **training: Any) -> Path:
    return with_videos(
        folder,
        losses=["temporal"],
        params={"temporal": {"log_weight": log_weight}},
        training={"max_epochs": 3, **training},
        callbacks=ANNEALED,
    )


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


def test_losses_that_drown_the_labels_are_named_once(tmp_path, caplog):
    run = trained(a_training(tmp_path, -9.0), tmp_path / "run")
    shares, warning = messages(caplog)
    assert re.fullmatch(
        r"epoch 1: shares of the weighted sum and of the gradient: "
        r"heatmap_mse [\d.]+ % and [\d.]+ %; temporal [\d.]+ % and [\d.]+ %",
        shares,
    )
    found = re.search(r"Raise log_weight at least: temporal from -9 to (-?[\d.]+)\.$", warning)
    assert warning.startswith("epoch 1: the unsupervised losses outweigh the supervised ones")
    assert found is not None
    # Soon after annealing has begun, and in the last epoch.
    text = (run.folder / "losses.txt").read_text()
    assert re.findall(r"^epoch (\d), with the weight that", text, re.MULTILINE) == ["1", "2"]
    assert text.count("unsupervised") >= 3
    assert warning.partition(": ")[2] in text

    caplog.clear()
    other = tmp_path / "other"
    # Another network has been trained by then, so with some room.
    trained(a_training(other, float(found.group(1)) + 4.0), other / "run")
    assert len(messages(caplog)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16-mixed"},
        {"accumulate_grad_batches": 2},
    ],
    ids=str,
)
def test_the_training_stays_the_same_to_the_bit(tmp_path, monkeypatch, changes):
    path = a_training(tmp_path, 0.0, imgaug="dlc", **changes)
    first = weights(trained(path, tmp_path / "measured"))
    monkeypatch.setattr(PoseModule, "_measure_balance", lambda *_: None)
    second = weights(trained(path, tmp_path / "not"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def due_epochs(num_epochs: int, begins: int, final_epoch: int | None) -> list[int]:
    balance = BalanceOfTraining()
    due = []
    for epoch in range(num_epochs):
        if balance.is_due(epoch, float(epoch >= begins), final_epoch):
            due.append(epoch)
            balance.measured[epoch] = None  # type: ignore[assignment]
    return due


@pytest.mark.parametrize(
    ("num_epochs", "begins", "final_epoch", "due"),
    [
        (30, 0, 29, [1, 11, 21, 29]),
        (30, 8, 29, [8, 18, 28, 29]),
        (30, 8, None, [8, 18, 28]),
        (1, 0, 0, [0]),
        (30, 50, 29, []),
    ],
)
def test_when_it_is_measured(num_epochs, begins, final_epoch, due):
    assert due_epochs(num_epochs, begins, final_epoch) == due
