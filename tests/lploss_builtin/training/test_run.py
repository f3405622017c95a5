from __future__ import annotations

import csv
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.testing import assert_close

from lploss import MissingInputError, load_config
from lploss.errors import ConfigError
from lploss.registry import default_registry
from lploss_builtin.data.project.split import split
from lploss_builtin.training.run import TrainingRun, train
from tests.conftest import Site
from tests.lploss_builtin.training.small_trainings import write_training


def trained(path: Path, out: Path, *overrides: str, **options: Any) -> TrainingRun:
    return train(load_config(path, overrides), out, folder=path.parent, **options)


def weights(run: TrainingRun, which: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run.checkpoint(which), weights_only=True)["state_dict"]


def metrics(run: TrainingRun) -> list[dict[str, str]]:
    with (run.folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def column(run: TrainingRun, name: str) -> list[float]:
    return [float(row[name]) for row in metrics(run) if row[name]]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TrainingRun:
    folder = tmp_path_factory.mktemp("training")
    path = write_training(
        folder,
        losses={"supervised_reprojection_heatmap_mse": {"log_weight": 3.0}},
        training={
            "patch_mask": {"init_epoch": 1, "final_epoch": 2, "init_ratio": 0.2},
            "max_epochs": 4,
        },
        callbacks={
            "anneal_weight": {"freeze_until_epoch": 1, "increase_factor": 0.5},
        },
    )
    return trained(path, folder / "run")


def test_its_folder_says_all_that_happened(run):
    files = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    logs = {name for name in files if name.startswith("tensorboard/events")}
    assert len(logs) == 1
    assert {name for name in files - logs if "hparams" not in name} == {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "config.yaml",
        "environment.json",
        "losses.txt",
        "metrics.csv",
        "schedules.png",
    }
    (versions,) = json.loads((run.folder / "environment.json").read_text())
    assert versions["packages"]["torch"] == torch.__version__
    assert "lploss" in versions["plugins"]
    report = (run.folder / "losses.txt").read_text()
    assert "heatmap_mse" in report
    assert "supervised_reprojection_heatmap_mse" in report


def test_the_config_in_it_holds_every_default(run):
    config = run.config
    assert config.training.optimizer == "Adam"
    assert config.data.view_names == ["left", "right"]
    assert config.data.num_keypoints == 2
    assert Path(config.data.data_dir).is_absolute()


def test_it_learns(run):
    losses = column(run, "train_loss_epoch")
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_the_schedules_are_followed(run):
    # 12 frames to train with make 3 steps an epoch.
    assert column(run, "patch_mask_ratio") == pytest.approx([0.0] * 3 + [0.2] * 3 + [0.5] * 6)
    assert column(run, "anneal_weight") == pytest.approx([0.0] * 6 + [0.5] * 3 + [1.0] * 3)
    assert column(run, "learning_rate_backbone") == pytest.approx(
        [0.0] * 3 + [0.001] * 3 + [0.0015] * 3 + [0.00225] * 3
    )
    weighted = column(run, "train_supervised_reprojection_heatmap_mse_loss_weighted_step")
    assert weighted[:6] == [0.0] * 6


def test_a_checkpoint_is_only_data_and_makes_the_model_again(run):
    checkpoint = torch.load(run.checkpoint(), weights_only=True)
    assert checkpoint["config"]["model"]["model_type"] == "heatmap_multiview_transformer"
    model = run.model("last")
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights(run)[f"model.{name}"])


def test_views_are_held_together_without_saying_which_keypoints_match(tmp_path):
    model = {"losses_to_use": ["pca_multiview"]}
    losses = {"pca_multiview": {"components_to_keep": 3, "epsilon": 0.0}}
    path = write_training(tmp_path, model=model, losses=losses, training={"max_epochs": 1})
    run = trained(path, tmp_path / "run")
    assert all(value > 0.0 for value in column(run, "train_pca_multiview_loss_step"))


def test_a_frozen_backbone_stays_as_it_is(tmp_path):
    path = write_training(tmp_path, training={"unfreezing_epoch": 2, "max_epochs": 2})
    frozen = weights(trained(path, tmp_path / "frozen"))
    learned = weights(trained(path, tmp_path / "learned", "training.unfreezing_epoch=1"))
    at_first = weights(trained(path, tmp_path / "one", "training.max_epochs=1"))
    of_backbone = [name for name in frozen if name.startswith("model.backbone.vit.blocks")]
    assert of_backbone
    assert all(torch.equal(frozen[name], at_first[name]) for name in of_backbone)
    assert not any(torch.equal(learned[n], frozen[n]) for n in of_backbone if "qkv.weight" in n)


def test_the_same_config_gives_the_same_weights(tmp_path):
    path = write_training(tmp_path, training={"imgaug": "dlc"})
    first, second = (weights(trained(path, tmp_path / name)) for name in ("a", "b"))
    other = weights(trained(path, tmp_path / "c", "training.rng_seed_model_pt=1"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("every", [1, 2])
def test_checkpoints_of_single_epochs_are_kept(tmp_path, every):
    path = write_training(tmp_path, training={"ckpt_every_n_epochs": every, "max_epochs": 4})
    run = trained(path, tmp_path / "run")
    assert {file.name for file in (run.folder / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        *(f"epoch={epoch}.ckpt" for epoch in range(every - 1, 4, every)),
    }


@pytest.mark.parametrize(
    ("model_type", "imgaug"),
    [
        ("heatmap_multiview_transformer", "dlc"),
        ("heatmap_multiview_transformer", "none"),
        ("heatmap_mhcrnn", "none"),
    ],
)
def test_neither_memory_nor_the_number_of_workers_changes_anything(
    tmp_path, model_type, imgaug, monkeypatch
):
    path = write_training(
        tmp_path, model={"model_type": model_type}, training={"imgaug": imgaug, "max_epochs": 1}
    )
    in_memory = weights(trained(path, tmp_path / "in_memory"))
    monkeypatch.setattr(
        "lploss_builtin.data.project.labelled_frames.LabelledFrames.load", lambda *_: False
    )
    for num_workers in (0, 2):
        out = tmp_path / f"workers_{num_workers}"
        read = weights(trained(path, out, f"training.num_workers={num_workers}"))
        assert all(torch.equal(in_memory[name], read[name]) for name in in_memory)


def command(*args: str, **options: Any) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "lploss.cli", "train", *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        program,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_killed_in_mid_epoch_it_goes_on_bit_for_bit(tmp_path):
    path = write_training(
        tmp_path,
        frames=16,
        training={"imgaug": "dlc", "max_epochs": 12, "train_batch_size": 1},
        losses={"supervised_reprojection_heatmap_mse": {}},
    )
    overrides = ["training.imgaug=none"]
    whole = tmp_path / "whole"
    finish(command(str(path), *overrides, "--out", str(whole)))
    killed = tmp_path / "killed"
    process = command(str(path), *overrides, "--out", str(killed))
    checkpoint = killed / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)  # in the middle of a later epoch
    process.send_signal(signal.SIGKILL)
    process.communicate()
    epochs = torch.load(checkpoint, weights_only=True)["epoch"]
    assert epochs < 11
    printed = finish(command("--resume", str(killed)))
    assert printed.startswith(f"trained: {killed}\n")
    first, second = weights(TrainingRun(whole)), weights(TrainingRun(killed))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_process_without_labels_to_validate_with_keeps_nobody_waiting(tmp_path):
    shares = {"train_prob": 0.875, "val_prob": 0.125, "val_batch_size": 1, "max_epochs": 1}
    path = write_training(tmp_path, training=shares)
    for file in tmp_path.glob("CollectedData_*.csv"):
        lines = file.read_text().splitlines()
        row = 3 + split(16, 0.875, 0.125, seed=0).val[1]
        lines[row] = lines[row].partition(",")[0] + "," * lines[row].count(",")
        file.write_text("\n".join(lines) + "\n")
    finish(command(str(path), "training.devices=2", "--out", str(tmp_path / "shared")))
    (shared,) = column(TrainingRun(tmp_path / "shared"), "val_pixel_error")
    assert shared > 0.0


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    # Adam would blow up the rounding of gradients that are zero.
    slope = {"optimizer": "SGD", "optimizer_params": {"learning_rate": 1.0}}
    path = write_training(
        tmp_path, training={"max_epochs": 3, "train_frames": 8, **slope}, losses={"rmse": {}}
    )
    # Each process leaves out another number of keypoints.
    for view in ("left", "right"):
        file = tmp_path / f"CollectedData_{view}.csv"
        file.write_text(re.sub(r"(mo_\w+/img0[0-4].png),.*?,.*?,.*?,", r"\1,,,,", file.read_text()))
    alone, both = tmp_path / "alone", tmp_path / "both"
    finish(command(str(path), "training.train_batch_size=4", "--out", str(alone)))
    sharing = ["training.train_batch_size=2", "training.devices=2"]
    finish(command(str(path), *sharing, "--out", str(both)))
    first, second = weights(TrainingRun(alone)), weights(TrainingRun(both))
    at_first = weights(trained(path, tmp_path / "none", "training.max_epochs=1"))
    assert any((first[n] - at_first[n]).abs().max() > 1e-2 for n in first)
    assert_close(second, first, atol=1e-5, rtol=1e-4)


def test_a_training_that_was_resumed_has_its_whole_history(tmp_path):
    path = write_training(tmp_path, training={"max_epochs": 2})
    run = trained(path, tmp_path / "run")
    before = metrics(run)
    config = load_config(run.folder / "config.yaml", ["training.max_epochs=4"])
    train(config, run.folder, resume=True)
    assert len(metrics(run)) == 2 * len(before)
    assert [row["step"] for row in metrics(run)][: len(before)] == [row["step"] for row in before]
    assert len(column(run, "train_loss_epoch")) == 4
    whole = trained(path, tmp_path / "whole", "training.max_epochs=4")
    assert column(run, "train_loss_step") == column(whole, "train_loss_step")
    assert len(json.loads((run.folder / "environment.json").read_text())) == 2
    assert (run.folder / "losses.txt").read_text().count("supervised losses") == 2
    with pytest.raises(ConfigError) as caught:
        train(config, run.folder, resume=True)
    assert str(caught.value) == (
        f"the training in {run.folder} is complete: it has 4 epochs. To train on, give "
        "training.max_epochs=N with more than 4. To evaluate it, or to finish an evaluation that "
        f"was interrupted: lploss evaluate {run.folder}"
    )
    assert len(metrics(run)) == 2 * len(before)


def test_processes_that_read_ahead_resume_in_the_same_order(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lploss_builtin.data.project.labelled_frames.LabelledFrames.load", lambda *_: False
    )
    path = write_training(tmp_path, training={"max_epochs": 4, "num_workers": 1})
    whole = trained(path, tmp_path / "whole")
    run = trained(path, tmp_path / "run", "training.max_epochs=2")
    config = load_config(run.folder / "config.yaml", ["training.max_epochs=4"])
    train(config, run.folder, resume=True)
    first, second = weights(whole), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_is_validated_has_the_same_weights_in_all_epochs(tmp_path):
    path = write_training(
        tmp_path,
        losses={"supervised_reprojection_heatmap_mse": {"log_weight": -3.0}},
        training={"optimizer_params": {"learning_rate": 0.0}},
        callbacks={"anneal_weight": {"freeze_until_epoch": 0, "increase_factor": 0.4}},
    )
    run = trained(path, tmp_path / "run")
    values = column(run, "val_loss")
    assert len(values) == 3
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_a_start_that_failed_does_not_take_its_folder(tmp_path):
    path = write_training(tmp_path, losses={"supervised_reprojection_heatmap_mse": {}})
    calibrations = list((tmp_path / "calibrations").iterdir())
    texts = [file.read_text() for file in calibrations]
    for file in calibrations:
        file.unlink()
    out = tmp_path / "run"
    with pytest.raises(MissingInputError):
        trained(path, out)
    assert not out.exists()
    for file, text in zip(calibrations, texts, strict=True):
        file.write_text(text)
    assert not TrainingRun(out).has_started
    assert trained(path, out).has_started


BONE = """
    from lploss import Loss

    class Distance(Loss):
        loss_name, kind = "{name}", "{kind}"

        def compute_loss(self, {inputs}):
            return keypoints_pred.square()
"""


@pytest.mark.parametrize(("kind", "to_use"), [("supervised", []), ("unsupervised", ["acme_size"])])
def test_a_loss_of_somebody_else_is_trained_with_by_its_name(
    tmp_path, known_site: Site, kind, to_use
):
    inputs = "keypoints_pred, keypoints_targ" if kind == "supervised" else "keypoints_pred"
    target = BONE.format(name="acme_size", kind=kind, inputs=inputs)
    known_site.install_loss("acme", "acme_size", target=target)
    default_registry.refresh()
    path = write_training(
        tmp_path,
        losses={"acme_size": {"log_weight": 9.0}},
        model={"losses_to_use": to_use},
        training={"max_epochs": 1},
    )
    run = trained(path, tmp_path / "run")
    assert "acme_size" in (run.folder / "losses.txt").read_text()
    assert column(run, "train_acme_size_loss_step")
    (versions,) = json.loads((run.folder / "environment.json").read_text())
    assert versions["plugins"]["acme"] == "1.0"


def test_views_by_themselves_are_learned_too(tmp_path):
    path = write_training(tmp_path, model={"model_type": "heatmap"})
    losses = column(trained(path, tmp_path / "run"), "train_loss_epoch")
    assert len(losses) == 3
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("settings", "num_steps"),
    [
        # 12 frames to train with make 3 batches in each of 3 epochs.
        ({"max_steps": 4}, 4),
        ({"max_steps": 11, "max_epochs": None}, 11),
        ({"accumulate_grad_batches": 2}, 6),
        ({"train_frames": 4}, 3),
        ({"limit_train_batches": 2}, 6),
    ],
    ids=str,
)
def test_the_number_of_steps(tmp_path, settings, num_steps):
    run = trained(write_training(tmp_path, training=settings), tmp_path / "run")
    assert torch.load(run.checkpoint("last"), weights_only=True)["global_step"] == num_steps


@pytest.mark.parametrize(
    ("settings", "num_validations", "num_epochs"),
    [
        ({}, 8, 8),
        ({"early_stopping": True}, 4, 4),
        ({"early_stopping": True, "early_stop_patience": 1, "min_steps": 5}, 5, 5),
        ({"early_stopping": True, "early_stop_patience": 2, "min_epochs": 6}, 6, 6),
        (
            {"early_stopping": True, "early_stop_patience": 2, "check_val_every_n_epoch": 2},
            3,
            6,
        ),
    ],
    ids=str,
)
def test_it_stops_early_where_validation_gets_no_better(
    tmp_path, settings, num_validations, num_epochs
):
    """Where nothing is learned, the first validation is the best one."""
    still = {"max_epochs": 8, "train_frames": 4, "optimizer_params": {"learning_rate": 0.0}}
    run = trained(write_training(tmp_path, training={**still, **settings}), tmp_path / "run")
    assert len(column(run, "val_loss")) == num_validations
    assert len(column(run, "train_loss_epoch")) == num_epochs


def test_it_goes_on_while_validation_gets_better(tmp_path):
    settings = {"early_stopping": True, "early_stop_patience": 1}
    run = trained(write_training(tmp_path, training=settings), tmp_path / "run")
    values = column(run, "val_loss")
    assert len(values) == 3
    assert values == sorted(values, reverse=True)


@pytest.fixture(scope="module")
def one_step(tmp_path_factory) -> Callable[..., torch.Tensor]:
    """Return all parameters after one step down the slope of the loss."""
    folder = tmp_path_factory.mktemp("steps")
    settings = {"optimizer": "SGD", "unfreezing_epoch": 0, "max_steps": 1, "train_frames": 8}
    path = write_training(folder, training=settings)

    @cache
    def step(rate: float, *overrides: str) -> torch.Tensor:
        out = folder / "-".join([str(rate), *overrides])
        run = trained(path, out, f"training.optimizer_params.learning_rate={rate}", *overrides)
        return torch.cat([value.detach().flatten() for value in run.model("last").parameters()])

    return step


def test_gradients_are_clipped(one_step):
    clip = 1e-4
    free = one_step(100.0) - one_step(0.0)
    clipped = one_step(100.0, f"training.gradient_clip_val={clip}") - one_step(0.0)
    assert free.norm() > 500 * clip
    assert clipped.norm().item() == pytest.approx(100 * clip, rel=0.01)
    # Made shorter, not turned.
    assert torch.cosine_similarity(free, clipped, dim=0).item() == pytest.approx(1.0, abs=1e-3)


def test_gradients_of_small_batches_add_up_to_that_of_a_large_one(one_step):
    large = one_step(100.0, "training.train_batch_size=8")
    small = one_step(100.0, "training.accumulate_grad_batches=2")
    assert_close(small, large, atol=1e-5, rtol=1e-4)
    assert (one_step(100.0) - large).norm() > 100 * (small - large).norm()


def test_adamw_lets_weights_decay(one_step):
    """By the rate times a hundredth of themselves, which Adam does not."""
    adam, adamw = (one_step(0.1, f"training.optimizer={name}") for name in ("Adam", "AdamW"))
    assert_close(adam - adamw, 0.1 * 0.01 * one_step(0.0), atol=1e-6, rtol=1e-3)


def test_checkpointing_and_half_precision_change_little(tmp_path):
    path = write_training(tmp_path, training={"max_epochs": 1})
    plain = column(trained(path, tmp_path / "plain"), "train_loss_step")
    saving = trained(path, tmp_path / "saving", "model.gradient_checkpointing=true")
    half = trained(path, tmp_path / "half", "training.precision=bf16-mixed")
    assert column(saving, "train_loss_step") == pytest.approx(plain, rel=1e-4)
    assert column(half, "train_loss_step") == pytest.approx(plain, rel=0.02)


@pytest.mark.compiles
@pytest.mark.slow
def test_compiled_it_trains_the_same(tmp_path):
    path = write_training(tmp_path, training={"max_epochs": 1})
    plain = column(trained(path, tmp_path / "plain"), "train_loss_step")
    compiled = trained(path, tmp_path / "compiled", "model.compile=true")
    assert column(compiled, "train_loss_step") == pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(("interval", "num"), [(4, 2), (0.7, 3)])
def test_it_validates_after_so_many_batches(tmp_path, interval, num):
    training = {"val_check_interval": interval, "check_val_every_n_epoch": None}
    path = write_training(tmp_path, training=training)
    # Of three epochs of three batches; 0.7 of three is rounded down to two.
    assert len(column(trained(path, tmp_path / "run"), "val_loss")) == num


def test_in_3d_only_what_leaves_pixels_in_place_is_left_of_a_preset(tmp_path):
    path = write_training(tmp_path, training={"imgaug": "dlc", "max_epochs": 1})
    assert trained(path, tmp_path / "apart").config.training.imgaug == "dlc"
    together = trained(path, tmp_path / "together", "training.imgaug_3d=true")
    assert together.config.training.imgaug == "dlc-mv"


def test_weights_are_looked_for_beside_the_config(run, tmp_path):
    path = write_training(tmp_path, training={"max_epochs": 1}, model={"checkpoint": "start.ckpt"})
    shutil.copy(run.checkpoint(), tmp_path / "start.ckpt")
    other = trained(path, tmp_path / "run")
    assert other.config.model.checkpoint == str(tmp_path / "start.ckpt")


def test_a_training_can_start_from_the_weights_of_another(run, tmp_path):
    path = write_training(
        tmp_path, training={"max_epochs": 1, "optimizer_params": {"learning_rate": 0.0}}
    )
    other = trained(path, tmp_path / "other", f"model.checkpoint={run.checkpoint()}")
    for name, value in weights(other).items():
        if name.startswith("model."):
            assert torch.equal(value, weights(run, "best")[name])
    with pytest.raises(ConfigError, match=r"the checkpoint .* is of another model: "):
        trained(
            path,
            tmp_path / "third",
            f"model.checkpoint={run.checkpoint()}",
            "model.backbone_params.depth=1",
        )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_batch_size", 0, "training.train_batch_size must be at least 1, got 0"),
        ("num_workers", -1, "training.num_workers must be at least 0, got -1"),
        ("gradient_clip_val", -1.0, "training.gradient_clip_val must be at least 0, got -1.0"),
        (
            "precision",
            "bf16-true",
            "training.precision must be one of 32-true, 64-true, 16-mixed, bf16-mixed, got "
            "'bf16-true': labels and cameras need float32 at least",
        ),
        ("max_epochs", 0, "training.max_epochs must be at least 1, or -1 for no end, got 0"),
        ("early_stop_patience", -1, "training.early_stop_patience must be at least 0, got -1"),
        (
            "check_val_every_n_epoch",
            0,
            "training.check_val_every_n_epoch must be at least 1, got 0",
        ),
        (
            "val_check_interval",
            1.5,
            "training.val_check_interval must be a number of batches, or a share of an epoch above "
            "0 and up to 1, got 1.5",
        ),
        (
            "val_check_interval",
            50,
            "training.val_check_interval: 50 batches are more than the 3 of an epoch. To count on "
            "from one epoch to the next, leave out training.check_val_every_n_epoch.",
        ),
        ("accelerator", "tpux", "section training cannot be followed: "),
        (
            "imgaug_hflip",
            True,
            "training.imgaug_hflip: true mirrors each view by itself, so that a keypoint of the "
            "left would be one of the right in others of the 2 views. Set it to false.",
        ),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_key(tmp_path, key, value, message):
    with pytest.raises(ConfigError) as caught:
        trained(write_training(tmp_path, training={key: value}), tmp_path / "run")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"model": {"model_type": "heatmap_multiview"}},
            ConfigError,
            "there is no model.model_type 'heatmap_multiview'. Did you mean "
            "'heatmap_multiview_transformer'? Known: heatmap, heatmap_mhcrnn, "
            "heatmap_multiview_transformer, regression.",
        ),
        (
            {"model": {"backbone": "resnet50"}},
            ConfigError,
            "model 'heatmap_multiview_transformer': the backbone 'resnet50' has no patches that "
            "attend to those of other views. ",
        ),
        (
            {"training": {"optimizer": "Adan"}},
            ConfigError,
            "there is no training.optimizer 'Adan'. Did you mean 'Adam' or 'AdamW'? Known: Adam, "
            "AdamW, SGD.",
        ),
        (
            {"model": {"losses_to_use": ["temporal"]}},
            ConfigError,
            "model.losses_to_use names 'temporal', which compares consecutive frames of a video: "
            "labelled frames are none. Name a folder of videos in data.video_dir, or take the loss "
            "out.",
        ),
        (
            {
                "training": {"imgaug": "dlc"},
                "losses": {"supervised_reprojection_heatmap_mse": {}},
            },
            ConfigError,
            "the loss 'supervised_reprojection_heatmap_mse' needs images that agree with their "
            "cameras, and training.imgaug = 'dlc' turns or moves those of each view by themselves. "
            "Set training.imgaug_3d: true, which moves all views of a frame together, or "
            "training.imgaug: none.",
        ),
        ({"training": {"train_prob": 1.5}}, ConfigError, "training.train_prob must be a share"),
        (
            {"model": {"head": "linear"}},
            ConfigError,
            "model.head must be heatmap_cnn or left out, got 'linear'",
        ),
        (
            {"model": {"do_context": True}},
            ConfigError,
            "model.do_context: true does not go with the model 'heatmap_multiview_transformer', "
            "which sees single frames. ",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, changes, error, message):
    with pytest.raises(error) as caught:
        trained(write_training(tmp_path, **changes), tmp_path / "run")
    assert str(caught.value).startswith(message)


def test_losses_that_need_cameras_need_cameras(tmp_path):
    path = write_training(tmp_path, losses={"supervised_reprojection_heatmap_mse": {}})
    for calibration in (tmp_path / "calibrations").iterdir():
        calibration.unlink()
    with pytest.raises(MissingInputError, match="intrinsics"):
        trained(path, tmp_path / "run")
    with pytest.raises(ConfigError, match="imgaug_3d: true needs calibrated cameras"):
        trained(path, tmp_path / "run", "training.imgaug_3d=true")


def test_a_folder_that_is_none_of_a_training(tmp_path):
    with pytest.raises(ConfigError) as caught:
        TrainingRun(tmp_path).model()
    assert str(caught.value) == (
        f"{tmp_path} is no folder of a training: there is no checkpoints/best.ckpt"
    )


def test_mirroring_says_once_what_it_swaps_and_takes_pairs_from_the_config(tmp_path, caplog):
    path = write_training(
        tmp_path,
        views=("side",),
        training={"imgaug_hflip": True, "max_epochs": 1},
        model={"model_type": "heatmap"},
    )
    pairs = "training.imgaug_hflip_pairs=[[nose,tail]]"
    with caplog.at_level(logging.WARNING, "lploss_builtin"):
        trained(path, tmp_path / "run", pairs)
    notes = [r.getMessage() for r in caplog.records if "hflip" in r.getMessage()]
    assert notes == ["training.imgaug_hflip swaps nose and tail"]
    with pytest.raises(ConfigError, match=r"imgaug_hflip_pairs: there is no keypoint 'ear'"):
        trained(path, tmp_path / "other", "training.imgaug_hflip_pairs=[[nose,ear]]")


def test_lightning_does_not_advertise_and_its_other_messages_stay(tmp_path, caplog, monkeypatch):
    def stop(*args: Any, **options: Any) -> None:
        raise RuntimeError("far enough")

    monkeypatch.setattr(lightning.Trainer, "fit", stop)
    path = write_training(tmp_path, views=("side",), model={"model_type": "heatmap"})
    with (
        caplog.at_level(logging.INFO, "lightning.pytorch"),
        pytest.raises(RuntimeError, match="far enough"),
    ):
        trained(path, tmp_path / "run")
    messages = [record.getMessage() for record in caplog.records]
    assert any("GPU available" in message for message in messages)
    assert not any("Tip" in message or "litlogger" in message for message in messages)
    # Nothing stays changed for other users of Lightning in the same process.
    assert logging.getLogger("lightning.pytorch.utilities.rank_zero").filters == []
