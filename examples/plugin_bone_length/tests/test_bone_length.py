"""Whether the loss works in any trainer, and whether its numbers are right."""

from __future__ import annotations

import math

import pytest
import torch

from lploss import LossFactory, create_loss
from lploss.errors import ArgumentValueError, FitError, NotFittedError, ShapeError
from lploss.testing import loss_checks
from lploss_bone_length.distances import keypoint_distances_pred
from lploss_builtin.data.poses.labels import LabelledKeypoints

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
    losses = LossFactory(
        {"bone_length": {**LEG, "data_module": LABELS}}, nan_predictions="leave_out"
    )
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


TWO_VIEWS = LabelledKeypoints(
    # In the second view, all is twice as large.
    torch.cat([LABELS, 2 * LABELS], dim=1).double().numpy(),
    ("left/hip", "left/knee", "left/paw", "right/hip", "right/knee", "right/paw"),
    num_views=2,
)


def test_each_view_has_ranges_of_its_own():
    loss = create_loss("bone_length", **LEG, coverage=1.0, data_module=TWO_VIEWS)
    assert loss.ranges.tolist() == [[5.0, 2.0, 10.0, 4.0], [10.0, 4.0, 20.0, 8.0]]
    # The same legs in both views, 4 and 6 px: in the first 1 too short and 2 too long, in the
    # second 6 too short and within the range. No bone connects keypoints of two views.
    leg = torch.tensor([[0.0, 0.0, 0.0, 4.0, 0.0, 10.0]])
    batch = {"keypoints_pred": torch.cat([leg, leg + 500.0], dim=1)}
    distances = keypoint_distances_pred(**batch)
    values = loss.elementwise(keypoint_distances_pred=distances)
    assert values.tolist() == [[1.0, 2.0, 6.0, 0.0]]
    losses = LossFactory({"bone_length": loss})
    total, _ = losses(**batch, anneal_weight=1.0)
    assert total.item() == 0.5 * (1 + 2 + 6 + 0) / 4
    assert loss.element_names(TWO_VIEWS.keypoint_names) == [
        "left/hip-knee",
        "left/knee-paw",
        "right/hip-knee",
        "right/knee-paw",
    ]
    assert loss.element_names(LEG["keypoint_names"]) == ["hip-knee", "knee-paw"]
    with pytest.raises(ShapeError):  # a batch of one view
        losses(keypoints_pred=leg, anneal_weight=1.0)


def test_a_checkpoint_restores_all_views():
    fitted = create_loss("bone_length", **LEG, data_module=TWO_VIEWS)
    restored = create_loss("bone_length", **LEG)
    restored.load_state_dict(fitted.state_dict())
    assert restored.ranges.tolist() == fitted.ranges.tolist()
    of_one_view = create_loss("bone_length", **LEG, data_module=LABELS)
    with pytest.raises(RuntimeError, match="size mismatch for ranges"):
        of_one_view.load_state_dict(fitted.state_dict())


def test_labels_of_several_views_must_say_so():
    with pytest.raises(
        FitError, match=r"of each of their 1 views; they hold keypoint 0, .*keypoint 5"
    ):
        create_loss("bone_length", **LEG, data_module=torch.cat([LABELS, LABELS], dim=1))


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
