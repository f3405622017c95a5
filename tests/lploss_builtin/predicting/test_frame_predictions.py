from __future__ import annotations

import gc
import threading
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.project.labelled_frames import LabelledFrames
from lploss_builtin.data.project.labelled_project import read_project
from lploss_builtin.models.multiview_transformer import HeatmapMultiviewTransformer
from lploss_builtin.predicting import predict_frames
from lploss_builtin.predicting.frame_predictions import Found, predict_readable_views
from tests.lploss_builtin.data.small_projects import (
    image_names,
    write_boxes,
    write_project,
)
from tests.lploss_builtin.models.small import small

SIZE = (64, 96)


@pytest.fixture
def frames(tmp_path):
    """Five frames of two views, of which the first is cropped."""
    config = write_project(tmp_path, sessions=["mo"], frames=5)
    config.data.bbox_file = [f"bboxes_{view}.csv" for view in ("left", "right")]
    for view, box in {"left": [8, 4, 32, 48], "right": [0, 0, 48, 64]}.items():
        write_boxes(tmp_path, view, dict.fromkeys(image_names(view, ["mo"], 5), box))
    return LabelledFrames(read_project(config, folder=tmp_path), SIZE)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return HeatmapMultiviewTransformer(**small(num_views=2))


def pixels(path, box):
    """Crop and resize by Pillow."""
    x, y, height, width = box
    image = Image.open(path).resize(
        SIZE[::-1], Image.Resampling.BILINEAR, (x, y, x + width, y + height)
    )
    return np.array(image).transpose(2, 0, 1)


def test_as_the_model_itself_in_px_of_the_original_image(frames, model, tmp_path):
    found = list(predict_frames(model, frames, batch_size=2))
    assert [own.index.tolist() for own in found] == [[0, 1], [2, 3], [4]]
    keypoints = torch.cat([own.keypoints for own in found])
    confidences = torch.cat([own.confidences for own in found])
    assert keypoints.shape == (5, 2, 3, 2)
    assert keypoints.dtype == torch.float64
    model.eval()
    for frame in range(5):
        folder = tmp_path / "labeled-data"
        images = [
            pixels(folder / f"mo_left/img{frame:02d}.png", (8, 4, 32, 48)),
            pixels(folder / f"mo_right/img{frame:02d}.png", (0, 0, 48, 64)),
        ]
        with torch.no_grad():
            expected = model.predict(torch.from_numpy(np.stack(images))[None])
        x, y = expected.keypoints.view(2, 3, 2).unbind(-1)
        # 96 px of the input are 48 px of the left and 64 px of the right image; 64 are 32 and 48.
        left = torch.stack([8 + x[0] / 2, 4 + y[0] / 2], dim=-1)
        right = torch.stack([x[1] * 2 / 3, y[1] * 3 / 4], dim=-1)
        torch.testing.assert_close(
            keypoints[frame].float(), torch.stack([left, right]), atol=1e-3, rtol=0
        )
        torch.testing.assert_close(
            confidences[frame].float(), expected.confidences.view(2, 3), atol=1e-5, rtol=0
        )


def test_some_of_the_views(tmp_path):
    """Frames of two views, which are the first and the third of the model."""
    torch.manual_seed(0)
    model = HeatmapMultiviewTransformer(**small()).eval()
    frames = LabelledFrames(
        read_project(write_project(tmp_path, sessions=["mo"]), folder=tmp_path), SIZE
    )
    (found,) = predict_frames(model, frames, views=[0, 2])
    images = torch.stack([frames[number]["images"] for number in range(3)])
    with torch.no_grad():
        expected = model.predict(images, views=[0, 2])
    torch.testing.assert_close(
        found.confidences.flatten(1).float(), expected.confidences, atol=1e-5, rtol=0
    )


class Recorder(nn.Module):
    """Predicts the first pixel, and remembers in which mode."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Dropout()
        self.frozen = nn.Dropout().eval()
        self.modes = []

    def predict(self, images, views):
        autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        self.modes.append((self.training, self.inner.training, torch.is_grad_enabled(), autocast))
        return None, images[:, :, :2, 0, 0].double(), torch.ones(images.shape[:2])


class Numbers:
    """Frames whose first pixel is their number, without a map to another image."""

    def __init__(self, num_frames, fails_at=None, side=1):
        self.num_frames, self.fails_at, self.side = num_frames, fails_at, side

    def __len__(self):
        return self.num_frames

    def __getitem__(self, index):
        if index == self.fails_at:
            raise DataError(f"frame {index}")
        return {
            "images": torch.full((1, 3, self.side, self.side), index, dtype=torch.float64),
            "image_size": torch.tensor([self.side, self.side]),
            "index": torch.tensor(index),
        }


def test_frames_keep_their_order():
    found = list(predict_frames(Recorder(), Numbers(103), batch_size=10))
    keypoints = torch.cat([own.keypoints for own in found])
    assert keypoints[:, 0, 0, 0].tolist() == list(range(103))
    assert [len(own.index) for own in found] == [10] * 10 + [3]


def test_no_frames():
    assert list(predict_frames(Recorder(), Numbers(0))) == []


def test_the_model_is_in_evaluation_mode_for_this_time_only():
    model = Recorder()
    list(predict_frames(model, Numbers(2), batch_size=1))
    assert model.modes == [(False, False, False, None)] * 2
    assert model.training
    assert model.inner.training
    assert not model.frozen.training
    assert torch.is_grad_enabled()


def test_predictions_are_tensors_like_any_other():
    (found,) = predict_frames(Recorder(), Numbers(2))
    assert not found.keypoints.is_inference()
    assert not found.confidences.is_inference()


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("bf16-mixed", torch.bfloat16),
        ("bf16-true", torch.bfloat16),
        ("32-true", None),
        ("16-mixed", None),  # on a GPU only
        (None, None),
    ],
)
def test_precision(precision, expected):
    model = Recorder()
    list(predict_frames(model, Numbers(1), precision=precision))
    assert [mode[-1] for mode in model.modes] == [expected]


def test_half_precision_finds_nearly_the_same(frames, model):
    (exact,) = predict_frames(model, frames)
    (half,) = predict_frames(model, frames, precision="bf16-mixed")
    assert not torch.equal(exact.confidences, half.confidences)
    torch.testing.assert_close(exact.confidences, half.confidences, atol=0.05, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_on_a_gpu(frames, model, precision):
    (expected,) = predict_frames(model, frames)
    (found,) = predict_frames(model, frames, device=torch.device("cuda"), precision=precision)
    assert found.keypoints.device.type == "cpu"
    torch.testing.assert_close(found.confidences, expected.confidences, atol=0.05, rtol=0)


def test_an_image_that_cannot_be_read():
    found = predict_frames(Recorder(), Numbers(1000, fails_at=7), batch_size=3)
    num_threads = threading.active_count()
    assert len(next(found).index) == len(next(found).index) == 3
    with pytest.raises(DataError, match=r"^frame 7$"):
        next(found)
    assert threading.active_count() == num_threads


def test_leaving_early_stops_the_threads():
    num_threads = threading.active_count()
    found = predict_frames(Recorder(), Numbers(1000))
    next(found)
    found.close()
    assert threading.active_count() == num_threads


def test_wrong_arguments():
    with pytest.raises(ArgumentValueError, match=r"^batch_size must be at least 1, got 0$"):
        predict_frames(Recorder(), Numbers(1), batch_size=0)
    with pytest.raises(ArgumentValueError) as caught:
        predict_frames(nn.Linear(1, 1), Numbers(1))
    assert str(caught.value) == (
        "the model Linear cannot predict: it has no method predict(images, views), which returns "
        "heatmaps, keypoints and confidences"
    )


def test_memory_does_not_grow_with_the_number_of_frames():
    class Arrays(Numbers):
        def __getitem__(self, index):
            # An array of NumPy's, which tracemalloc sees.
            images = np.full((1, 3, 64, 64), index % 256, dtype=np.uint8)
            return {**super().__getitem__(index), "images": torch.from_numpy(images)}

    def peak(num_frames):
        model = Recorder()
        gc.collect()
        tracemalloc.start()
        for found in predict_frames(model, Arrays(num_frames), batch_size=8):
            assert len(found.index)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(20)  # imports
    small_one = peak(80)
    assert small_one > 3 * 8 * 64 * 64  # a batch
    assert peak(1600) < 1.25 * small_one


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
