"""Vision transformers of timm, as encoders of the patches of one image or of several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from einops import rearrange
from jaxtyping import Float
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lploss.errors import ArgumentValueError, MissingWeightsError, did_you_mean, first_line

#: Names of backbones as Lightning Pose has them, and what timm calls them.
TIMM_NAMES: Mapping[str, str] = {
    "vits_dino": "vit_small_patch16_224.dino",
    "vitb_dino": "vit_base_patch16_224.dino",
    "vits_dinov2": "vit_small_patch14_dinov2.lvd142m",
    "vitb_dinov2": "vit_base_patch14_dinov2.lvd142m",
    "vits_dinov3": "vit_small_patch16_dinov3.lvd1689m",
    "vitb_dinov3": "vit_base_patch16_dinov3.lvd1689m",
    "vitb_imagenet": "vit_base_patch16_224.mae",
}


class PatchTransformer(nn.Module):
    """A vision transformer that keeps its patches, and may see those of several images at once.

    Class and register tokens are dropped before the first block: what is asked of the transformer
    is one vector a patch.

    Args:
        backbone: a name such as ``vits_dino``, or that of a vision transformer of timm.
        image_size: height and width of the images that it is made for, px; it takes others, too.
        pretrained: whether its weights are those that timm knows.
        checkpoint_path: file of weights to load instead, in a format that timm reads.
        gradient_checkpointing: whether blocks are computed once more in the backward pass, which
            saves memory.
        params: more arguments for timm, such as ``depth``.

    Raises:
        ArgumentValueError: timm has no such model, or it is no vision transformer, or a parameter
            cannot be used.
        MissingWeightsError: the weights cannot be had.

    Example:
        >>> small = {"depth": 1, "embed_dim": 32, "num_heads": 2}
        >>> backbone = PatchTransformer("vits_dino", (64, 96), pretrained=False, params=small)
        >>> tokens, _ = backbone.embed(torch.rand(2, 3, 64, 96))
        >>> tokens.shape, backbone.patch_size
        (torch.Size([2, 24, 32]), (16, 16))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        image_size: tuple[int, int] = (256, 256),
        *,
        pretrained: bool = True,
        checkpoint_path: str | None = None,
        gradient_checkpointing: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        vit = _created(backbone, image_size, pretrained, checkpoint_path, dict(params or {}))
        for block in vit.blocks:
            # Else it would leave the first patches where rotary embeddings do not turn them.
            if hasattr(block.attn, "num_prefix_tokens"):
                block.attn.num_prefix_tokens = 0
        for token in ("cls_token", "reg_token"):
            if getattr(vit, token, None) is not None:
                # Dropped below; else who looks for parameters without a gradient would find them.
                getattr(vit, token).requires_grad_(False)
        self.vit = vit
        self.gradient_checkpointing = gradient_checkpointing
        self.patch_size: tuple[int, int] = tuple(vit.patch_embed.patch_size)
        self.embed_dim: int = vit.embed_dim
        config = vit.pretrained_cfg
        for name in ("mean", "std"):
            values = torch.tensor(config[name])[:, None, None]
            self.register_buffer(name, values, persistent=False)

    def grid_size(self, height: int, width: int) -> tuple[int, int]:
        """Return how many rows and columns of patches an image has."""
        return round(height / self.patch_size[0]) or 1, round(width / self.patch_size[1]) or 1

    def embed(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch num_patches dim"], Tensor | None]:
        """Return the patches of images as vectors, with their positions.

        Args:
            images: RGB, 0 to 1; resized where their sides are no multiples of a patch.

        Returns:
            The vectors, row after row; and where the backbone has some, rotary embeddings.
        """
        images = (images - self.mean) / self.std
        rows, columns = self.grid_size(*images.shape[-2:])
        size = (rows * self.patch_size[0], columns * self.patch_size[1])
        if images.shape[-2:] != size:
            images = nn.functional.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=True
            )
        vit = self.vit
        embedded = vit._pos_embed(vit.patch_embed(images))
        tokens, rotary = embedded if isinstance(embedded, tuple) else (embedded, None)
        return vit.norm_pre(tokens[:, vit.num_prefix_tokens :]), rotary

    def encode(
        self,
        tokens: Float[Tensor, "batch num_tokens dim"],
        rotary: Tensor | None = None,
    ) -> Float[Tensor, "batch num_tokens dim"]:
        """Let all tokens of an element of the batch attend to each other, block after block.

        Args:
            tokens: of one image, or of several one after the other.
            rotary: what `embed` returned for one image.
        """
        has_one_a_block = bool(getattr(self.vit, "rope_mixed", False))
        if rotary is not None:
            # The patches of each image are turned alike.
            rotary = torch.cat([rotary] * (tokens.shape[1] // rotary.shape[-2]), dim=-2)
        for number, block in enumerate(self.vit.blocks):
            kwargs: dict[str, Any] = {}
            if rotary is not None:
                kwargs["rope"] = rotary[number] if has_one_a_block else rotary
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False, **kwargs)
            else:
                tokens = block(tokens, **kwargs)
        return self.vit.norm(tokens)

    def forward(
        self, images: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views dim rows columns"]:
        """Return the features of images, each by itself."""
        batch, views = images.shape[:2]
        rows, columns = self.grid_size(*images.shape[-2:])
        tokens = self.encode(*self.embed(images.flatten(0, 1)))
        return rearrange(
            tokens, "(b v) (row col) d -> b v d row col", b=batch, v=views, row=rows, col=columns
        )


def _created(
    backbone: str,
    image_size: tuple[int, int],
    pretrained: bool,
    checkpoint_path: str | None,
    params: dict[str, Any],
) -> Any:
    name = TIMM_NAMES.get(backbone, backbone)
    known = [*TIMM_NAMES, *timm.list_models("*vit*"), *timm.list_models("eva*")]
    if not timm.is_model(name):
        raise ArgumentValueError(
            f"there is no backbone {backbone!r}.{did_you_mean(backbone, known)} Known: "
            f"{', '.join(TIMM_NAMES)}, and the vision transformers of timm."
        )
    if checkpoint_path is not None:
        if not Path(checkpoint_path).is_file():
            raise MissingWeightsError(
                f"the weights of the backbone {backbone!r} must lie at {checkpoint_path}, where "
                "there is no file"
            )
        params["pretrained_cfg_overlay"] = {"file": str(checkpoint_path)}
    loads = pretrained or checkpoint_path is not None
    settings = {"img_size": image_size, "num_classes": 0, "dynamic_img_size": True}
    try:
        vit = timm.create_model(name, pretrained=False, **settings, **params)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ArgumentValueError(
            f"the backbone {backbone!r} cannot be made for images of {image_size} and with "
            f"{params or 'no parameters'}: {first_line(error)}. Is it a vision transformer?"
        ) from error
    if not isinstance(vit, VisionTransformer | Eva):
        raise ArgumentValueError(
            f"the backbone {backbone!r} is a {type(vit).__name__}, and must be a vision "
            f"transformer: one of {', '.join(TIMM_NAMES)}, or another one of timm"
        )
    if not loads:
        return vit
    try:
        return timm.create_model(name, pretrained=True, **settings, **params)
    except Exception as error:  # whatever the hub's client, or a file, raises
        raise MissingWeightsError(_how_to_place(backbone, name, checkpoint_path, error)) from error


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
