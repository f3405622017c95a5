"""Whether the model gives every loss what it needs, and learns."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lploss import LossFactory, create_model
from lploss.errors import ArgumentValueError

SIZE = (32, 48)


def made(num_keypoints: int = 2):
    torch.manual_seed(0)
    return create_model("heatmap_unet", num_keypoints=num_keypoints, image_size=SIZE, width=8)


def batch_of(num_frames: int = 4, num_views: int = 2) -> dict[str, torch.Tensor]:
    """Return images with a white square on black, whose middle is the first keypoint."""
    generator = torch.Generator().manual_seed(1)
    images = torch.zeros(num_frames, num_views, 3, *SIZE, dtype=torch.uint8)
    points = torch.full((num_frames, num_views, 2, 2), torch.nan)
    for frame in range(num_frames):
        for view in range(num_views):
            y, x = (int(torch.randint(6, side - 6, (), generator=generator)) for side in SIZE)
            images[frame, view, :, y - 3 : y + 4, x - 3 : x + 4] = 255
            points[frame, view, 0] = torch.tensor([x, y])
    return {
        "images": images,
        "keypoints_targ": points.flatten(1),
        "visibility": torch.tensor([2, 0], dtype=torch.uint8).repeat(num_frames, num_views),
        "affine": torch.eye(2, 3).expand(num_frames, num_views, 2, 3),
        "bbox": torch.tensor([0.0, 0.0, *map(float, SIZE)]).repeat(num_frames, num_views),
        "image_size": torch.tensor([float(side) for side in SIZE]),
    }


def test_each_map_sums_to_one():
    maps = made()(batch_of()["images"])
    assert maps.shape == (4, 4, 8, 12)
    assert_close(maps.sum(dim=(2, 3)), torch.ones(4, 4))


def test_what_losses_get():
    inputs = made().get_loss_inputs_labeled(batch_of())
    assert sorted(inputs) == [
        "bbox",
        "confidences",
        "heatmaps_pred",
        "heatmaps_targ",
        "image_size",
        "keypoints_pred",
        "keypoints_pred_augmented",
        "keypoints_targ",
        "visibility",
    ]
    names = ("heatmap_mse", "rmse", "regression", "temporal", "temporal_heatmap_mse")
    total, _ = LossFactory(dict.fromkeys(names))(**inputs)
    total.backward()
    assert total.isfinite()


def test_augmentation_is_undone():
    batch = batch_of()
    batch["affine"] = torch.tensor([[2.0, 0.0, 4.0], [0.0, 0.5, -6.0]]).expand(4, 2, 2, 3)
    inputs = made().get_loss_inputs_unlabeled(batch)
    x, y = inputs["keypoints_pred_augmented"].view(4, 4, 2).unbind(-1)
    expected = torch.stack([(x - 4) / 2, (y + 6) * 2], dim=-1)
    assert_close(inputs["keypoints_pred"].view(4, 4, 2), expected)


def test_it_learns_to_find_a_square():
    model, batch = made(), batch_of(num_frames=8)
    losses = LossFactory({"heatmap_mse": {}})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        total, _ = losses(**model.get_loss_inputs_labeled(batch))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    found = model.predict(batch["images"]).keypoints.view(8, 2, 2, 2)[:, :, 0]
    labels = batch["keypoints_targ"].view(8, 2, 2, 2)[:, :, 0]
    assert (found - labels).norm(dim=-1).mean() < 2.0


def test_sides_that_it_cannot_halve_are_refused():
    with pytest.raises(ArgumentValueError, match=r"multiples of 8 px, got \(100, 64\)"):
        create_model("heatmap_unet", num_keypoints=2, image_size=(100, 64))
