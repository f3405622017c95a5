"""What models find."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Prediction(NamedTuple):
    """Where keypoints are.

    Attributes:
        heatmaps: probabilities; each map sums to 1. ``None``: the model has no maps.
        keypoints: x and y, px in the model's input image.
        confidences: 0 to 1; NaN where the model cannot tell.
    """

    heatmaps: Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"] | None
    keypoints: Float[Tensor, "batch views_x_num_keypoints 2"]
    confidences: Float[Tensor, "batch views_x_num_keypoints"]
