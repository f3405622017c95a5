"""The backbone that a name stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lploss_builtin.models.backbone import Backbone
from lploss_builtin.models.convolutional_network import ConvolutionalNetwork
from lploss_builtin.models.patch_transformer import PatchTransformer
from lploss_builtin.models.timm_networks import is_patch_transformer


def make_backbone(
    backbone: str,
    image_size: tuple[int, int] = (256, 256),
    *,
    pretrained: bool = True,
    checkpoint_path: str | None = None,
    gradient_checkpointing: bool = False,
    params: Mapping[str, Any] | None = None,
) -> Backbone:
    """Return a vision transformer, or a convolutional network.

    Args:
        backbone: a name of Lightning Pose such as ``vits_dino`` or ``resnet50``, or that of a
            network of timm.
        image_size: height and width of the images that it is made for, px; it takes others, too.
        pretrained: whether its weights are those that timm knows.
        checkpoint_path: file of weights to load instead, in a format that timm reads.
        gradient_checkpointing: whether layers are computed once more in the backward pass, which
            saves memory.
        params: more arguments for timm.

    Raises:
        ArgumentValueError: timm has no such network, or it has no grid of features, or a parameter
            cannot be used.
        MissingWeightsError: the weights cannot be had.

    Example:
        >>> make_backbone("resnet18", pretrained=False).patch_size
        (32, 32)
    """
    given: dict[str, Any] = {
        "pretrained": pretrained,
        "checkpoint_path": checkpoint_path,
        "gradient_checkpointing": gradient_checkpointing,
        "params": params,
    }
    if is_patch_transformer(backbone):
        return PatchTransformer(backbone, image_size, **given)
    return ConvolutionalNetwork(backbone, **given)
