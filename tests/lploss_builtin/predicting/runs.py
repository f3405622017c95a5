"""Folders of trainings, and a model whose predictions are known: it finds the bright spots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from lploss import load_config
from lploss.config import plain
from lploss_builtin.models.building import build_model
from lploss_builtin.training.defaults import with_defaults
from tests.lploss_builtin.data.small_projects import write_image
from tests.lploss_builtin.models.small import SMALL

#: A keypoint for each colour.
NAMES = ("nose", "neck", "tail")
SIZE = (64, 96)


def write_run(
    folder: Path,
    views: Sequence[str] = (),
    *,
    model_type: str = "heatmap_multiview_transformer",
    size: tuple[int, int] = SIZE,
    names: Sequence[str] = NAMES,
    training: Mapping[str, Any] | None = None,
    **data: Any,
) -> nn.Module:
    """Write the folder of a training with random weights; return its model."""
    height, width = size
    config = with_defaults(
        load_config(
            {
                "data": {
                    "view_names": list(views) or None,
                    "keypoint_names": list(names),
                    "num_keypoints": len(names),
                    "image_resize_dims": {"height": height, "width": width},
                    **data,
                },
                "model": {"model_type": model_type, "backbone_params": SMALL},
                "training": dict(training or {}),
            }
        )
    )
    torch.manual_seed(0)
    model = build_model(
        config, num_views=max(1, len(views)), num_keypoints=len(names), pretrained=False
    )
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint = {"state_dict": state, "config": plain(config)}
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    return model.eval()


def spots(keypoints: np.ndarray, size: tuple[int, int] = SIZE, spread: float = 3.0) -> np.ndarray:
    """Return an image with a spot at each of three keypoints, in red, green and blue."""
    y, x = np.mgrid[: size[0], : size[1]]
    squares = [np.square(x - own[0]) + np.square(y - own[1]) for own in keypoints]
    image = 255 * np.exp(-np.stack(squares, axis=-1) / (2 * spread**2))
    return image.round().astype(np.uint8)


def write_spots(folder: Path, keypoints: np.ndarray, size: tuple[int, int] = SIZE) -> None:
    """Write the images of frames, ``img0.png`` and so on."""
    for number, own in enumerate(keypoints):
        write_image(folder / f"img{number}.png", spots(own, size))


class FindsSpots(nn.Module):
    """Predicts the centre of each colour; a view's likelihood hangs on its number."""

    def __init__(self, num_views: int = 1) -> None:
        super().__init__()
        self.num_views = num_views
        self.batches: list[tuple[int, ...]] = []

    def predict(self, images: Tensor, views: Sequence[int] | None) -> tuple[None, Tensor, Tensor]:
        self.batches.append(tuple(images.shape[:2]))
        weights = images.double()
        height, width = images.shape[-2:]
        total = weights.sum(dim=(-1, -2))
        x = (weights * torch.arange(width)).sum(dim=(-1, -2)) / total
        y = (weights * torch.arange(height)[:, None]).sum(dim=(-1, -2)) / total
        keypoints = torch.stack([x, y], dim=-1).flatten(1, 2)
        numbers = range(self.num_views) if views is None else views
        likelihoods = torch.tensor([0.9 - 0.1 * number for number in numbers])
        return None, keypoints, likelihoods.repeat_interleave(3).expand(len(images), -1)
