from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch

import lploss
from tests.lploss_builtin.batches import batch

NAMES = ["temporal", "temporal_heatmap_mse", "temporal_heatmap_kl"]

# Two keypoints in four frames; the first one makes steps of 5, 0 and 13 px.
TRACK = torch.tensor(
    [[0.0, 0.0, 1.0, 1.0], [3.0, 4.0, 1.0, 1.0], [3.0, 4.0, 1.0, 2.0], [8.0, 16.0, 1.0, 2.0]]
)
STEPS = torch.tensor([[5.0, 0.0], [0.0, 1.0], [13.0, 0.0]])


def test_steps_by_hand() -> None:
    loss = lploss.create_loss("temporal")
    torch.testing.assert_close(loss.elementwise(keypoints_pred=TRACK), STEPS)
    assert loss(keypoints_pred=TRACK).loss.item() == pytest.approx(19 / 12)


def test_epsilon_takes_a_number_or_one_a_keypoint() -> None:
    assert lploss.create_loss("temporal", epsilon=4.0)(
        keypoints_pred=TRACK
    ).loss.item() == pytest.approx((1 + 9) / 12)
    assert lploss.create_loss("temporal", epsilon=[12.0, 0.5])(
        keypoints_pred=TRACK
    ).loss.item() == pytest.approx((1 + 0.5) / 12)


def test_epsilon_of_another_number_of_keypoints_is_refused() -> None:
    loss = lploss.create_loss("temporal", epsilon=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"epsilon holds 3 values, the element-wise loss has 2"):
        loss(keypoints_pred=TRACK)


def test_low_confidence_leaves_out_the_steps_on_both_sides() -> None:
    confidences = torch.ones(4, 2)
    confidences[1, 0] = 0.04
    loss = lploss.create_loss("temporal", prob_threshold=0.05)
    elements = loss.elementwise(keypoints_pred=TRACK, confidences=confidences)
    expected = torch.tensor([[math.nan, 0.0], [math.nan, 1.0], [13.0, 0.0]])
    torch.testing.assert_close(elements, expected, equal_nan=True)
    # What is left out counts as zero, the mean goes over all six steps.
    result = loss(keypoints_pred=TRACK, confidences=confidences).loss
    assert result.item() == pytest.approx(14 / 12)


def test_a_confidence_at_the_threshold_counts_and_one_of_nan_does_not() -> None:
    confidences = torch.full((4, 2), 0.5)
    confidences[3, 0] = math.nan
    loss = lploss.create_loss("temporal", prob_threshold=0.5)
    elements = loss.elementwise(keypoints_pred=TRACK, confidences=confidences)
    assert elements.isnan().tolist() == [[False, False], [False, False], [True, False]]


def test_a_missing_prediction_leaves_out_its_two_steps_only() -> None:
    track = TRACK.clone()
    track[2, 1] = math.nan
    elements = lploss.create_loss("temporal").elementwise(keypoints_pred=track)
    assert elements.isnan().tolist() == [[False, False], [True, False], [True, False]]


def test_a_keypoint_that_rests_has_a_zero_gradient() -> None:
    track = torch.ones(5, 4, requires_grad=True)
    lploss.create_loss("temporal")(keypoints_pred=track).loss.backward()
    assert track.grad is not None
    assert track.grad.abs().max() == 0


def test_a_shift_or_a_turned_picture_changes_nothing() -> None:
    track = batch(dtype=torch.float64)["keypoints_pred"].detach()
    turn = torch.tensor(
        [[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]], dtype=torch.float64
    )
    moved = (track.unflatten(1, (4, 2)) @ turn.T + 31.0).flatten(1)
    loss = lploss.create_loss("temporal")
    torch.testing.assert_close(loss(keypoints_pred=track).loss, loss(keypoints_pred=moved).loss)


@pytest.mark.parametrize("name", ["temporal_heatmap_mse", "temporal_heatmap_kl"])
def test_heatmap_steps_agree_with_scipy(name: str) -> None:
    inputs = batch(dtype=torch.float64)
    maps = inputs["heatmaps_pred"].detach().numpy()
    elements = lploss.create_loss(name).elementwise(heatmaps_pred=inputs["heatmaps_pred"])
    if name == "temporal_heatmap_mse":
        expected = (np.diff(maps, axis=0) ** 2).mean(axis=(2, 3))
    else:
        expected = scipy.special.rel_entr(maps[1:], maps[:-1]).sum(axis=(2, 3))
    np.testing.assert_allclose(elements.detach().numpy(), expected, rtol=1e-5)


def test_temporal_heatmap_mse_is_heatmap_mse_divided_by_the_number_of_pixels() -> None:
    maps = batch()["heatmaps_pred"].detach()
    height, width = maps.shape[-2:]
    temporal = lploss.create_loss("temporal_heatmap_mse")(heatmaps_pred=maps).loss
    summed = lploss.create_loss("heatmap_mse", log_weight=math.log(height * width))
    paired = summed(heatmaps_pred=maps[1:], heatmaps_targ=maps[:-1]).loss
    torch.testing.assert_close(temporal, paired)


def test_huge_coordinates_at_steps_of_low_confidence_have_no_gradient() -> None:
    track = TRACK.clone()
    track[1, :2] = torch.tensor([2e38, -2e38])
    track[2, :2] = torch.tensor([-2e38, 2e38])
    confidences = torch.ones(4, 2)
    confidences[1:3, 0] = 0.0
    track.requires_grad_()
    loss = lploss.create_loss("temporal", prob_threshold=0.5)
    result = loss(keypoints_pred=track, confidences=confidences).loss
    result.backward()
    assert result.item() == pytest.approx(1 / 12)
    assert track.grad is not None
    assert track.grad[:, :2].abs().max() == 0
    assert lploss.create_loss("temporal")(keypoints_pred=track).loss.item() == math.inf


@pytest.mark.parametrize("name", NAMES)
def test_confidences_are_optional_and_mask_every_temporal_loss(name: str) -> None:
    loss = lploss.create_loss(name, prob_threshold=0.5)
    inputs = batch()
    confidences = inputs.pop("confidences")
    whole = loss.elementwise(**inputs)
    masked = loss.elementwise(**inputs, confidences=confidences)
    low = (confidences < 0.5).numpy()
    expected = np.where(low[1:] | low[:-1], np.nan, whole.detach().numpy())
    assert low.any()
    np.testing.assert_array_equal(masked.detach().numpy(), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "threshold", [-0.1, 1.1, math.nan, True, pytest.param("high", marks=pytest.mark.mistyped)]
)
def test_a_threshold_outside_its_range_is_refused(name: str, threshold: object) -> None:
    with pytest.raises(ValueError, match="prob_threshold must be a finite number from 0 to 1"):
        lploss.create_loss(name, prob_threshold=threshold)
