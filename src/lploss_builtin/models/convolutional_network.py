"""Convolutional networks of timm, as encoders of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lploss.errors import ArgumentValueError, first_line
from lploss_builtin.models.backbone import Backbone
from lploss_builtin.models.timm_networks import CONVOLUTIONAL_NAMES, create_network

# An image of this side tells how large the last grid of features is; its classifier is not asked.
_PROBE_SIZE = 128


class ConvolutionalNetwork(Backbone):
    """A convolutional network without what comes after its last grid of features.

    Args:
        backbone: a name such as ``resnet50`` or ``efficientnet_b0``, or that of any network of
            timm whose features are a grid.
        pretrained: whether its weights are those that timm knows.
        checkpoint_path: file of weights to load instead, in a format that timm reads.
        gradient_checkpointing: whether layers are computed once more in the backward pass, which
            saves memory.
        params: more arguments for timm, such as ``drop_path_rate``.

    Raises:
        ArgumentValueError: timm has no such model, or it has no grid of features, or a parameter
            cannot be used.
        MissingWeightsError: the weights cannot be had.

    Example:
        >>> backbone = ConvolutionalNetwork("resnet18", pretrained=False)
        >>> backbone(torch.rand(2, 1, 3, 64, 96)).shape, backbone.patch_size
        (torch.Size([2, 1, 512, 2, 3]), (32, 32))
    """

    def __init__(
        self,
        backbone: str,
        *,
        pretrained: bool = True,
        checkpoint_path: str | None = None,
        gradient_checkpointing: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        network = create_network(
            backbone,
            {},
            lambda network: _check(backbone, network),
            what="a convolutional network",
            pretrained=pretrained,
            checkpoint_path=checkpoint_path,
            params=params or {},
        )
        dim, rows, columns = _probed(network).shape[1:]
        config = network.pretrained_cfg
        patch_size = (_PROBE_SIZE // rows, _PROBE_SIZE // columns)
        super().__init__(patch_size, dim, config["mean"], config["std"])
        self.network = network
        _freeze_what_is_not_used(network)
        if gradient_checkpointing:
            network.set_grad_checkpointing(True)

    def forward(
        self, images: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views dim rows columns"]:
        """Return the features of images, each by itself."""
        features = self.network.forward_features(self.prepared(images.flatten(0, 1)))
        return features.unflatten(0, images.shape[:2])


def _probed(network: Any) -> Tensor:
    """Return the features of an empty image."""
    was_training = network.training
    network.eval()
    try:
        features: Tensor = network.forward_features(torch.zeros(1, 3, _PROBE_SIZE, _PROBE_SIZE))
    finally:
        network.train(was_training)
    return features


def _freeze_what_is_not_used(network: nn.Module) -> None:
    """Freeze the parameters after the last grid of features, which would get no gradient."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        gradients = torch.autograd.grad(_probed(network).sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _check(backbone: str, network: Any) -> None:
    problem = None
    try:
        with torch.no_grad():
            shape = tuple(_probed(network).shape)
    except Exception as error:  # whatever layers raise that need images of another size
        problem = first_line(error)
    else:
        if len(shape) != 4 or shape[1] != network.num_features:
            problem = f"its features have shape {shape}"
    if problem is not None:
        raise ArgumentValueError(
            f"the backbone {backbone!r} is a {type(network).__name__}, which gives no grid of "
            f"features for images of {_PROBE_SIZE} px: {problem}. Take one of "
            f"{', '.join(CONVOLUTIONAL_NAMES)}, or a vision transformer."
        )
