from __future__ import annotations

import pytest
import torch

from lploss_builtin.predicting.model_predictor import Found, predict_readable_views

NAN = float("nan")


def predict(images, views, context_images=None):
    """Say of each image its value and its view, and how many views were seen together."""
    values = images[..., 0, 0, 0].double()
    numbers = torch.tensor(views if views is not None else range(images.shape[1]))
    keypoints = torch.stack([values, numbers.expand(values.shape).double()], dim=-1)
    confidences = torch.full_like(values, len(numbers))
    return Found(keypoints[:, :, None], confidences[..., None])


def images_of(values):
    return torch.tensor(values)[..., None, None, None].expand(-1, -1, 3, 2, 2)


@pytest.mark.parametrize(("views", "numbers"), [(None, [0, 1, 2]), ([4, 1, 7], [4, 1, 7])])
def test_each_frame_is_predicted_from_its_own_views(views, numbers):
    images = images_of([[0, 1, 2], [10, 11, 12], [20, 21, 22], [30, 31, 32], [40, 41, 42]])
    is_read = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 0], [0, 1, 1], [0, 0, 1]]).bool()
    found = predict_readable_views(predict, images, is_read, views)
    expected = torch.tensor(
        [[0, 1, 2], [NAN, 11, 12], [NAN, NAN, NAN], [NAN, 31, 32], [NAN, NAN, 42]]
    ).double()
    torch.testing.assert_close(found.keypoints[:, :, 0, 0], expected, equal_nan=True)
    expected = torch.tensor(numbers).expand(5, 3).double().where(is_read, NAN)
    torch.testing.assert_close(found.keypoints[:, :, 0, 1], expected, equal_nan=True)
    expected = torch.tensor([3, 2, 0, 2, 1]).double()[:, None].expand(5, 3).where(is_read, NAN)
    torch.testing.assert_close(found.confidences[..., 0], expected, equal_nan=True)


def test_frames_with_the_same_views_are_predicted_at_once():
    calls = []

    def record(images, views, context_images):
        calls.append((tuple(images.shape[:2]), views))
        return predict(images, views)

    images = images_of([[0, 1]] * 6)
    is_read = torch.tensor([[1, 1], [0, 1], [1, 1], [0, 1], [1, 1], [0, 0]]).bool()
    predict_readable_views(record, images, is_read, None)
    assert sorted(calls) == [((2, 1), [1]), ((3, 2), [0, 1])]
    calls.clear()
    predict_readable_views(record, images, torch.ones_like(is_read), None)
    assert calls == [((6, 2), None)]


def test_nothing_could_be_read():
    found = predict_readable_views(predict, images_of([[5, 6]] * 3), torch.zeros(3, 2).bool(), None)
    assert found.keypoints.shape == (3, 2, 1, 2)
    assert found.keypoints.isnan().all()
    assert found.confidences.shape == (3, 2, 1)
    assert found.confidences.isnan().all()
