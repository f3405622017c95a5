"""Heatmaps that are a Gaussian about a keypoint, and their distance from other heatmaps.

A coordinate of a heatmap is one of the image times ``heatmap_size / image_size``; the pixel in row
``i`` and column ``j`` of the map stands for ``(x, y) = (j, i)``.

A Gaussian map is the product of a profile along y and one along x. All that is asked about maps is
answered from these profiles where that is possible, for they have some hundred numbers, not
thousands.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from lploss_builtin.ops.precision import at_least_float32, without_autocast

# Where a label may lie about the map and still count as inside, heatmap px.
_MARGIN = 1.0

_OCCLUDED = 1


def is_inside(
    keypoints: Float[Tensor, "batch num_keypoints 2"],
    image_size: tuple[int, int],
    heatmap_size: tuple[int, int],
) -> Bool[Tensor, "batch num_keypoints"]:
    """Return which keypoints lie in their map, or at most one heatmap px beside it.

    Args:
        keypoints: x and y, px in the model's input image; any value.
        image_size: height and width of that image, px.
        heatmap_size: height and width of the maps, px.

    Returns:
        ``(batch, num_keypoints)``; False where a coordinate is not finite.

    Example:
        >>> points = torch.tensor([[[255.0, 0.0], [270.0, 0.0], [torch.nan, 0.0]]])
        >>> is_inside(points, image_size=(256, 256), heatmap_size=(64, 64))
        tensor([[ True, False, False]])
    """
    x, y = _heatmap_coordinates(keypoints.detach(), image_size, heatmap_size)
    return _is_along(x, heatmap_size[1]) & _is_along(y, heatmap_size[0])


def gaussian_heatmaps(
    keypoints: Float[Tensor, "batch num_keypoints 2"],
    image_size: tuple[int, int],
    heatmap_size: tuple[int, int],
    *,
    sigma: float = 1.25,
    visibility: Num[Tensor, "batch num_keypoints"] | None = None,
) -> Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"]:
    r"""Return for each keypoint a map of probabilities about it.

    .. math:: g_{hw} \propto \exp(-((w - x)^2 + (h - y)^2) / (2 \sigma^2)), \quad \sum g_{hw} = 1

    A keypoint that is not `is_inside` has a map of zeros, which no loss takes for a label, and a
    gradient of zero.

    Args:
        keypoints: x and y, px in the model's input image; any value.
        image_size: height and width of that image, px.
        heatmap_size: height and width of the maps, px.
        sigma: standard deviation, heatmap px, above 0.
        visibility: 0 not labelled, a map of zeros; 1 occluded, a uniform map wherever the
            keypoint is; 2 visible, a Gaussian. All are visible unless given.

    Returns:
        ``(batch, num_keypoints, heatmap_height, heatmap_width)``, at least float32; each map
        sums to 1, or is zero.

    Example:
        >>> maps = gaussian_heatmaps(torch.tensor([[[8.0, 4.0]]]), (12, 16), (3, 4), sigma=0.5)
        >>> maps.round(decimals=2)
        tensor([[[[0.0000, 0.0100, 0.0800, 0.0100],
                  [0.0000, 0.0800, 0.6200, 0.0800],
                  [0.0000, 0.0100, 0.0800, 0.0100]]]])
    """
    along_y, along_x = _profiles(keypoints, image_size, heatmap_size, sigma)
    if visibility is not None:
        occluded, labelled = (visibility == _OCCLUDED)[..., None], (visibility != 0)[..., None]
        along_y = torch.where(occluded, 1 / heatmap_size[0], along_y) * labelled
        along_x = torch.where(occluded, 1 / heatmap_size[1], along_x)
    return along_y[..., :, None] * along_x[..., None, :]


def gaussian_squared_error(
    heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    keypoints: Float[Tensor, "batch num_keypoints 2"],
    image_size: tuple[int, int],
    *,
    sigma: float = 1.25,
) -> Float[Tensor, "batch num_keypoints"]:
    r"""Return the sum of squared differences between each map and the Gaussian about a keypoint.

    It is ``heatmaps.squared_error(heatmaps_targ, gaussian_heatmaps(keypoints, ...))``, and so the
    sum over the squared target where a keypoint is not `is_inside`; but no Gaussian map is made:

    .. math:: \|g_y g_x^T - t\|^2 = \|g_y\|^2 \|g_x\|^2 - 2 g_y^T t g_x + \|t\|^2

    It can be differentiated in both arguments. A target that is not finite makes the value
    of its element not finite, and gets a zero gradient, as does the keypoint.

    Args:
        heatmaps_targ: the maps to compare with.
        keypoints: x and y, px in the model's input image; any value.
        image_size: height and width of that image, px.
        sigma: standard deviation of the Gaussian, heatmap px, above 0.

    Returns:
        ``(batch, num_keypoints)``, probability², at least float32. The rounding is that of the
        squared target: in float32 some 1e-8.

    Example:
        >>> points = torch.tensor([[[8.0, 4.0], [torch.nan, 4.0]]])
        >>> error = gaussian_squared_error(torch.full((1, 2, 3, 4), 1 / 12), points, (12, 16))
        >>> error.round(decimals=4)
        tensor([[0.0144, 0.0833]])
    """
    heatmaps_targ = at_least_float32(heatmaps_targ)
    size = (heatmaps_targ.shape[-2], heatmaps_targ.shape[-1])
    along_y, along_x = _profiles(keypoints, image_size, size, sigma)
    error: Tensor
    error, _ = _ProductSquaredError.apply(heatmaps_targ, along_y, along_x)
    return error


class _ProductSquaredError(torch.autograd.Function):
    """Squared error between maps and the products of two profiles: two passes, and one back."""

    @staticmethod
    def forward(maps: Tensor, along_y: Tensor, along_x: Tensor) -> tuple[Tensor, Tensor]:
        seen_along_x = _times_rows(along_x, maps.mT)
        error = (
            _squared_norm(along_y) * _squared_norm(along_x)
            - 2 * (along_y * seen_along_x).sum(dim=-1)
            + torch.linalg.vector_norm(maps, dim=(-2, -1)).square()
        )
        return error.clamp(min=0), seen_along_x

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, _: None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if grad is None:
            return None, None, None
        maps, along_y, along_x, error, seen_along_x = ctx.saved_tensors
        if torch.is_grad_enabled():  # for second derivatives, with its own share in them
            seen_along_x = _times_rows(along_x, maps.mT)
        slope, usable = 2 * grad[..., None], error.isfinite()[..., None]
        to_maps = to_y = to_x = None
        if ctx.needs_input_grad[0]:
            difference = maps - along_y[..., :, None] * along_x[..., None, :]
            to_maps = torch.where(usable[..., None], slope[..., None] * difference, 0.0)
        if ctx.needs_input_grad[1]:
            rest = along_y * _squared_norm(along_x)[..., None] - seen_along_x
            to_y = torch.where(usable, slope * rest, 0.0)
        if ctx.needs_input_grad[2]:
            rest = along_x * _squared_norm(along_y)[..., None] - _times_rows(along_y, maps)
            to_x = torch.where(usable, slope * rest, 0.0)
        return to_maps, to_y, to_x


def _profiles(
    keypoints: Float[Tensor, "batch num_keypoints 2"],
    image_size: tuple[int, int],
    heatmap_size: tuple[int, int],
    sigma: float,
) -> tuple[
    Float[Tensor, "batch num_keypoints heatmap_height"],
    Float[Tensor, "batch num_keypoints heatmap_width"],
]:
    """Return the factors of the Gaussian maps along y and x; along y zero for what is outside."""
    x, y = _heatmap_coordinates(keypoints, image_size, heatmap_size)
    inside = _is_along(x.detach(), heatmap_size[1]) & _is_along(y.detach(), heatmap_size[0])
    along_y = _profile(torch.where(inside, y, 0.0), heatmap_size[0], sigma)
    along_x = _profile(torch.where(inside, x, 0.0), heatmap_size[1], sigma)
    return along_y * inside[..., None], along_x


def _profile(
    centres: Float[Tensor, "batch num_keypoints"], size: int, sigma: float
) -> Float[Tensor, "batch num_keypoints size"]:
    """Return a Gaussian about each centre along one side of a map; it sums to 1."""
    pixels = torch.arange(size, dtype=centres.dtype, device=centres.device)
    # A softmax, for a narrow Gaussian between two pixels is zero on both: nothing to divide by.
    return ((pixels - centres[..., None]).square() * (-0.5 / sigma**2)).softmax(dim=-1)


def _heatmap_coordinates(
    keypoints: Float[Tensor, "batch num_keypoints 2"],
    image_size: tuple[int, int],
    heatmap_size: tuple[int, int],
) -> tuple[Float[Tensor, "batch num_keypoints"], Float[Tensor, "batch num_keypoints"]]:
    """Return x and y in heatmap px."""
    x, y = at_least_float32(keypoints).unbind(dim=-1)
    return x * (heatmap_size[1] / image_size[1]), y * (heatmap_size[0] / image_size[0])


def _is_along(
    coordinates: Float[Tensor, "batch num_keypoints"], size: int
) -> Bool[Tensor, "batch num_keypoints"]:
    return (coordinates >= -_MARGIN) & (coordinates <= size + _MARGIN)


def _times_rows(
    rows: Float[Tensor, "batch num_keypoints inner"],
    matrices: Float[Tensor, "batch num_keypoints inner outer"],
) -> Float[Tensor, "batch num_keypoints outer"]:
    """Return the product of each row vector with its matrix."""
    # The vector stands on the left: the other way round, the product takes three times as long.
    with without_autocast(rows.device):
        return (rows[..., None, :] @ matrices).squeeze(-2)


def _squared_norm(
    rows: Float[Tensor, "batch num_keypoints size"],
) -> Float[Tensor, "batch num_keypoints"]:
    return torch.linalg.vector_norm(rows, dim=-1).square()
