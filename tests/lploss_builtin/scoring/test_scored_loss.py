from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from lploss import Loss, create_loss
from lploss.errors import LossDefinitionError
from lploss.inputs import InputResolver
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.scoring.scored_loss import ScoredLoss

ONE_VIEW = PoseNames(("nose", "tail"))
TWO_VIEWS = PoseNames(("nose", "tail"), ("left", "right"))


class _Made(Loss):
    kind = "unsupervised"


class LookBackTwice(_Made):
    loss_name = "look_back_twice"
    num_previous_frames = 2

    def compute_loss(self, keypoints_pred):
        return (keypoints_pred[2:] + keypoints_pred[:-2])[:, ::2].abs()


class OneAPose(_Made):
    loss_name = "one_a_pose"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred.abs().sum(dim=1)


class Pairs(_Made):
    loss_name = "pairs"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred.abs().reshape(-1, 1, 2, 2)


class TooShort(_Made):
    loss_name = "too_short"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred[1:, ::2].abs()


class OtherNames(_Made):
    loss_name = "other_names"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred.abs()


def scored(loss: Loss, names: PoseNames = ONE_VIEW) -> ScoredLoss:
    example = {"keypoints_pred": torch.zeros(loss.num_previous_frames + 1, 2 * len(names.flat))}
    return ScoredLoss(loss, names, InputResolver({}), example)


def track(*xs: float) -> dict[str, torch.Tensor]:
    """Both keypoints go along x, the second ten times as far."""
    return {"keypoints_pred": torch.tensor([[x, 0.0, 10 * x, 0.0] for x in xs])}


def test_values_are_those_before_epsilon():
    loss = create_loss("temporal", epsilon=[100.0, 5.0])
    ready = scored(loss)
    values = ready.values(track(0, 3, 3), np.arange(3), 0)
    np.testing.assert_allclose(values, [[np.nan, np.nan], [3, 30], [0, 0]])
    assert ready.epsilon.tolist() == [100, 5]
    assert ready.one_epsilon is None
    assert loss.epsilon.tolist() == [100, 5], "the loss itself must stay as it is"


def test_one_epsilon():
    assert scored(create_loss("temporal", epsilon=20.0)).one_epsilon == 20.0
    assert scored(create_loss("temporal")).one_epsilon == 0.0


@pytest.mark.parametrize("num_repeated", [1, 2, 3])
def test_repeated_frames_get_no_value_again(num_repeated):
    values = scored(create_loss("temporal")).values(track(5, 1, 2, 4), np.arange(4), num_repeated)
    np.testing.assert_allclose(values[:, 0], [4, 1, 2][num_repeated - 1 :])


def test_steps_over_a_gap_do_not_count():
    ready = scored(create_loss("temporal"))
    values = ready.values(track(0, 1, 2, 3), np.array([0, 1, 5, 6]), 0)
    np.testing.assert_array_equal(values[:, 0], [np.nan, 1, np.nan, 1])
    backwards = ready.values(track(0, 1), np.array([1, 0]), 0)
    assert np.isnan(backwards).all()


def test_all_frames_that_are_looked_at_must_follow():
    values = scored(LookBackTwice()).values(track(1, 2, 3, 4, 5), np.array([0, 1, 2, 4, 5]), 0)
    np.testing.assert_array_equal(values[:, 0], [np.nan, np.nan, 4, np.nan, np.nan])


def test_images_do_not_follow_one_another():
    frames = np.array(["a.png", "b.png"], dtype=object)
    assert np.isnan(scored(create_loss("temporal")).values(track(0, 1), frames, 0)).all()


def test_fewer_frames_than_a_loss_looks_back_at():
    ready = scored(LookBackTwice())
    assert np.isnan(ready.values(track(1), np.arange(1), 0)).all()
    assert np.isnan(ready.values(track(1, 2), np.arange(2), 1)).all()
    assert ready.values(track(1, 2), np.arange(2), 1).shape == (1, 2)


def test_values_of_a_pose_and_of_pairs():
    pose = scored(OneAPose())
    assert pose.element_names == ("pose",)
    assert pose.values(track(1, 2), np.arange(2), 0).tolist() == [[11], [22]]
    pairs = scored(Pairs())
    assert pairs.element_names == ("nose[0][0]", "tail[0][0]", "nose[0][1]", "tail[0][1]")
    assert pairs.values(track(1), np.arange(1), 0).tolist() == [[1, 0, 10, 0]]
    assert pairs.epsilon.tolist() == [0, 0, 0, 0]


def test_missing_keypoints_have_no_value():
    batch = {"keypoints_pred": torch.tensor([[0.0, 0.0, 1.0, 1.0], [3.0, 4.0, math.nan, 1.0]])}
    values = scored(create_loss("temporal")).values(batch, np.arange(2), 0)
    np.testing.assert_array_equal(values[1], [5, np.nan])


@pytest.mark.parametrize("loss", [TooShort(), OtherNames()], ids=["rows", "names"])
def test_losses_of_another_shape_are_refused(loss):
    example = {"keypoints_pred": torch.zeros(3, 4)}
    with pytest.raises(LossDefinitionError, match=r"must have 3 rows here .* 2 elements"):
        ScoredLoss(loss, ONE_VIEW, InputResolver({}), example)


class EachViewApart(_Made):
    loss_name = "each_view_apart"

    def compute_loss(
        self, keypoints_pred: Float[Tensor, "batch four_x_num_keypoints"]
    ) -> Float[Tensor, "batch views num_keypoints"]:
        return keypoints_pred[:, ::2].abs().reshape(-1, 2, 2)


class EachPairApart(_Made):
    loss_name = "each_pair_apart"

    def compute_loss(
        self, keypoints_pred: Float[Tensor, "batch four_x_num_keypoints"]
    ) -> Float[Tensor, "batch cam_pairs two num_keypoints"]:
        return keypoints_pred[:, ::2].abs().reshape(-1, 1, 2, 2)


def test_elements_of_several_views_have_their_names():
    assert scored(create_loss("temporal"), TWO_VIEWS).element_names == (
        "left/nose",
        "left/tail",
        "right/nose",
        "right/tail",
    )
    by_view = scored(EachViewApart(), TWO_VIEWS)
    assert by_view.element_names == ("left/nose", "left/tail", "right/nose", "right/tail")
    batch = {"keypoints_pred": torch.arange(8.0)[None]}
    assert by_view.values(batch, np.arange(1), 0).tolist() == [[0, 2, 4, 6]]
    assert scored(EachPairApart(), TWO_VIEWS).element_names == (
        "left+right/nose[0]",
        "left+right/tail[0]",
        "left+right/nose[1]",
        "left+right/tail[1]",
    )


def test_an_axis_of_another_size_than_there_are_views_has_numbers():
    three = PoseNames(("nose", "tail"), ("left", "right", "top"))
    loss = EachViewApart()
    example = {"keypoints_pred": torch.zeros(1, 8)}
    found = ScoredLoss(loss, three, InputResolver({}), example)
    assert found.element_names == ("nose[0]", "tail[0]", "nose[1]", "tail[1]")


def test_the_metric_is_of_all_keypoints():
    """What the loss is not trained on has a value all the same, a missing keypoint has none."""
    loss = create_loss("temporal", prob_threshold=0.9)
    batch = track(0, 3, 5, math.nan) | {"confidences": torch.tensor([[0.95], [0.95], [0.1], [1]])}
    batch["confidences"] = batch["confidences"].expand(4, 2)
    frames, found = np.arange(4), scored(loss)
    np.testing.assert_array_equal(found.values(batch, frames, 0)[:, 0], [np.nan, 3, np.nan, np.nan])
    metric = found.values(batch, frames, 0, as_metric=True)
    np.testing.assert_array_equal(metric[:, 0], [np.nan, 3, 2, np.nan])


def test_the_metric_of_views_is_of_all_keypoints_too():
    """Likelihoods weigh the views, and leave none out."""
    loss = create_loss("multiview_reprojection", prob_threshold=0.9)
    batch = {
        "keypoints_pred": torch.tensor([[3.0, 4.0, 6.0, 8.0]]),
        "keypoints_pred_from_all_views": torch.zeros(1, 4),
        "confidences": torch.tensor([[0.95, 0.1]]),
    }
    found = ScoredLoss(
        loss, PoseNames(("nose",), ("left", "right")), InputResolver({}), dict(batch)
    )
    frames = np.arange(1)
    np.testing.assert_array_equal(found.values(batch, frames, 0), [[5.0, np.nan]])
    np.testing.assert_array_equal(found.values(batch, frames, 0, as_metric=True), [[5.0, 10.0]])
