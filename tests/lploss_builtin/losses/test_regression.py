from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import mean_squared_error, root_mean_squared_error

import lploss

NAMES = ["regression", "rmse"]


def example() -> tuple[torch.Tensor, torch.Tensor]:
    targ = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 2.0, math.nan, 7.0]])
    pred = torch.tensor([[3.0, 4.0, 10.0, 10.0], [1.0, 8.0, 5.0, 5.0]])
    return targ, pred.requires_grad_()


def test_regression_by_hand() -> None:
    targ, pred = example()
    loss = lploss.create_loss("regression")
    elements = loss.elementwise(keypoints_targ=targ, keypoints_pred=pred)
    expected = torch.tensor([[12.5, 0.0], [18.0, math.nan]])
    torch.testing.assert_close(elements, expected, equal_nan=True)
    assert loss(keypoints_targ=targ, keypoints_pred=pred).loss.item() == pytest.approx(30.5 / 6)


def test_rmse_by_hand() -> None:
    targ, pred = example()
    loss = lploss.create_loss("rmse")
    elements = loss.elementwise(keypoints_targ=targ, keypoints_pred=pred)
    expected = torch.tensor([[math.sqrt(12.5), 0.0], [math.sqrt(18.0), math.nan]])
    torch.testing.assert_close(elements, expected, equal_nan=True)


def test_complete_labels_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    targ, pred = 100 * generator.normal(size=(2, 7, 10))
    inputs = {"keypoints_targ": torch.tensor(targ), "keypoints_pred": torch.tensor(pred)}
    squared = lploss.create_loss("regression")(**inputs).loss
    assert 2 * squared.item() == pytest.approx(mean_squared_error(targ, pred), rel=1e-12)
    # The mean over keypoints of each one's root mean square over x and y.
    expected = root_mean_squared_error(targ.reshape(-1, 2).T, pred.reshape(-1, 2).T)
    assert 2 * lploss.create_loss("rmse")(**inputs).loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_all_targets_nan_give_exactly_zero_and_zero_gradients(name: str) -> None:
    targ, pred = example()
    result = lploss.create_loss(name)(keypoints_targ=targ * math.nan, keypoints_pred=pred).loss
    result.backward()
    assert result.item() == 0.0
    assert pred.grad is not None
    assert pred.grad.abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_keypoint_with_one_coordinate_is_not_labelled(name: str) -> None:
    targ, pred = example()
    lploss.create_loss(name)(keypoints_targ=targ, keypoints_pred=pred).loss.backward()
    assert pred.grad is not None
    assert pred.grad[1, 2:].tolist() == [0.0, 0.0]
    assert pred.grad[1, 1] > 0


def test_rmse_at_a_perfect_prediction_has_a_zero_gradient() -> None:
    pred = torch.ones(3, 4, requires_grad=True)
    result = lploss.create_loss("rmse")(keypoints_targ=torch.ones(3, 4), keypoints_pred=pred).loss
    result.backward()
    assert result.item() == 0.0
    assert pred.grad is not None
    assert pred.grad.abs().max() == 0


def test_epsilon_of_the_regression_loss_takes_effect() -> None:
    targ, pred = example()
    loss = lploss.create_loss("regression", epsilon=15.0)
    assert loss(keypoints_targ=targ, keypoints_pred=pred).loss.item() == pytest.approx(3.0 / 6)


coordinates = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(1, 4).map(lambda keypoints: 2 * keypoints)),
    elements=st.floats(-1e3, 1e3, width=32),
)


@settings(deadline=None, max_examples=50)
@given(coordinates, st.floats(-500, 500, width=16))
def test_a_shift_of_both_changes_nothing(poses: np.ndarray, shift: float) -> None:
    pred = torch.tensor(poses)
    targ = pred.flip(0) * 0.5
    for name in NAMES:
        loss = lploss.create_loss(name)
        here = loss(keypoints_targ=targ, keypoints_pred=pred).loss
        there = loss(keypoints_targ=targ + shift, keypoints_pred=pred + shift).loss
        torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(coordinates, st.data())
def test_no_pattern_of_gaps_gives_a_gradient_that_is_not_finite(
    poses: np.ndarray, data: st.DataObject
) -> None:
    gaps = data.draw(hnp.arrays(np.bool_, poses.shape))
    targ = torch.tensor(np.where(gaps, np.nan, poses))
    for name in NAMES:
        pred = torch.tensor(poses, requires_grad=True)
        result = lploss.create_loss(name)(keypoints_targ=targ, keypoints_pred=pred).loss
        result.backward()
        assert result.item() == 0.0
        assert pred.grad is not None
        assert pred.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_target_that_is_not_finite_is_not_labelled(name: str, value: float) -> None:
    targ, pred = example()
    targ[0, 0] = value
    elements = lploss.create_loss(name).elementwise(keypoints_targ=targ, keypoints_pred=pred)
    assert elements.isnan().tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("name", NAMES)
def test_huge_predictions_make_the_loss_infinite_where_they_count(name: str) -> None:
    targ, pred = example()
    huge = pred.detach().clone()
    huge[1, 2:] = 2e38  # not labelled
    huge.requires_grad_()
    loss = lploss.create_loss(name)
    expected = loss(keypoints_targ=targ, keypoints_pred=pred).loss
    result = loss(keypoints_targ=targ, keypoints_pred=huge).loss
    torch.testing.assert_close(result, expected)
    expected.backward()
    result.backward()
    torch.testing.assert_close(huge.grad, pred.grad)
    everywhere = torch.full_like(targ, -2e38)
    assert loss(keypoints_targ=targ, keypoints_pred=everywhere).loss.item() == math.inf
