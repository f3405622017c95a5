"""The input of the loss, derived from keypoints."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def keypoint_distances_pred(
    keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
) -> Float[Tensor, "batch num_keypoints num_keypoints"]:
    """Return the distance of each keypoint from each other one, px.

    A keypoint that is not finite has a distance of NaN, and gets no gradient. Neither do two
    keypoints at the same place: nothing says in which direction they should part.

    Example:
        >>> keypoint_distances_pred(torch.tensor([[0.0, 0.0, 3.0, 4.0]]))
        tensor([[[0., 5.],
                 [5., 0.]]])
    """
    points = torch.unflatten(keypoints_pred, 1, (-1, 2))
    is_there = points.isfinite().all(dim=2)
    # Replaced before any arithmetic: a NaN that is only masked would still spoil the gradient.
    points = points.nan_to_num(0.0, 0.0, 0.0)
    distances = torch.linalg.vector_norm(points[:, :, None] - points[:, None], dim=3)
    return distances.masked_fill(~(is_there[:, :, None] & is_there[:, None]), torch.nan)
