"""Keypoints from heatmaps, where all views are seen together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lploss.errors import ArgumentValueError
from lploss_builtin.models.heatmap import HeatmapModel
from lploss_builtin.models.patch_transformer import PatchTransformer
from lploss_builtin.models.timm_networks import TIMM_NAMES, is_patch_transformer

_STANDARD_DEVIATION = 0.02


class HeatmapMultiviewTransformer(HeatmapModel):
    """A vision transformer in which the patches of all views attend to each other.

    To the patches of each view a vector is added that is learned for this view, so that the
    network can tell the cameras apart. What one view cannot see, the others tell. Where a camera
    is missing, the other views are predicted without it, by the same weights.

    The arguments are those of `HeatmapModel`; ``num_views`` is that of the training. The backbone
    must be a vision transformer.

    Raises:
        ArgumentValueError: the backbone is a convolutional network, or an argument cannot be used.
        MissingWeightsError: the pretrained weights cannot be had.

    Source: the multi-view transformer of Lightning Pose.

    Example:
        >>> small = {"depth": 1, "embed_dim": 32, "num_heads": 2}
        >>> model = HeatmapMultiviewTransformer(
        ...     num_keypoints=5, num_views=3, image_size=(64, 64), pretrained=False,
        ...     backbone_params=small,
        ... )
        >>> model(torch.rand(1, 2, 3, 64, 64), views=[0, 2]).shape
        torch.Size([1, 10, 16, 16])
    """

    backbone: PatchTransformer

    def check_backbone(self, backbone: str) -> None:
        """Check that a backbone has patches that can attend to each other."""
        if not is_patch_transformer(backbone):
            raise ArgumentValueError(
                f"the backbone {backbone!r} has no patches that attend to those of other views. "
                f"Take a vision transformer ({', '.join(TIMM_NAMES)}), or the model 'heatmap', "
                "which sees each view by itself and takes any backbone."
            )

    def prepare_views(self) -> None:
        """Make a vector for each view."""
        self.view_embeddings = nn.Parameter(torch.empty(self.num_views, self.backbone.embed_dim))
        nn.init.normal_(self.view_embeddings, std=_STANDARD_DEVIATION)

    def features(
        self, images: Float[Tensor, "batch views 3 height width"], views: Sequence[int]
    ) -> Float[Tensor, "batch views dim rows columns"]:
        """Return the features of the patches of all views, each having seen all others."""
        num_views = len(views)
        rows, columns = self.backbone.grid_size(images.shape[-2], images.shape[-1])
        tokens, rotary = self.backbone.embed(images.flatten(0, 1))
        tokens = rearrange(tokens, "(b v) n d -> b v n d", v=num_views)
        of_views = torch.stack([self.view_embeddings[view] for view in views])
        tokens = tokens + of_views[:, None, :]
        encoded = self.backbone.encode(tokens.flatten(1, 2), rotary)
        return rearrange(
            encoded, "b (v row col) d -> b v d row col", v=num_views, row=rows, col=columns
        )
