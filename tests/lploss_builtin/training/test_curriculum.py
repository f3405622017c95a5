from __future__ import annotations

import pytest

from lploss import load_config
from lploss.errors import ConfigError
from lploss_builtin.training.curriculum import Curriculum, Moment
from lploss_builtin.training.defaults import with_defaults


def curriculum(training=None, callbacks=None, steps_per_epoch=10) -> Curriculum:
    config = {"training": training or {}, "callbacks": callbacks or {}}
    return Curriculum.from_config(with_defaults(load_config(config)), steps_per_epoch)


def at(schedule, *epochs, steps_per_epoch=10):
    return [schedule(Moment(epoch, steps_per_epoch * epoch)) for epoch in epochs]


def test_where_the_config_is_silent_nothing_is_masked_or_annealed():
    made = curriculum()
    assert at(made.patch_mask_ratio, 0, 100, 1000) == [0.0, 0.0, 0.0]
    assert at(made.anneal_weight, 0, 100, 1000) == [1.0, 1.0, 1.0]
    assert at(made.head_factor, 0, 150, 250) == [1.0, 0.5, 0.125]
    assert at(made.backbone_factor, 19, 20, 21, 150) == pytest.approx([0.0, 0.1, 0.15, 0.5])


def test_sections_without_keys_have_the_defaults_of_the_source_system():
    made = curriculum({"patch_mask": {"init_epoch": 40}}, {"anneal_weight": {"init_val": 0.0}})
    assert at(made.patch_mask_ratio, 40, 170, 300) == pytest.approx([0.0, 0.25, 0.5])
    assert at(made.anneal_weight, 60, 85, 200) == pytest.approx([0.0, 0.25, 1.0])


def test_by_steps():
    mask = {"init_step": 100, "final_step": 200, "init_ratio": 0.1, "final_ratio": 0.5}
    milestones = {"multisteplr": {"milestone_steps": [300], "gamma": 0.1}}
    made = curriculum(
        {"patch_mask": mask, "lr_scheduler_params": milestones, "unfreezing_step": 50}
    )
    assert at(made.patch_mask_ratio, 9, 10, 15, 20) == pytest.approx([0.0, 0.1, 0.3, 0.5])
    assert at(made.head_factor, 29, 30) == pytest.approx([1.0, 0.1])
    assert at(made.backbone_factor, 4, 5, 6, 30) == pytest.approx([0.0, 0.1, 0.15, 0.1])
    assert made.backbone_factor(Moment(4, 49)) == 0.0
    assert made.backbone_factor(Moment(5, 59)) == pytest.approx(0.1)


@pytest.mark.parametrize("key", ["unfreezing_epoch", "unfreezing_step"])
def test_a_backbone_that_is_never_frozen_learns_as_fast_as_the_head(key):
    assert at(curriculum({key: 0}).backbone_factor, 0, 1, 150) == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("training", "callbacks", "message"),
    [
        (
            {"patch_mask": {"init_epoch": 1, "final_step": 5}},
            {},
            "training.patch_mask must go by epochs or by steps, not by both: it holds init_epoch "
            "and final_step",
        ),
        (
            {"patch_mask": {"init_step": 5}},
            {},
            "training.patch_mask must hold both init_step and final_step, or epochs instead",
        ),
        (
            {"patch_mask": {"final_ratio": 1.5}},
            {},
            "training.patch_mask.final_ratio must be 0 to 1, got 1.5",
        ),
        (
            {"patch_mask": {"init_epoch": 9, "final_epoch": 5}},
            {},
            "training.patch_mask.init_epoch must be 0 to final_epoch, which is 5, got 9",
        ),
        (
            {"unfreezing_epoch": 1, "unfreezing_step": 5},
            {},
            "training must go by epochs or by steps, not by both: it holds unfreezing_epoch and "
            "unfreezing_step",
        ),
        (
            {"lr_scheduler": "cosine"},
            {},
            "training.lr_scheduler must be multisteplr, got 'cosine'",
        ),
        (
            {"lr_scheduler_params": {"multisteplr": {"gamma": 0.0}}},
            {},
            "training.lr_scheduler_params.multisteplr.gamma must be above 0 and at most 1, got 0.0",
        ),
        (
            {},
            {"anneal_weight": {"attr_name": "other"}},
            "callbacks.anneal_weight.attr_name must be total_unsupervised_importance, the factor "
            "of the annealed losses; got 'other'",
        ),
    ],
)
def test_what_cannot_be_is_refused(training, callbacks, message):
    with pytest.raises(ConfigError) as caught:
        curriculum(training, callbacks)
    assert str(caught.value) == message


def test_defaults_fill_only_what_is_not_given():
    config = with_defaults(
        load_config(
            {
                "training": {
                    "max_steps": 50,
                    "optimizer_params": {"learning_rate": 0.1},
                    "lr_scheduler_params": {"multisteplr": {"milestone_steps": [7]}},
                    "unfreezing_step": 3,
                    "num_gpus": 2,
                }
            }
        )
    )
    training = config.training
    assert (training.max_epochs, training.devices, training.optimizer) == (-1, 2, "Adam")
    assert training.optimizer_params.learning_rate == 0.1
    assert training.unfreezing_epoch is None
    assert training.lr_scheduler_params.multisteplr.milestones is None
    assert training.lr_scheduler_params.multisteplr.gamma == 0.5
