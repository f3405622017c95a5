"""From features of patches to heatmaps."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lploss.errors import ArgumentValueError
from lploss_builtin.ops.precision import at_least_float32, without_autocast


class HeatmapHead(nn.Module):
    """Features, upsampled to one map of probabilities a keypoint.

    A pixel shuffle doubles the sides, and each transposed convolution doubles them once more.

    Args:
        dim: number of features, a multiple of 4.
        patch_size: side of the patches that the features are of, px of the image.
        num_keypoints: number of maps.
        downsample_factor: the image is about ``2**downsample_factor`` times as large as the maps;
            exactly, where ``patch_size`` is a power of 2.

    Raises:
        ArgumentValueError: an argument cannot be used.

    Example:
        >>> head = HeatmapHead(dim=32, patch_size=16, num_keypoints=5, downsample_factor=2)
        >>> head(torch.rand(2, 32, 4, 6)).shape
        torch.Size([2, 5, 16, 24])
    """

    def __init__(
        self, *, dim: int, patch_size: int, num_keypoints: int, downsample_factor: int = 2
    ) -> None:
        super().__init__()
        num_doublings = round(math.log2(patch_size)) - downsample_factor
        if num_doublings < 1:
            raise ArgumentValueError(
                f"downsample_factor must be at most {round(math.log2(patch_size)) - 1} for patches "
                f"of {patch_size} px, got {downsample_factor}"
            )
        if dim % 4:
            raise ArgumentValueError(f"dim must be a multiple of 4, got {dim}")
        #: How much larger the maps are than the grid of patches.
        self.upsampling = 2**num_doublings
        layers: list[nn.Module] = [nn.PixelShuffle(2)]
        channels = dim // 4
        for _ in range(num_doublings - 1):
            layers.append(
                nn.ConvTranspose2d(
                    channels, num_keypoints, 3, stride=2, padding=1, output_padding=1
                )
            )
            channels = num_keypoints
        if num_doublings == 1:
            layers.append(nn.Conv2d(channels, num_keypoints, 1))
        for layer in layers[1:]:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers)

    def forward(
        self, features: Float[Tensor, "batch dim rows columns"]
    ) -> Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"]:
        """Return maps that sum to 1, at least in float32."""
        logits = self.layers(features)
        with without_autocast(logits.device):
            return torch.softmax(at_least_float32(logits).flatten(2), dim=2).view_as(logits)
