from __future__ import annotations

import csv
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lploss import load_config
from lploss.errors import ConfigError
from lploss_builtin.training import callbacks
from lploss_builtin.training.module import PoseModule
from lploss_builtin.training.run import TrainingRun, train
from tests.lploss_builtin.training.small_trainings import write_training

Tensors = dict[str, torch.Tensor]


def trained(path: Path, out: Path, *overrides: str) -> TrainingRun:
    return train(load_config(path, overrides), out, folder=path.parent)


def resumed(run: TrainingRun, *overrides: str) -> TrainingRun:
    return train(load_config(run.folder / "config.yaml", overrides), run.folder, resume=True)


def checkpoint(run: TrainingRun, which: str = "last") -> dict[str, Any]:
    return torch.load(run.checkpoint(which), weights_only=True)


def weights(run: TrainingRun, which: str = "last") -> Tensors:
    return checkpoint(run, which)["state_dict"]


def are_equal(first: Tensors, second: Tensors) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def column(run: TrainingRun, name: str) -> list[tuple[int, float]]:
    with (run.folder / "metrics.csv").open() as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row[name]]


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


# 12 frames to train with make 3 steps an epoch.
IN_STEPS = {"max_epochs": None, "max_steps": 9}

DROPOUT = {"backbone_params": {"depth": 2, "embed_dim": 32, "num_heads": 2, "proj_drop_rate": 0.5}}

#: What changes from step to step: masks, random images, the rate of the backbone.
RICH = {
    "imgaug": "dlc",
    "patch_mask": {"init_epoch": 1, "final_epoch": 2, "init_ratio": 0.2},
    "unfreezing_epoch": 1,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, TrainingRun]:
    folder = tmp_path_factory.mktemp("whole")
    path = write_training(folder, training={**IN_STEPS, **RICH}, model=DROPOUT)
    return path, trained(path, folder / "run")


@pytest.mark.parametrize("stops", [slow([1]), [3], slow([4]), [4, 5], slow([8])], ids=str)
def test_stopped_by_its_steps_a_training_goes_on_bit_for_bit(tmp_path, whole, stops):
    path, run = whole
    part = trained(path, tmp_path / "part", f"training.max_steps={stops[0]}")
    for steps in (*stops[1:], 9):
        resumed(part, f"training.max_steps={steps}")
    assert are_equal(weights(part), weights(run))
    for name in ("train_loss_step", "patch_mask_ratio", "learning_rate_backbone"):
        assert column(part, name) == column(run, name)
    assert [step for step, _ in column(part, "train_loss_step")] == list(range(9))
    assert column(part, "val_loss") == column(run, "val_loss")
    assert are_equal(weights(part, "best"), weights(run, "best"))


def test_stopped_by_its_steps_a_training_can_go_on_in_epochs(tmp_path, whole):
    path, run = whole
    part = trained(path, tmp_path / "part", "training.max_steps=7")
    with pytest.raises(ConfigError, match="it has 2 epochs"):
        resumed(part, "training.max_steps=null", "training.max_epochs=2")
    resumed(part, "training.max_steps=null", "training.max_epochs=3")
    assert are_equal(weights(part), weights(run))
    for name in ("train_loss_step", "val_loss"):
        assert column(part, name) == column(run, name)
    longer = resumed(part, "training.max_epochs=-1", "training.max_steps=11")
    assert [step for step, _ in column(longer, "train_loss_step")] == list(range(11))
    assert checkpoint(longer)["epoch"] == 3


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"check_val_every_n_epoch": 2}, 3),
        ({"check_val_every_n_epoch": None, "val_check_interval": 2}, 4),
        slow({"check_val_every_n_epoch": None, "val_check_interval": 2}, 5),
        slow({"val_check_interval": 0.34}, 4),
        ({"accumulate_grad_batches": 2}, 3),
        slow({"limit_train_batches": 2}, 3),
        slow({"num_workers": 1}, 4),
    ],
    ids=str,
)
def test_it_goes_on_whatever_an_epoch_is(tmp_path, monkeypatch, settings, steps):
    if "num_workers" in settings:
        monkeypatch.setattr(
            "lploss_builtin.data.project.labelled_frames.LabelledFrames.load", lambda *_: False
        )
    path = write_training(tmp_path, training={**IN_STEPS, **settings}, model=DROPOUT)
    run = trained(path, tmp_path / "run")
    part = trained(path, tmp_path / "part", f"training.max_steps={steps}")
    resumed(part, "training.max_steps=9")
    assert are_equal(weights(part), weights(run))
    assert column(part, "train_loss_step") == column(run, "train_loss_step")
    assert column(part, "val_loss") == column(run, "val_loss")


class Ended(Exception):
    """What handles the signals of these tests raises it."""


@pytest.fixture
def handled() -> Iterator[Callable[[int, Any], None]]:
    """Handle signals, as a command does, by an error."""

    def end(number: int, frame: Any) -> None:
        raise Ended(signal.Signals(number).name)

    names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in names}
    yield end
    for number, handler in before.items():
        signal.signal(number, handler)


def signal_at(monkeypatch: pytest.MonkeyPatch, method: str, step: int, number: int) -> None:
    """Let a signal come while the module does something at a step."""
    original, sent = getattr(PoseModule, method), []

    def with_signal(self: PoseModule, *args: Any) -> Any:
        if self.global_step == step and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return original(self, *args)

    monkeypatch.setattr(PoseModule, method, with_signal)


@pytest.mark.parametrize(
    ("number", "method", "step", "ends_at"),
    [
        (signal.SIGTERM, "training_step", 4, 5),
        slow(signal.SIGINT, "training_step", 0, 1),
        (signal.SIGHUP, "validation_step", 6, 6),
    ],
)
def test_ended_by_a_signal_a_training_goes_on_bit_for_bit(
    tmp_path, monkeypatch, caplog, capfd, whole, handled, number, method, step, ends_at
):
    path, run = whole
    name, part = signal.Signals(number).name, TrainingRun(tmp_path / "part")
    with monkeypatch.context() as patch, caplog.at_level("WARNING", "lploss_builtin.training.run"):
        signal_at(patch, method, step, number)
        with pytest.raises(Ended, match=f"^{name}$"):
            trained(path, part.folder)
    assert f"{name}: the training ends after this step\n" in capfd.readouterr().err
    assert caplog.messages[-1] == (
        f"the training was ended by {name} after {ends_at} steps, which are all in "
        f"{part.folder}/checkpoints/last.ckpt. To resume it: lploss train --resume {part.folder}"
    )
    assert signal.getsignal(number) is handled
    assert checkpoint(part)["global_step"] == ends_at
    assert f"step {ends_at}\n" in (part.folder / "losses.txt").read_text()
    resumed(part)
    assert are_equal(weights(part), weights(run))
    assert are_equal(weights(part, "best"), weights(run, "best"))
    assert column(part, "train_loss_step") == column(run, "train_loss_step")
    assert column(part, "val_loss") == column(run, "val_loss")


def test_a_signal_in_the_first_epoch_needs_no_validation_to_stop_early(
    tmp_path, monkeypatch, handled
):
    path = write_training(tmp_path, training={"early_stopping": True})
    signal_at(monkeypatch, "training_step", 0, signal.SIGTERM)
    with pytest.raises(Ended):
        trained(path, tmp_path / "run")
    assert checkpoint(TrainingRun(tmp_path / "run"))["global_step"] == 1


def test_a_signal_waits_for_the_step_that_gradients_are_accumulated_for(
    tmp_path, monkeypatch, handled
):
    path = write_training(tmp_path, training={"accumulate_grad_batches": 2, "train_batch_size": 2})
    signal_at(monkeypatch, "training_step", 1, signal.SIGTERM)
    with pytest.raises(Ended):
        trained(path, tmp_path / "run")
    kept = checkpoint(TrainingRun(tmp_path / "run"))
    batches = kept["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    assert (kept["global_step"], batches) == (2, 4)


def test_a_signal_that_comes_again_ends_it_at_once(tmp_path, monkeypatch, handled):
    path = write_training(tmp_path)
    step = PoseModule.training_step

    def interrupted(self: PoseModule, *args: Any) -> Any:
        for seconds in (0.0, 0.1, callbacks._SAME_SIGNAL_S):
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *args)

    monkeypatch.setattr(PoseModule, "training_step", interrupted)
    with pytest.raises(Ended):
        trained(path, tmp_path / "run")
    assert not TrainingRun(tmp_path / "run").has_started


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        (
            "model.backbone_params.embed_dim=64",
            ConfigError,
            "the training cannot be resumed with this config: its model is not that of",
        ),
        ("training.optimizer=SGD", ConfigError, "training.optimizer is 'SGD', and the state of"),
        # Whatever else may go wrong before the first step.
        ("training.num_workers=0", RuntimeError, "the device is lost"),
    ],
)
def test_a_resume_that_fails_changes_nothing(
    tmp_path, monkeypatch, whole, override, error, message
):
    run = TrainingRun(Path(shutil.copytree(whole[1].folder, tmp_path / "run")))
    before = contents(run.folder)
    if error is RuntimeError:

        def fail(self: PoseModule) -> None:
            raise RuntimeError(message)

        monkeypatch.setattr(PoseModule, "configure_optimizers", fail)
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        resumed(run, override, "training.max_steps=12", "training.train_batch_size=3")
    assert contents(run.folder) == before
    assert run.config.training.train_batch_size == 4
    run.model()


def test_arguments_of_losses_that_a_resume_changes_are_used(tmp_path, whole, caplog):
    run = TrainingRun(Path(shutil.copytree(whole[1].folder, tmp_path / "run")))
    with caplog.at_level("WARNING", "lploss_builtin.training.run"):
        resumed(
            run, "training.max_steps=12", "losses.heatmap_mse.log_weight=-2.0", "losses.rmse={}"
        )
    message = caplog.messages[0]
    assert message == (
        "the losses are not those of the training so far (heatmap_mse has other arguments, rmse is "
        "new): losses in validation cannot be compared with earlier ones, and best.ckpt will be "
        "the best from here on"
    )
    state = weights(run)
    assert state["losses.supervised.losses.heatmap_mse.log_weight"] == -2.0
    used = column(run, "heatmap_mse_weight_step")
    assert [value for _, value in used] == pytest.approx([0.5] * 9 + [0.5 * math.exp(2.0)] * 3)
    assert [step for step, _ in column(run, "train_rmse_loss_step")] == [9, 10, 11]
    # With these weights each loss is higher than all before.
    values = [value for _, value in column(run, "val_loss")]
    assert values[3] > max(values[:3])
    assert checkpoint(run, "best")["global_step"] == 12
    resumed(run, "training.max_steps=15", "losses.rmse.log_weight=null")
    assert "losses.supervised.losses.rmse.epsilon" not in weights(run)


def test_the_patience_is_that_of_the_config(tmp_path):
    still = {"train_frames": 4, "optimizer_params": {"learning_rate": 0.0}}
    stops = {"early_stopping": True, "early_stop_patience": 2, "max_epochs": 9}
    run = trained(write_training(tmp_path, training={**still, **stops}), tmp_path / "run")
    assert len(column(run, "val_loss")) == 3
    resumed(run, "training.early_stop_patience=4")
    assert len(column(run, "val_loss")) == 5


def test_a_training_that_has_all_its_steps_is_complete(tmp_path, whole):
    path, _ = whole
    run = trained(path, tmp_path / "run", "training.max_steps=4")
    before = (run.folder / "metrics.csv").read_text()
    with pytest.raises(ConfigError) as caught:
        resumed(run)
    assert str(caught.value) == (
        f"the training in {run.folder} is complete: it has 4 steps. To train on, give "
        "training.max_steps=N with more than 4. To evaluate it, or to finish an evaluation that "
        f"was interrupted: lploss evaluate {run.folder}"
    )
    assert (run.folder / "metrics.csv").read_text() == before


@pytest.mark.parametrize("is_moved", [False, True])
def test_the_best_weights_stay_where_the_rest_gets_worse(tmp_path, is_moved):
    path = write_training(tmp_path, training={"max_epochs": 3})
    run = trained(path, tmp_path / "run")
    best = weights(run, "best")
    if is_moved:
        shutil.move(run.folder, tmp_path / "moved")
        run = TrainingRun(tmp_path / "moved")
    resumed(run, "training.max_epochs=5", "training.optimizer_params.learning_rate=0.5")
    losses = [loss for _, loss in column(run, "val_loss")]
    assert min(losses[3:]) > min(losses[:3])
    assert are_equal(weights(run, "best"), best)
    state = checkpoint(run)["callbacks"]
    (kept,) = (each for each in state.values() if each.get("monitor") == "val_loss")
    assert kept["best_model_path"] == str(run.folder / "checkpoints" / "best.ckpt")
    assert float(kept["best_model_score"]) == pytest.approx(min(losses))


def test_better_weights_take_their_place_in_a_folder_that_was_moved(tmp_path):
    path = write_training(tmp_path, training={"max_epochs": 1})
    run = trained(path, tmp_path / "run")
    shutil.move(run.folder, tmp_path / "moved")
    run = resumed(TrainingRun(tmp_path / "moved"), "training.max_epochs=3")
    losses = [loss for _, loss in column(run, "val_loss")]
    assert min(losses[1:]) < losses[0]
    assert checkpoint(run, "best")["epoch"] == losses.index(min(losses))
    assert {file.name for file in (run.folder / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }


def test_a_training_of_a_gpu_goes_on_without_one(tmp_path, whole):
    path, run = whole
    part = trained(path, tmp_path / "part", "training.max_steps=4")
    kept = checkpoint(part)
    kept["random_states"]["cuda"] = torch.zeros(16, dtype=torch.uint8)
    torch.save(kept, part.checkpoint("last"))
    resumed(part, "training.max_steps=9")
    assert are_equal(weights(part), weights(run))


@pytest.mark.gpu
@pytest.mark.parametrize("steps", [3, 4])
def test_the_random_numbers_of_a_gpu_go_on(tmp_path, steps):
    path = write_training(
        tmp_path, training={**IN_STEPS, "accelerator": "gpu", "devices": 1}, model=DROPOUT
    )
    run = trained(path, tmp_path / "run")
    part = trained(path, tmp_path / "part", f"training.max_steps={steps}")
    resumed(part, "training.max_steps=9")
    states = [checkpoint(each)["random_states"]["cuda"] for each in (run, part)]
    assert torch.equal(*states)
    # Sums on a GPU may come in any order; another dropout would change far more.
    found, expected = ([loss for _, loss in column(r, "train_loss_step")] for r in (part, run))
    assert found == pytest.approx(expected, rel=1e-3)
