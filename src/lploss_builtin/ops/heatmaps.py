"""Differences and divergences between heatmaps: one value a map."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from kornia.losses import js_div_loss_2d, kl_div_loss_2d
from torch import Tensor
from torch.autograd.function import once_differentiable

from lploss_builtin.ops.precision import at_least_float32

# Keeps the logarithms of the divergences finite where a map is zero.
_SMALL = 1e-10
# The product of such a pixel and its logarithm is finite in float32, and so is a sum of those.
_LARGE = 1e30


class _SquaredError(torch.autograd.Function):
    """Sum of squared differences over a map.

    Pixels that are not finite make the value of their map not finite, and get a zero gradient.
    """

    @staticmethod
    def forward(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        difference = first - second
        return torch.linalg.vector_norm(difference, dim=(-2, -1)).square(), difference

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        # Its memory becomes that of the gradient, the first time that backward runs.
        ctx.difference = output[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, Tensor | None]:
        if grad is None:
            return None, None
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
    error: Tensor
    error, _ = _SquaredError.apply(at_least_float32(heatmaps_pred), at_least_float32(heatmaps_targ))
    return error


def kl_divergence(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return the Kullback-Leibler divergence KL(target || prediction) of each map, nats.

    Pixels that are not finite, or below zero, count as zero.

    Example:
        >>> kl_divergence(torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.25))
        tensor([[0.]])
    """
    pred, targ = _positive(heatmaps_pred), _positive(heatmaps_targ)
    return kl_div_loss_2d(pred, targ, reduction="none")


def js_divergence(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch num_keypoints"]:
    """Return the Jensen-Shannon divergence of each map, nats, at most ln 2.

    Pixels that are not finite, or below zero, count as zero.

    Example:
        >>> js_divergence(torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.25))
        tensor([[0.]])
    """
    pred, targ = _positive(heatmaps_pred), _positive(heatmaps_targ)
    return js_div_loss_2d(pred, targ, reduction="none")


def temporal_squared_error(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
    """Return the mean over the pixels of the squared difference from the frame before.

    Example:
        >>> temporal_squared_error(torch.eye(4).view(4, 1, 2, 2))
        tensor([[0.5000],
                [0.5000],
                [0.5000]])
    """
    return squared_error(heatmaps[:-1], heatmaps[1:]) / math.prod(heatmaps.shape[-2:])


def temporal_kl_divergence(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
    """Return KL(map || map of the frame before) of each map, nats.

    The logarithm of each map is taken once, for both of its neighbours. Pixels that are not finite,
    or below zero, count as zero.

    Example:
        >>> temporal_kl_divergence(torch.full((2, 1, 2, 2), 0.25))
        tensor([[0.]])
    """
    maps = _positive(heatmaps)
    logarithms = maps.log()
    return (maps[1:] * (logarithms[1:] - logarithms[:-1])).sum(dim=(-2, -1))


def is_finite(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Bool[Tensor, "batch num_keypoints"]:
    """Return which maps hold neither NaN nor infinity."""
    # Tensor.isfinite takes four operations, which is what counts where maps are few and small.
    return at_least_float32(heatmaps.detach()).sum(dim=(-2, -1)).abs() < math.inf


def is_labelled(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Bool[Tensor, "batch num_keypoints"]:
    """Return which target maps hold a label: those with a finite sum above zero.

    A map that is zero everywhere, or that holds NaN or an infinite value, does not.

    Example:
        >>> is_labelled(torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.25)], dim=1))
        tensor([[False,  True]])
    """
    total = at_least_float32(heatmaps_targ.detach()).sum(dim=(-2, -1))
    return (total > 0) & (total < math.inf)


def _positive(
    heatmaps: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
) -> Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"]:
    """Return the maps with finite logarithms where they are zero, below it, or not finite.

    The slope of the logarithm of a pixel is the reciprocal of the pixel, which float16 cannot hold
    for the smallest of its numbers. Below the smallest normal number of float16, where pixels have
    lost their digits, gradients of float16 maps are as large as they are at that number.
    """
    maps = at_least_float32(heatmaps).nan_to_num(0.0, 0.0, 0.0).clamp(0.0, _LARGE).add_(_SMALL)
    if heatmaps.dtype is not torch.float16:
        return maps
    values = maps.detach()
    factors = (values / torch.finfo(torch.float16).smallest_normal).clamp(max=1.0)
    # The difference is zero: the values stay the same, only their gradients are multiplied.
    return values + factors * (maps - values)
