from __future__ import annotations

import pytest

from lploss import load_config
from lploss.errors import ArgumentValueError
from lploss_builtin.demo.settings import DemoSettings
from lploss_builtin.training.curriculum import Curriculum, Moment
from lploss_builtin.training.defaults import with_defaults


def test_small_demos_have_small_parts():
    assert DemoSettings(num_frames=12).num_sessions == 3
    assert DemoSettings(num_frames=12).num_test_frames == 3
    assert DemoSettings(num_frames=480).num_test_frames == 100


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 8, 50])
def test_schedules_come_to_their_ends_in_demos_of_any_length(num_epochs):
    config = with_defaults(load_config(DemoSettings(num_epochs=num_epochs).config()))
    curriculum = Curriculum.from_config(config, 10)
    last = Moment(num_epochs, 10 * num_epochs)
    assert curriculum.anneal_weight(last) == pytest.approx(1.0)
    assert curriculum.patch_mask_ratio(last) == config.training.patch_mask.final_ratio
    assert curriculum.head_factor(Moment(0, 0)) == 1.0
    assert curriculum.head_factor(last) == pytest.approx(0.3**3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 11}, "the demo needs at least 12 frames to train with, got 11"),
        ({"num_epochs": 0}, "the demo needs at least 1 epoch, got 0"),
    ],
)
def test_too_small(arguments, message):
    with pytest.raises(ArgumentValueError) as raised:
        DemoSettings(**arguments)
    assert str(raised.value) == message
