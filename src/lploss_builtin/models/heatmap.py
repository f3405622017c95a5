"""Keypoints from heatmaps, each view by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lploss_builtin.models.heads import HeatmapHead
from lploss_builtin.models.pose_model import Images, PoseModel, as_float
from lploss_builtin.models.prediction import Prediction
from lploss_builtin.ops import affine
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from lploss_builtin.ops.soft_argmax import soft_argmax

Heatmaps = Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"]


class HeatmapModel(PoseModel):
    """A backbone and a head that finds a heatmap for each keypoint, view by view.

    Args:
        num_keypoints: of one view.
        num_views: how many views a batch holds.
        backbone: a name such as ``vits_dino`` or ``resnet50``, or a network of timm.
        image_size: height and width of the images, px; others are taken, too.
        downsample_factor: the images are about ``2**downsample_factor`` times as large as the
            maps.
        sigma: standard deviation of the target heatmaps, above 0, heatmap px.
        pretrained: whether the backbone's weights are those that timm knows.
        backbone_checkpoint: file of weights for the backbone instead.
        backbone_params: more arguments for timm, such as ``depth``.
        gradient_checkpointing: whether the backbone's blocks are computed once more in the
            backward pass, which saves memory.

    Raises:
        ArgumentValueError: an argument cannot be used.
        MissingWeightsError: the pretrained weights cannot be had.

    Example:
        >>> small = {"depth": 1, "embed_dim": 32, "num_heads": 2}
        >>> model = HeatmapModel(
        ...     num_keypoints=5, num_views=2, image_size=(64, 64), pretrained=False,
        ...     backbone_params=small,
        ... )
        >>> model(torch.rand(3, 2, 3, 64, 64)).shape
        torch.Size([3, 10, 16, 16])
    """

    def __init__(
        self,
        *,
        num_keypoints: int,
        num_views: int = 1,
        backbone: str = "vits_dino",
        image_size: tuple[int, int] = (256, 256),
        downsample_factor: int = 2,
        sigma: float = 1.25,
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        backbone_params: Mapping[str, Any] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(
            num_keypoints=num_keypoints,
            num_views=num_views,
            backbone=backbone,
            image_size=image_size,
            pretrained=pretrained,
            backbone_checkpoint=backbone_checkpoint,
            backbone_params=backbone_params,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.downsample_factor, self.sigma = downsample_factor, sigma
        self.head = self.make_head(self.backbone.embed_dim)
        self.prepare_views()

    def make_head(self, dim: int) -> HeatmapHead:
        """Return a new head for features of this length."""
        return HeatmapHead(
            dim=dim,
            patch_size=max(self.backbone.patch_size),
            num_keypoints=self.num_keypoints,
            downsample_factor=self.downsample_factor,
        )

    def heatmap_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the maps of an image."""
        rows, columns = self.backbone.grid_size(height, width)
        return rows * self.head.upsampling, columns * self.head.upsampling

    def forward(self, images: Images, views: Sequence[int] | None = None) -> Heatmaps:
        """Return the heatmaps; the arguments are those of `predict`."""
        chosen = self.checked_views(images, views)
        features = self.features(as_float(images), chosen)
        maps = self.head(features.flatten(0, 1))
        return rearrange(maps, "(b v) k h w -> b (v k) h w", v=len(chosen))

    def predict(self, images: Images, views: Sequence[int] | None = None) -> Prediction:
        """Return heatmaps and the keypoints in them.

        Args:
            images: RGB; whole numbers 0 to 255, or floating-point numbers 0 to 1.
            views: which of the views the images are of, where a camera is missing; all in their
                order unless given.

        Raises:
            ShapeError: the images have other axes, or are not of so many views.
            ArgumentValueError: there is no such view, or one stands there twice.
        """
        return self.found_in(self(images, views), images)

    def found_in(self, heatmaps: Heatmaps, images: Tensor) -> Prediction:
        """Return the keypoints in heatmaps, px of the images that they are of."""
        found = soft_argmax(heatmaps, self.downsample_factor)
        # The factor is exact but where patches are no power of 2, or sides no multiple of one.
        scale_y, scale_x = (
            image / (2**self.downsample_factor * maps)
            for image, maps in zip(images.shape[-2:], heatmaps.shape[-2:], strict=True)
        )
        keypoints = found.keypoints
        if (scale_y, scale_x) != (1.0, 1.0):
            x, y = keypoints.unbind(-1)
            keypoints = torch.stack([x * scale_x, y * scale_y], dim=-1)
        return Prediction(heatmaps, keypoints, found.confidences)

    def targets(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return labels and target heatmaps."""
        targets = super().targets(batch)
        num_views, _, height, width = batch["images"].shape[1:]
        points = rearrange(targets["keypoints_targ"], "b (v k xy) -> b v k xy", v=num_views, xy=2)
        augmented = affine.transform(points, batch["affine"]) if "affine" in batch else points
        targets["heatmaps_targ"] = gaussian_heatmaps(
            augmented.flatten(1, 2),
            (height, width),
            self.heatmap_size(height, width),
            sigma=self.sigma,
            visibility=batch.get("visibility"),
        )
        return targets
