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
from torch.autograd.function import once_differentiable

from lploss.errors import ArgumentValueError
from lploss_builtin.ops import heatmaps
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

    Raises:
        ArgumentValueError: ``sigma`` is not above 0.

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

    The gradient is found along with the value, and nothing of the size of a map is kept for it;
    only where the targets need a gradient, too, the Gaussian maps are made after all. It can be
    differentiated once. A target that is not finite makes the value of its element not finite,
    and the gradient of the keypoint zero.

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
    size = (heatmaps_targ.shape[-2], heatmaps_targ.shape[-1])
    if heatmaps_targ.requires_grad:
        usable = heatmaps.is_finite(heatmaps_targ)[..., None]
        keypoints = torch.where(usable, keypoints, keypoints.detach())
        maps = gaussian_heatmaps(keypoints, image_size, size, sigma=sigma)
        return heatmaps.squared_error(heatmaps_targ, maps)
    x, y = _heatmap_coordinates(keypoints, image_size, size)
    needs_slope = keypoints.requires_grad and torch.is_grad_enabled()
    maps = at_least_float32(heatmaps_targ)
    dtype = torch.promote_types(maps.dtype, x.dtype)
    error: Tensor
    error, *_ = _GaussianSquaredError.apply(
        maps.to(dtype), x.to(dtype), y.to(dtype), sigma, needs_slope
    )
    return error


class _GaussianSquaredError(torch.autograd.Function):
    """Squared error between maps and Gaussians, and how it changes with the centres of these.

    With each profile ``g`` goes its derivative ``g'`` by the centre; the products of both with the
    maps and with each other are all that is asked for, so the maps are read twice in all.
    """

    @staticmethod
    def forward(
        maps: Tensor, x: Tensor, y: Tensor, sigma: float, needs_slope: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        height, width = maps.shape[-2:]
        inside = _is_along(x, width) & _is_along(y, height)
        with without_autocast(maps.device):
            along_y = _profile_and_slope(torch.where(inside, y, 0.0), height, sigma, needs_slope)
            along_x = _profile_and_slope(torch.where(inside, x, 0.0), width, sigma, needs_slope)
            products = along_y @ maps @ along_x.mT
            squared_y = along_y @ along_y[..., :1, :].mT
            squared_x = along_x @ along_x[..., :1, :].mT
        error = squared_y[..., 0, 0] * squared_x[..., 0, 0] - 2 * products[..., 0, 0]
        squared_norm = torch.linalg.vector_norm(maps, dim=(-2, -1)).square()
        error = (torch.where(inside, error, 0.0) + squared_norm).clamp(min=0)
        if not needs_slope:
            return error, error.new_empty(0), error.new_empty(0)
        slope_x = squared_y[..., 0, 0] * squared_x[..., 1, 0] - products[..., 0, 1]
        slope_y = squared_x[..., 0, 0] * squared_y[..., 1, 0] - products[..., 1, 0]
        usable = inside & error.isfinite()
        return error, torch.where(usable, 2 * slope_x, 0.0), torch.where(usable, 2 * slope_y, 0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, *slopes = output
        ctx.mark_non_differentiable(*slopes)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*slopes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None, None, None
        slope_x, slope_y = ctx.saved_tensors
        return None, grad * slope_x, grad * slope_y, None, None


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
    along_y = _profile(_offsets(torch.where(inside, y, 0.0), heatmap_size[0]), sigma)
    along_x = _profile(_offsets(torch.where(inside, x, 0.0), heatmap_size[1]), sigma)
    return along_y * inside[..., None], along_x


def _offsets(
    centres: Float[Tensor, "batch num_keypoints"], size: int
) -> Float[Tensor, "batch num_keypoints size"]:
    """Return how far the pixels of a side are beyond each centre."""
    pixels = torch.arange(size, dtype=centres.dtype, device=centres.device)
    return pixels - centres[..., None]


def _profile(
    offsets: Float[Tensor, "batch num_keypoints size"], sigma: float
) -> Float[Tensor, "batch num_keypoints size"]:
    """Return a Gaussian of each row; it sums to 1."""
    if not sigma > 0:
        raise ArgumentValueError(f"sigma must be above 0, heatmap px, got {sigma!r}")
    # A softmax, for a narrow Gaussian between two pixels is zero on both: nothing to divide by.
    return (offsets.square() * (-0.5 / sigma**2)).softmax(dim=-1)


def _profile_and_slope(
    centres: Float[Tensor, "batch num_keypoints"], size: int, sigma: float, needs_slope: bool
) -> Float[Tensor, "batch num_keypoints one_or_two size"]:
    """Return a Gaussian about each centre, and if asked for its derivative by the centre."""
    offsets = _offsets(centres, size)
    profile = _profile(offsets, sigma)
    if not needs_slope:
        return profile[..., None, :]
    slope = profile * offsets
    # The profile has the sum 1 wherever its centre is, so its derivative has the sum 0.
    slope = torch.addcmul(slope, profile, slope.sum(dim=-1, keepdim=True), value=-1) / sigma**2
    return torch.stack([profile, slope], dim=-2)


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
