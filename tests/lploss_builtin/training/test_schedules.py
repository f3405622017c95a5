from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lploss_builtin.training.schedules import (
    anneal_weight,
    backbone_factor,
    multistep_factor,
    patch_mask_ratio,
)


@pytest.mark.parametrize(
    ("epoch", "weight"),
    [(0, 0.0), (59, 0.0), (60, 0.0), (61, 0.01), (110, 0.5), (160, 1.0), (161, 1.0), (9999, 1.0)],
)
def test_the_default_annealing_is_that_of_the_source_system(epoch, weight):
    assert anneal_weight(epoch) == pytest.approx(weight)


def test_annealing_from_elsewhere():
    given = {"init_val": 0.2, "increase_factor": 0.3, "final_val": 0.6, "freeze_until_epoch": 2}
    weights = [anneal_weight(epoch, **given) for epoch in range(6)]
    assert weights == pytest.approx([0.2, 0.2, 0.2, 0.5, 0.6, 0.6])


@pytest.mark.parametrize(
    ("epoch", "ratio"),
    [(0, 0.0), (39, 0.0), (40, 0.0), (105, 0.125), (170, 0.25), (300, 0.5), (301, 0.5)],
)
def test_the_default_masking_is_that_of_the_source_system(epoch, ratio):
    assert patch_mask_ratio(epoch) == pytest.approx(ratio)


def test_masking_by_steps_as_in_research_configs():
    given = {"start": 700, "end": 5000, "init_ratio": 0.1, "final_ratio": 0.5}
    ratios = [patch_mask_ratio(step, **given) for step in (0, 699, 700, 2850, 5000, 10000)]
    assert ratios == pytest.approx([0.0, 0.0, 0.1, 0.3, 0.5, 0.5])


def test_a_final_ratio_of_zero_turns_masking_off():
    assert {patch_mask_ratio(at, init_ratio=0.3, final_ratio=0.0) for at in range(400)} == {0.0}


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1), st.floats(0.01, 1))
def test_masking_stays_between_its_ratios(start, length, init, final):
    ratios = [
        patch_mask_ratio(at, start=start, end=start + length, init_ratio=init, final_ratio=final)
        for at in range(120)
    ]
    assert ratios[:start] == [0.0] * start
    low, high = sorted((init, final))
    assert all(low - 1e-12 <= ratio <= high + 1e-12 for ratio in ratios[start:])
    assert ratios[start + length :] == [final] * len(ratios[start + length :])


def test_the_learning_rate_halves():
    factors = [multistep_factor(e, (150, 200, 250)) for e in (0, 149, 150, 199, 200, 250, 300)]
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.25, 0.125, 0.125]
    assert multistep_factor(5, (), 0.1) == 1.0


def test_the_backbone_is_frozen_and_then_catches_up():
    factors = [backbone_factor(epochs) for epochs in (-20, -1, 0, 1, 2, 5, 6, 10**6)]
    assert factors == pytest.approx([0.0, 0.0, 0.1, 0.15, 0.225, 0.759375, 1.0, 1.0])
