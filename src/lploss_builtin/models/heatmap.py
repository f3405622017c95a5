"""Keypoints from heatmaps, each view by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Num
from torch import Tensor, nn

from lploss.errors import ArgumentValueError, MissingInputError, ShapeError
from lploss_builtin.models.backbones import PatchTransformer
from lploss_builtin.models.heads import HeatmapHead
from lploss_builtin.ops import affine
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from lploss_builtin.ops.soft_argmax import soft_argmax

#: What a batch may hold that is handed on to the losses as it is.
_HANDED_ON = ("bbox", "image_size", "intrinsics", "extrinsics", "distortions")

Images = Num[Tensor, "batch views 3 height width"]


class Prediction(NamedTuple):
    """Where keypoints are.

    Attributes:
        heatmaps: probabilities; each map sums to 1.
        keypoints: x and y, px in the model's input image.
        confidences: 0 to 1.
    """

    heatmaps: Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"]
    keypoints: Float[Tensor, "batch views_x_num_keypoints 2"]
    confidences: Float[Tensor, "batch views_x_num_keypoints"]


class HeatmapTransformer(nn.Module):
    """A vision transformer and a head that finds a heatmap for each keypoint, view by view.

    Args:
        num_keypoints: of one view.
        num_views: how many views a batch holds.
        backbone: a name such as ``vits_dino``, or a vision transformer of timm.
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
        >>> model = HeatmapTransformer(
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
        super().__init__()
        for what, number in {"num_keypoints": num_keypoints, "num_views": num_views}.items():
            if number < 1:
                raise ArgumentValueError(f"{what} must be at least 1, got {number}")
        self.num_keypoints, self.num_views = num_keypoints, num_views
        self.downsample_factor, self.sigma = downsample_factor, sigma
        self.backbone = PatchTransformer(
            backbone,
            image_size,
            pretrained=pretrained,
            checkpoint_path=backbone_checkpoint,
            gradient_checkpointing=gradient_checkpointing,
            params=backbone_params,
        )
        self.head = HeatmapHead(
            dim=self.backbone.embed_dim,
            patch_size=max(self.backbone.patch_size),
            num_keypoints=num_keypoints,
            downsample_factor=downsample_factor,
        )
        self.prepare_views()

    def prepare_views(self) -> None:
        """Make what is learned for single views: nothing, where views are seen by themselves."""

    def heatmap_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the maps of an image."""
        rows, columns = self.backbone.grid_size(height, width)
        return rows * self.head.upsampling, columns * self.head.upsampling

    def features(
        self, images: Float[Tensor, "batch views 3 height width"], views: Sequence[int]
    ) -> Float[Tensor, "batch views dim rows columns"]:
        """Return the features of the patches of all views."""
        return self.backbone(images)

    def forward(
        self, images: Images, views: Sequence[int] | None = None
    ) -> Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"]:
        """Return the heatmaps.

        Args:
            images: RGB; whole numbers 0 to 255, or floating-point numbers 0 to 1.
            views: which of the views the images are of, where a camera is missing; all in their
                order unless given.

        Raises:
            ShapeError: the images have other axes, or are not of so many views.
            ArgumentValueError: there is no such view, or one stands there twice.
        """
        chosen = self._checked_views(images, views)
        features = self.features(as_float(images), chosen)
        maps = self.head(features.flatten(0, 1))
        return rearrange(maps, "(b v) k h w -> b (v k) h w", v=len(chosen))

    def predict(self, images: Images, views: Sequence[int] | None = None) -> Prediction:
        """Return heatmaps and the keypoints in them; the arguments are those of `forward`."""
        heatmaps = self(images, views)
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

    def get_loss_inputs_labeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of a labelled batch, in the vocabulary of the losses.

        Args:
            batch: ``images``, ``keypoints_targ`` (px in the original image), optionally
                ``visibility``, ``affine`` (from px of the original image to px of the images;
                the same px unless given), and what is known of crops and cameras.

        Returns:
            ``heatmaps_targ``, ``heatmaps_pred``, ``keypoints_targ``, ``keypoints_pred``,
            ``keypoints_pred_augmented``, ``confidences``, and what the batch holds of
            ``visibility``, ``bbox``, ``image_size``, ``intrinsics``, ``extrinsics`` and
            ``distortions``.

        Raises:
            MissingInputError: ``images`` or ``keypoints_targ`` is not there.
        """
        inputs = self.get_loss_inputs_unlabeled(batch)
        targets = _of(batch, "keypoints_targ")
        num_views = batch["images"].shape[1]
        points = rearrange(targets, "b (v k xy) -> b v k xy", v=num_views, xy=2)
        visibility = batch.get("visibility")
        height, width = batch["images"].shape[-2:]
        augmented = affine.transform(points, batch["affine"]) if "affine" in batch else points
        heatmaps_targ = gaussian_heatmaps(
            augmented.flatten(1, 2),
            (height, width),
            self.heatmap_size(height, width),
            sigma=self.sigma,
            visibility=visibility,
        )
        inputs |= {"heatmaps_targ": heatmaps_targ, "keypoints_targ": targets}
        if visibility is not None:
            inputs["visibility"] = visibility.to(targets.dtype)
        return inputs

    def get_loss_inputs_unlabeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of a batch without labels.

        Args:
            batch: that of `get_loss_inputs_labeled` without the labels.

        Raises:
            MissingInputError: ``images`` is not there.
        """
        images = _of(batch, "images")
        heatmaps, keypoints, confidences = self.predict(images)
        original = keypoints
        if "affine" in batch:
            by_view = rearrange(keypoints, "b (v k) xy -> b v k xy", v=images.shape[1])
            back = affine.inverse(batch["affine"])
            original = affine.transform(by_view, back).flatten(1, 2)
        return {
            "heatmaps_pred": heatmaps,
            "keypoints_pred": original.flatten(1),
            "keypoints_pred_augmented": keypoints.flatten(1),
            "confidences": confidences,
            **{name: batch[name] for name in _HANDED_ON if name in batch},
        }

    def _checked_views(self, images: Tensor, views: Sequence[int] | None) -> tuple[int, ...]:
        chosen = tuple(range(self.num_views)) if views is None else tuple(views)
        if len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(self.num_views)):
            raise ArgumentValueError(
                f"views must be different numbers of 0 to {self.num_views - 1}, got {list(chosen)}"
            )
        if images.ndim != 5 or images.shape[2] != 3:
            raise ShapeError(
                f"images must have axes (batch, views, 3, height, width), got shape "
                f"{tuple(images.shape)}"
            )
        if images.shape[1] != len(chosen):
            advice = "" if views else ": say by `views` which they are, where a camera is missing"
            raise ShapeError(
                f"images must be of {len(chosen)} views, got {images.shape[1]}{advice}"
            )
        return chosen


def as_float(images: Images) -> Float[Tensor, "batch views 3 height width"]:
    """Return images with values from 0 to 1.

    Example:
        >>> as_float(torch.full((1, 1, 3, 1, 1), 51, dtype=torch.uint8)).unique()
        tensor([0.2000])
    """
    return images if images.dtype.is_floating_point else images.float() / 255.0


def _of(batch: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in batch:
        raise MissingInputError(f"the batch must hold {name!r}, it holds {', '.join(batch)}")
    return batch[name]
