"""What all backbones have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Encodes images as a grid of features, one vector a patch of the image.

    Args:
        patch_size: height and width of the part of an image that a vector stands for, px.
        embed_dim: length of a vector.
        mean: of red, green and blue, 0 to 1, that images are normalised by.
        std: standard deviations likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        patch_size: tuple[int, int],
        embed_dim: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.patch_size, self.embed_dim = patch_size, embed_dim
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def grid_size(self, height: int, width: int) -> tuple[int, int]:
        """Return how many rows and columns of patches an image has."""
        return round(height / self.patch_size[0]) or 1, round(width / self.patch_size[1]) or 1

    def prepared(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 whole_height whole_width"]:
        """Return images normalised, and resized where their sides are no multiples of a patch.

        Args:
            images: RGB, 0 to 1.
        """
        images = (images - self.mean) / self.std
        rows, columns = self.grid_size(*images.shape[-2:])
        size = (rows * self.patch_size[0], columns * self.patch_size[1])
        if images.shape[-2:] == size:
            return images
        return nn.functional.interpolate(
            images, size, mode="bilinear", align_corners=False, antialias=True
        )

    @abstractmethod
    def forward(
        self, images: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views dim rows columns"]:
        """Return the features of images, each by itself.

        Args:
            images: RGB, 0 to 1.
        """
