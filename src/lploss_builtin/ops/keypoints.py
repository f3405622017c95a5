"""Keypoints as flattened coordinates ``x0 y0 x1 y1 ...``, and distances between them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lploss_builtin.ops.precision import at_least_float32

# Sums of some thousand such coordinates, and twice their differences, are finite in float32.
_LIMIT = 1e30


def split_xy(
    keypoints: Float[Tensor, "batch two_x_num_keypoints"],
) -> Float[Tensor, "batch num_keypoints 2"]:
    """Return the keypoints with an axis of their own for x and y.

    Example:
        >>> split_xy(torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
        tensor([[[0., 1.],
                 [2., 3.]]])
    """
    # Not einops, whose look-up of the pattern costs more than all else that a small pose needs.
    return torch.unflatten(keypoints, 1, (keypoints.shape[1] // 2, 2))


def is_present(
    keypoints: Float[Tensor, "batch two_x_num_keypoints"],
) -> Bool[Tensor, "batch num_keypoints"]:
    """Return which keypoints have two finite coordinates.

    Example:
        >>> is_present(torch.tensor([[0.0, 1.0, 2.0, float("nan")]]))
        tensor([[ True, False]])
    """
    # Tensor.isfinite takes four operations, which is what counts where poses are few. Not a sum,
    # which overflows where both coordinates are huge.
    return split_xy(at_least_float32(keypoints.detach())).abs().amax(dim=-1) < math.inf


def squared_error(
    keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
    keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return the squared error of each keypoint, the mean over x and y, px².

    Example:
        >>> squared_error(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[12.5000]])
    """
    difference = at_least_float32(keypoints_pred) - at_least_float32(keypoints_targ)
    return split_xy(difference).square().mean(dim=-1)


def distance(
    keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
    keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return how far each keypoint is from where it should be, px.

    The gradient at a perfect prediction is zero.

    Example:
        >>> distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[5.]])
    """
    difference = at_least_float32(keypoints_pred) - at_least_float32(keypoints_targ)
    return torch.linalg.vector_norm(split_xy(difference), dim=-1)


def root_mean_squared_error(
    keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
    keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return the root of `squared_error`, px: the `distance` divided by the root of two.

    The gradient at a perfect prediction is zero.

    Example:
        >>> root_mean_squared_error(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[3.5355]])
    """
    return distance(keypoints_targ, keypoints_pred) / math.sqrt(2)


def temporal_distance(
    keypoints: Float[Tensor, "batch two_x_num_keypoints"],
) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
    """Return how far each keypoint moves from one frame to the next, px.

    The gradient of a keypoint that does not move is zero. A single frame, or none, gives no
    element.

    Example:
        >>> temporal_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[5.]])
    """
    points = split_xy(at_least_float32(keypoints))
    return torch.linalg.vector_norm(points[1:] - points[:-1], dim=-1)


def without_gaps(
    keypoints: Float[Tensor, "batch two_x_num_keypoints"],
) -> Float[Tensor, "batch two_x_num_keypoints"]:
    """Return the keypoints with zero for what is not finite, and no gradient there.

    Coordinates are limited to -1e30 and 1e30 px. In float32 the squares of those are infinite, and
    so is a loss that counts them; but differences stay finite, so that an element that does not
    count gets a gradient of zero and not of NaN.

    Example:
        >>> without_gaps(torch.tensor([[1.0, 2.0, float("nan"), 3.0]]))
        tensor([[1., 2., 0., 3.]])
    """
    return at_least_float32(keypoints).nan_to_num(0.0, 0.0, 0.0).clamp(-_LIMIT, _LIMIT)


def with_previous(
    marked: Bool[Tensor, "batch num_keypoints"],
) -> Bool[Tensor, "batch_minus_1 num_keypoints"]:
    """Return which steps from one frame to the next touch a marked element.

    Example:
        >>> with_previous(torch.tensor([[True], [False], [False]]))
        tensor([[ True],
                [False]])
    """
    return marked[1:] | marked[:-1]
