"""Networks of timm, with their weights, or an error that says how to come by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from lploss.errors import ArgumentValueError, MissingWeightsError, did_you_mean, first_line
from lploss.reading import check_file, reading

#: Vision transformers by the names that Lightning Pose gives them, and what timm calls them.
TIMM_NAMES: Mapping[str, str] = {
    "vits_dino": "vit_small_patch16_224.dino",
    "vitb_dino": "vit_base_patch16_224.dino",
    "vits_dinov2": "vit_small_patch14_dinov2.lvd142m",
    "vitb_dinov2": "vit_base_patch14_dinov2.lvd142m",
    "vits_dinov3": "vit_small_patch16_dinov3.lvd1689m",
    "vitb_dinov3": "vit_base_patch16_dinov3.lvd1689m",
    "vitb_imagenet": "vit_base_patch16_224.mae",
}

#: Convolutional networks that Lightning Pose knows; timm calls them the same.
CONVOLUTIONAL_NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
)

# Where timm keeps the transformers whose patches `PatchTransformer` can take apart.
_TRANSFORMERS = ("vision_transformer", "vision_transformer_hybrid", "deit", "eva")


def is_patch_transformer(backbone: str) -> bool:
    """Return whether a backbone is a plain vision transformer.

    Raises:
        ArgumentValueError: timm has no such network.

    Example:
        >>> is_patch_transformer("vits_dino"), is_patch_transformer("resnet18")
        (True, False)
    """
    module = timm.models.model_entrypoint(_timm_name(backbone)).__module__
    return module.rpartition(".")[2] in _TRANSFORMERS


def create_network(
    backbone: str,
    settings: Mapping[str, Any],
    check: Callable[[nn.Module], None],
    *,
    what: str,
    pretrained: bool,
    checkpoint_path: str | None,
    params: Mapping[str, Any],
) -> Any:
    """Return a network of timm without its classifier.

    Args:
        backbone: a name such as ``vits_dino`` or ``resnet50``, or any other of timm.
        settings: arguments for timm that the caller needs.
        check: raises where a network is of the wrong kind.
        what: the kind that the caller needs, for messages.
        pretrained: whether its weights are those that timm knows.
        checkpoint_path: file of weights to load instead, in a format that timm reads.
        params: more arguments for timm.

    Raises:
        ArgumentValueError: timm has no such network, or cannot make it so.
        MissingWeightsError: the weights cannot be had.
    """
    name, given = _timm_name(backbone), dict(params)
    if checkpoint_path is not None:
        _check_weights(Path(checkpoint_path))
        given["pretrained_cfg_overlay"] = {"file": str(checkpoint_path)}
    random_state = torch.get_rng_state()
    try:
        network = timm.create_model(name, pretrained=False, num_classes=0, **settings, **given)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ArgumentValueError(
            f"the backbone {backbone!r} cannot be made with {given or 'no parameters'}: "
            f"{first_line(error)}. Is it {what}?"
        ) from error
    check(network)
    if not pretrained and checkpoint_path is None:
        return network
    torch.set_rng_state(random_state)
    try:
        loaded = timm.create_model(name, pretrained=True, num_classes=0, **settings, **given)
    except Exception as error:  # whatever the hub's client, or a file, raises
        raise MissingWeightsError(_how_to_place(backbone, name, checkpoint_path, error)) from error
    if checkpoint_path is not None and (drawn := _still_as_drawn(network, loaded)):
        raise MissingWeightsError(
            f"the weights at {checkpoint_path} are not those of the backbone {backbone!r}: "
            f"{len(drawn)} of its layers are not there, {drawn[0]} for one"
        )
    return loaded


def _check_weights(path: Path) -> None:
    """Check that a file holds nothing but weights; old versions of timm run what is in pickles."""
    check_file(path, "the backbone checkpoint", MissingWeightsError)
    if path.suffix not in (".safetensors", ".npz"):
        with reading(path, "as weights", MissingWeightsError):
            torch.load(path, map_location="cpu", weights_only=True)


def _still_as_drawn(network: nn.Module, loaded: nn.Module) -> list[str]:
    """Return the weights that loading has not changed, of two networks drawn alike."""
    before = dict(network.named_parameters())
    return [
        name
        for name, parameter in loaded.named_parameters()
        # Others are not drawn, but begin as zeros or ones, which trained weights may be.
        if parameter.ndim > 1 and parameter.std() > 0 and torch.equal(parameter, before[name])
    ]


def _timm_name(backbone: str) -> str:
    name = TIMM_NAMES.get(backbone, backbone)
    if not timm.is_model(name):
        source_names = [*TIMM_NAMES, *CONVOLUTIONAL_NAMES]
        raise ArgumentValueError(
            f"there is no backbone {backbone!r}."
            f"{did_you_mean(backbone, [*source_names, *timm.list_models()])} Known: "
            f"{', '.join(source_names)}, and other networks of timm."
        )
    return name


def _how_to_place(backbone: str, name: str, path: str | None, error: Exception) -> str:
    if path is not None:
        return (
            f"the weights at {path} are not those of the backbone {backbone!r}: {first_line(error)}"
        )
    config = timm.get_pretrained_cfg(name)
    source = config.hf_hub_id if config else None
    at = f"https://huggingface.co/{source}" if source else "its publisher's"
    return (
        f"the pretrained weights of the backbone {backbone!r} ({name}) are neither in the cache "
        f"nor can they be downloaded: {first_line(error).rstrip('.')}. Run once with network; or "
        "copy the folder ~/.cache/huggingface of a machine that has them, or set HF_HOME to it; "
        f"or download them from {at} and give the file as model.backbone_checkpoint; or train "
        "from random weights: model.backbone_pretrained: false."
    )
