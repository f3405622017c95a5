"""Whether the loss works in any trainer, and whether its numbers are right."""

from __future__ import annotations

import math

import pytest
import torch

from lploss import LossFactory, create_loss
from lploss.errors import ArgumentValueError, FitError, NotFittedError
from lploss.testing import loss_checks
from lploss_bone_length.distances import keypoint_distances_pred

LEG = {"keypoint_names": ["hip", "knee", "paw"], "bones": [["hip", "knee"], ["knee", "paw"]]}
# Thigh and shank are 5 and 4 px long in the first frame, 10 and 2 px in the second.
LABELS = torch.tensor(
    [
        [0.0, 0.0, 3.0, 4.0, 3.0, 8.0],
        [0.0, 0.0, 6.0, 8.0, 8.0, 8.0],
        [1.0, 1.0, math.nan, 1.0, 1.0, 1.0],
    ]
)


@loss_checks("lploss-bone-length/bone_length")
def test_conformance(check):
    check()


def test_only_lengths_outside_the_range_of_the_labels_cost():
    loss = create_loss("bone_length", **LEG, coverage=1.0, data_module=LABELS)
    assert loss.ranges.tolist() == [[5.0, 2.0], [10.0, 4.0]]
    poses = torch.tensor(
        [
            [0.0, 0.0, 0.0, 7.0, 0.0, 10.0],  # 7 and 3: within both ranges
            [0.0, 0.0, 0.0, 4.0, 0.0, 10.0],  # 4 and 6: 1 too short, 2 too long
            [math.nan, 0.0, 0.0, 4.0, 0.0, 10.0],
        ]
    )
    values = loss.elementwise(keypoint_distances_pred=keypoint_distances_pred(poses))
    expected = torch.tensor([[0.0, 0.0], [1.0, 2.0], [math.nan, 2.0]])
    torch.testing.assert_close(values, expected, equal_nan=True)


def test_the_coverage_leaves_out_both_ends():
    lengths = torch.arange(101.0)
    labels = torch.stack([0 * lengths, 0 * lengths, lengths, 0 * lengths], dim=1)
    loss = create_loss(
        "bone_length",
        keypoint_names=["hip", "knee"],
        bones=[["hip", "knee"]],
        coverage=0.9,
        data_module=labels,
    )
    torch.testing.assert_close(loss.ranges, torch.tensor([[5.0], [95.0]]))


def test_a_factory_derives_the_distances_and_gradients_are_finite():
    losses = LossFactory({"bone_length": {**LEG, "data_module": LABELS}})
    # All at one place, and one keypoint missing.
    poses = torch.tensor([[1.0] * 6, [1.0, 1.0, math.nan, 1.0, 9.0, 9.0]], requires_grad=True)
    losses(keypoints_pred=poses).loss.backward()
    assert poses.grad.tolist() == [[0.0] * 6, [0.0] * 6]


def test_a_checkpoint_restores_the_loss_without_labels():
    fitted = create_loss("bone_length", **LEG, data_module=LABELS)
    restored = create_loss("bone_length", **LEG)
    with pytest.raises(NotFittedError):
        restored(keypoint_distances_pred=torch.zeros(1, 3, 3))
    restored.load_state_dict(fitted.state_dict())
    assert restored.ranges.tolist() == fitted.ranges.tolist()


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ArgumentValueError, match=r"hip, knee, paw; got \[\['hip', 'toe'\]\]"):
        create_loss("bone_length", **{**LEG, "bones": [["hip", "toe"]]})
    with pytest.raises(ArgumentValueError, match="coverage must be a number from 0 to 1, got 98"):
        create_loss("bone_length", **LEG, coverage=98)
    with pytest.raises(FitError, match="must hold the keypoints hip, knee, paw, in this order"):
        create_loss("bone_length", **LEG, data_module=LABELS[:, :4])
    without_paw = torch.cat([LABELS[:, :4], torch.full((3, 2), math.nan)], dim=1)
    with pytest.raises(FitError, match="no frame of the labels holds both ends of knee-paw"):
        create_loss("bone_length", **LEG, data_module=without_paw)
