"""Differences and divergences between heatmaps: one value a map."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from kornia.losses import js_div_loss_2d, kl_div_loss_2d
from torch import Tensor
from torch.autograd.function import once_differentiable

# Keeps the logarithms of the divergences finite where a map is zero.
_SMALL = 1e-10


class _SquaredError(torch.autograd.Function):
    """Sum of squared differences over a map.

    Pixels that are not finite make the value of their map not finite, and get a zero gradient.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        difference = first - second
        ctx.save_for_backward(first, second)
        # Its memory becomes that of the gradient, the first time that backward runs.
        ctx.difference = difference
        return torch.linalg.vector_norm(difference, dim=(-2, -1)).square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        difference, ctx.difference = ctx.difference, None
        if difference is None:
            first, second = ctx.saved_tensors
            difference = first - second
        slope = difference.mul_(2 * grad[..., None, None]).nan_to_num_(0.0, 0.0, 0.0)
        return (
            slope if ctx.needs_input_grad[0] else None,
            -slope if ctx.needs_input_grad[1] else None,
        )


def squared_error(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return the sum of squared differences over the pixels of each map.

    It can be differentiated once.

    Example:
        >>> squared_error(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.25))
        tensor([[0.2500]])
    """
    error: Tensor = _SquaredError.apply(heatmaps_pred, heatmaps_targ)
    return error


def kl_divergence(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return the Kullback-Leibler divergence KL(target || prediction) of each map, nats.

    Example:
        >>> kl_divergence(torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.25))
        tensor([[0.]])
    """
    return kl_div_loss_2d(heatmaps_pred + _SMALL, heatmaps_targ + _SMALL, reduction="none")


def js_divergence(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return the Jensen-Shannon divergence of each map, nats, at most ln 2.

    Example:
        >>> js_divergence(torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.25))
        tensor([[0.]])
    """
    return js_div_loss_2d(heatmaps_pred + _SMALL, heatmaps_targ + _SMALL, reduction="none")


def temporal_squared_error(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
    """Return `squared_error` between each map and that of the frame before.

    Example:
        >>> temporal_squared_error(torch.eye(4).view(4, 1, 2, 2))
        tensor([[2.],
                [2.],
                [2.]])
    """
    return squared_error(heatmaps[:-1], heatmaps[1:])


def temporal_kl_divergence(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
    """Return KL(map || map of the frame before) of each map, nats.

    The logarithm of each map is taken once, for both of its neighbours.

    Example:
        >>> temporal_kl_divergence(torch.full((2, 1, 2, 2), 0.25))
        tensor([[0.]])
    """
    maps = heatmaps + _SMALL
    logarithms = maps.log()
    return (maps[1:] * (logarithms[1:] - logarithms[:-1])).sum(dim=(-2, -1))


def is_finite(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Bool[Tensor, "batch num_keypoints"]:
    """Return which maps hold neither NaN nor infinity."""
    # Tensor.isfinite takes four operations, which is what counts where maps are few and small.
    return heatmaps.detach().sum(dim=(-2, -1)).abs() < math.inf


def is_labelled(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Bool[Tensor, "batch num_keypoints"]:
    """Return which target maps hold a label: those that are not zero everywhere, nor NaN.

    Example:
        >>> is_labelled(torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.25)], dim=1))
        tensor([[False,  True]])
    """
    mass = heatmaps_targ.detach().sum(dim=(-2, -1))
    return (mass > 0) & (mass < math.inf)
