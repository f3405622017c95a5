from __future__ import annotations

import os

import pytest
import torch
from omegaconf import OmegaConf

from lploss import load_config
from lploss.errors import ConfigError
from lploss_builtin.training.defaults import with_defaults


def filled(**sections):
    """Return section ``training``, as plain Python."""
    config = with_defaults(load_config(sections))
    return OmegaConf.to_container(config.training)


@pytest.fixture(autouse=True)
def _without_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_config_that_says_nothing():
    """The numbers of Lightning Pose."""
    config = OmegaConf.to_container(with_defaults(load_config()))
    said = {
        section: {name: value for name, value in config[section].items() if value is not None}
        for section in ("data", "training", "model", "dali")
    }
    multistep = said["training"].pop("lr_scheduler_params")["multisteplr"]
    assert multistep == {"milestones": [150, 200, 250], "milestone_steps": None, "gamma": 0.5}
    assert said == {
        "data": {
            "image_resize_dims": {"height": 256, "width": 256},
            "downsample_factor": 2,
        },
        "training": {
            "imgaug": "dlc",
            "imgaug_3d": False,
            "imgaug_hflip": False,
            "train_batch_size": 16,
            "val_batch_size": 32,
            "test_batch_size": 32,
            "train_prob": 0.95,
            "val_prob": 0.05,
            "train_frames": 1.0,
            "num_workers": min(4, os.cpu_count()),
            "early_stopping": False,
            "early_stop_patience": 3,
            "unfreezing_epoch": 20,
            "min_epochs": 0,
            "max_epochs": 300,
            "log_every_n_steps": 10,
            "check_val_every_n_epoch": 5,
            "accumulate_grad_batches": 1,
            "rng_seed_data_pt": 0,
            "rng_seed_model_pt": 0,
            "optimizer": "Adam",
            "optimizer_params": {"learning_rate": 5e-5},
            "lr_scheduler": "multisteplr",
            "uniform_heatmaps_for_nan_keypoints": False,
            "uniform_heatmaps_for_occluded_keypoints": True,
            "accelerator": "auto",
            "devices": 1,
            "num_nodes": 1,
            "precision": "32-true",
            "max_unreadable_frames": 5,
        },
        "model": {
            "model_type": "heatmap",
            "backbone": "vits_dino",
            "backbone_pretrained": True,
            "gradient_checkpointing": False,
            "compile": False,
            "heatmap_loss_type": "mse",
            "losses_to_use": [],
        },
        "dali": {
            "general": {"seed": 123456, "decoder": "cpu"},
            "base": {"train": {"sequence_length": 16}, "predict": {"sequence_length": 96}},
            "context": {"train": {"batch_size": 16}, "predict": {"sequence_length": 96}},
        },
    }


def test_what_is_given_stays_and_the_config_itself_is_left_alone():
    sections = {
        "data": {"image_resize_dims": {"height": 64, "width": 96}},
        "training": {
            "imgaug": "none",
            "early_stopping": True,
            "optimizer_params": {"learning_rate": 0.1},
            "num_workers": 0,
            "min_epochs": 2,
        },
        "model": {"backbone_pretrained": False, "losses_to_use": ["temporal"]},
    }
    config = load_config(sections)
    before = OmegaConf.to_container(config)
    result = with_defaults(config)
    assert OmegaConf.to_container(config) == before
    for section, keys in sections.items():
        for name, value in keys.items():
            assert result[section][name] == value


def test_filled_twice_is_filled_once():
    config = with_defaults(load_config({"training": {"max_steps": 5, "unfreezing_step": 2}}))
    assert with_defaults(config) == config


def test_milestones_by_epochs_or_by_steps():
    given = {"lr_scheduler_params": {"multisteplr": {"gamma": 0.1}}}
    multistep = filled(training=given)["lr_scheduler_params"]["multisteplr"]
    assert multistep == {"milestones": [150, 200, 250], "milestone_steps": None, "gamma": 0.1}
    given = {"lr_scheduler_params": {"multisteplr": {"milestone_steps": [9]}}}
    multistep = filled(training=given)["lr_scheduler_params"]["multisteplr"]
    assert multistep == {"milestones": None, "milestone_steps": [9], "gamma": 0.5}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"unfreezing_step": 400}, {"unfreezing_step": 400, "unfreezing_epoch": None}),
        ({"unfreezing_epoch": 0}, {"unfreezing_step": None, "unfreezing_epoch": 0}),
        ({"max_steps": 50}, {"max_steps": 50, "max_epochs": -1}),
        ({"max_steps": 50, "max_epochs": 2}, {"max_steps": 50, "max_epochs": 2}),
        ({"train_prob": 0.8}, {"train_prob": 0.8, "val_prob": None}),
        ({"val_check_interval": 0.5}, {"check_val_every_n_epoch": 1}),
        ({"val_check_interval": 20}, {"check_val_every_n_epoch": None}),
        (
            {"val_check_interval": 0.5, "check_val_every_n_epoch": 3},
            {"check_val_every_n_epoch": 3},
        ),
    ],
    ids=str,
)
def test_what_hangs_on_other_keys(given, expected):
    section = filled(training=given)
    assert {name: section[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "has_gpu", "devices"),
    [
        ({}, True, 1),
        ({"num_gpus": 2}, True, 2),
        ({"num_gpus": 0}, False, 1),
        ({"gpu_id": 1}, True, [1]),
        ({"gpu_id": "1"}, True, [1]),
        ({"gpu_id": [0, 2], "num_gpus": 2}, True, [0, 2]),
        ({"gpu_id": 1, "accelerator": "gpu"}, True, [1]),
        ({"gpu_id": 1}, False, 1),
        ({"gpu_id": 1, "accelerator": "cpu"}, True, 1),
        ({"devices": "auto", "gpu_id": 1, "num_gpus": 3}, True, "auto"),
    ],
    ids=str,
)
def test_devices(monkeypatch, given, has_gpu, devices):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert filled(training=given)["devices"] == devices


def test_half_a_size():
    with pytest.raises(ConfigError) as raised:
        with_defaults(load_config({"data": {"image_resize_dims": {"height": 64}}}))
    assert str(raised.value) == (
        "data.image_resize_dims must hold both height and width, got 64 and None"
    )
