"""The model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Num
from torch import Tensor, nn

from lploss.errors import ArgumentValueError
from lploss_builtin.ops import affine
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from lploss_builtin.ops.soft_argmax import soft_argmax

# The maps have a fourth of the sides of the image: 2 to this power.
_DOWNSAMPLE_FACTOR = 2
# The coarsest features have an eighth of them.
_COARSEST = 8


class Prediction(NamedTuple):
    """Where keypoints are: this is what `predict` must return, in this order."""

    heatmaps: Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"]
    keypoints: Float[Tensor, "batch views_x_num_keypoints 2"]
    confidences: Float[Tensor, "batch views_x_num_keypoints"]


class UNet(nn.Module):
    """A network of few layers that makes an image small, and its features half as small again.

    Args:
        num_keypoints: of one view.
        image_size: height and width of the images, px, multiples of 8.
        width: number of features at the start.

    Raises:
        ArgumentValueError: the image size is none that it can take.

    Example:
        >>> model = UNet(num_keypoints=5, image_size=(64, 96))
        >>> model(torch.zeros(3, 2, 3, 64, 96)).shape
        torch.Size([3, 10, 16, 24])
    """

    def __init__(
        self, *, num_keypoints: int, image_size: tuple[int, int] = (256, 256), width: int = 16
    ) -> None:
        super().__init__()
        if any(side % _COARSEST for side in image_size):
            raise ArgumentValueError(
                f"image_size must be multiples of {_COARSEST} px, got {tuple(image_size)}"
            )
        self.to_half = _layers(3, width, stride=2)
        self.to_quarter = _layers(width, 2 * width, stride=2)
        self.to_eighth = _layers(2 * width, 4 * width, stride=2)
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.head = nn.Conv2d(4 * width, num_keypoints, 3, padding=1)

    def forward(
        self, images: Num[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"]:
        """Return the heatmaps.

        Args:
            images: RGB, whole numbers 0 to 255 or floating-point numbers 0 to 1.
        """
        if not images.dtype.is_floating_point:
            images = images.float() / 255
        fine = self.to_quarter(self.to_half(images.flatten(0, 1) - 0.5))
        maps = self.head(torch.cat([fine, self.up(self.to_eighth(fine))], dim=1))
        # In half precision, maps would not sum to 1.
        probabilities = maps.float().flatten(2).softmax(dim=2).view_as(maps)
        return rearrange(probabilities, "(b v) k h w -> b (v k) h w", v=images.shape[1])

    def predict(
        self,
        images: Num[Tensor, "batch views 3 height width"],
        views: Sequence[int] | None = None,
    ) -> Prediction:
        """Return heatmaps, keypoints (px in the images) and confidences.

        Args:
            images: RGB.
            views: which views the images are of, where some are missing; here all are seen alike.
        """
        heatmaps = self(images)
        found = soft_argmax(heatmaps, _DOWNSAMPLE_FACTOR)
        return Prediction(heatmaps, found.keypoints, found.confidences)

    def get_loss_inputs_unlabeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of frames without labels."""
        found = self.predict(batch["images"])
        # Losses compare keypoints in px of the original images, where augmentation is undone.
        by_view = rearrange(found.keypoints, "b (v k) xy -> b v k xy", v=batch["images"].shape[1])
        original = affine.transform(by_view, affine.inverse(batch["affine"]))
        cameras = ("intrinsics", "extrinsics", "distortions")
        return {
            "heatmaps_pred": found.heatmaps,
            "keypoints_pred": original.flatten(1),
            "keypoints_pred_augmented": found.keypoints.flatten(1),
            "confidences": found.confidences,
            **{n: batch[n] for n in ("bbox", "image_size", *cameras) if n in batch},
        }

    def get_loss_inputs_labeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of labelled frames."""
        inputs = self.get_loss_inputs_unlabeled(batch)
        images, labels = batch["images"], batch["keypoints_targ"]
        points = rearrange(labels, "b (v k xy) -> b v k xy", v=images.shape[1], xy=2)
        height, width = images.shape[-2:]
        heatmap_height, heatmap_width = inputs["heatmaps_pred"].shape[-2:]
        inputs["heatmaps_targ"] = gaussian_heatmaps(
            affine.transform(points, batch["affine"]).flatten(1, 2),
            (height, width),
            (heatmap_height, heatmap_width),
            visibility=batch["visibility"],
        )
        return {**inputs, "keypoints_targ": labels, "visibility": batch["visibility"].float()}


def _layers(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1),
        nn.GroupNorm(4, after),
        nn.GELU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.GroupNorm(4, after),
        nn.GELU(),
    )
