"""Whether the context-aware head learns what it is there for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lploss
from lploss_builtin.models.heatmap_mhcrnn import HeatmapMHCRNN

SIZE = (64, 64)


def moving_squares(num_frames: int, seed: int) -> dict[str, Tensor]:
    """Return windows of a square that moves evenly; half of the middle frames are black."""
    generator = torch.Generator().manual_seed(seed)
    middle = 18 + 28 * torch.rand(num_frames, 2, generator=generator)
    pace = 8 * torch.rand(num_frames, 2, generator=generator) - 4
    places = middle[:, None] + pace[:, None] * torch.arange(-2, 3)[None, :, None]
    y, x = torch.meshgrid(*(torch.arange(side) for side in SIZE), indexing="ij")
    near_x = (x - places[..., 0, None, None]).abs() < 5
    near_y = (y - places[..., 1, None, None]).abs() < 5
    windows = (near_x & near_y).to(torch.uint8) * 255
    is_hidden = torch.arange(num_frames) % 2 == 0
    windows[is_hidden, 2] = 0
    windows = windows[:, None, :, None].expand(-1, 1, -1, 3, -1, -1)
    return {
        "images": windows[:, :, 2],
        "context_images": windows[:, :, [0, 1, 3, 4]],
        "keypoints_targ": middle,
        "is_hidden": is_hidden,
    }


def errors(model: HeatmapMHCRNN, batch: dict[str, Tensor]) -> dict[str, float]:
    """Return mean errors in px of the middles of squares that are hidden."""
    with torch.no_grad():
        maps = model(batch["images"], None, batch["context_images"])
        found = {
            "static": model.found_in(maps.static, batch["images"]),
            "context": model.found_in(maps.context, batch["images"]),
            "predicted": model.predict(batch["images"], None, batch["context_images"]),
        }
    distances = {
        name: (own.keypoints[:, 0] - batch["keypoints_targ"]).norm(dim=1)
        for name, own in found.items()
    }
    return {name: own[batch["is_hidden"]].mean().item() for name, own in distances.items()}


@pytest.mark.slow
def test_of_a_hidden_frame_those_around_it_tell():
    torch.manual_seed(0)
    model = HeatmapMHCRNN(
        num_keypoints=1, image_size=SIZE, backbone="test_resnet", pretrained=False
    )
    losses = lploss.LossFactory({"heatmap_mse": {}})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(150):
        batch = moving_squares(16, seed=step)
        total, _ = losses(**model.get_loss_inputs_labeled(batch))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    found = errors(model.eval(), moving_squares(64, seed=10_000))
    # Squares lie 10 px from the middle of the image on average, which is all that the one can know.
    assert found["static"] > 8
    assert found["context"] < 4
    assert found["predicted"] < 4
