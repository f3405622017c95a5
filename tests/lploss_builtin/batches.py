"""A batch that every built-in loss can be called with, and the losses themselves."""

from __future__ import annotations

import torch
from torch import Tensor

import lploss

PCA = {
    "pca_singleview": {"components_to_keep": 3, "epsilon": 0.0},
    "pca_multiview": {"mirrored_column_matches": [[0, 1], [2, 3]], "epsilon": 0.0},
}
LOSSES = [
    name
    for name in lploss.list_losses()
    if lploss.load_loss(name).__module__.startswith("lploss_builtin")
]


def labels(num_frames: int = 40, num_keypoints: int = 4) -> Tensor:
    """Poses that fill all dimensions, so that no error is zero by chance."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(2 * num_keypoints, 2 * num_keypoints, generator=generator)
    noise = torch.randn(num_frames, 2 * num_keypoints, generator=generator)
    return 100 + 20 * noise @ mixing


def create(name: str, **params: object) -> lploss.Loss:
    fitted = {**PCA[name], "data_module": labels()} if name in PCA else {}
    return lploss.create_loss(name, **{**fitted, **params})


def batch(
    num_frames: int = 6, num_keypoints: int = 4, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def maps() -> Tensor:
        logits = randn(num_frames, num_keypoints, 5 * 7)
        return logits.softmax(dim=-1).unflatten(-1, (5, 7))

    made = {
        "keypoints_targ": 100 + 20 * randn(num_frames, 2 * num_keypoints),
        "keypoints_pred": 100 + 20 * randn(num_frames, 2 * num_keypoints),
        "heatmaps_targ": maps(),
        "heatmaps_pred": maps(),
        "confidences": randn(num_frames, num_keypoints).sigmoid(),
        "keypoints_targ_3d": randn(num_frames, num_keypoints, 3),
        "keypoints_pred_3d": randn(num_frames, 3, num_keypoints, 3),
        # In or near maps of 5 x 7, which stand for images of 20 x 28.
        "keypoints_pred_2d_reprojected": 10 + 3 * randn(num_frames, num_keypoints, 2),
        "keypoints_pred_from_all_views": 100 + 20 * randn(num_frames, 2 * num_keypoints),
    }
    made = {name: value.to(dtype) for name, value in made.items()}
    for name in made:
        if "_pred" in name:
            made[name].requires_grad_()
    return made


def prediction_of(loss: lploss.Loss) -> str:
    return next(name for name in loss.inputs if "_pred" in name)
