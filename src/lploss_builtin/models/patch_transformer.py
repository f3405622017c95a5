"""Vision transformers of timm, as encoders of the patches of one image or of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lploss.errors import ArgumentValueError
from lploss_builtin.models.backbone import Backbone
from lploss_builtin.models.timm_networks import TIMM_NAMES, create_network


class PatchTransformer(Backbone):
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
        vit = create_network(
            backbone,
            {"img_size": image_size, "dynamic_img_size": True},
            lambda network: _check(backbone, network),
            what="a vision transformer",
            pretrained=pretrained,
            checkpoint_path=checkpoint_path,
            params=params or {},
        )
        config = vit.pretrained_cfg
        patch_height, patch_width = vit.patch_embed.patch_size
        super().__init__((patch_height, patch_width), vit.embed_dim, config["mean"], config["std"])
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

    def embed(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch num_patches dim"], Tensor | None]:
        """Return the patches of images as vectors, with their positions.

        Args:
            images: RGB, 0 to 1; resized where their sides are no multiples of a patch.

        Returns:
            The vectors, row after row; and where the backbone has some, rotary embeddings.
        """
        vit = self.vit
        embedded = vit._pos_embed(vit.patch_embed(self.prepared(images)))
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


def _check(backbone: str, network: nn.Module) -> None:
    if not isinstance(network, VisionTransformer | Eva):
        raise ArgumentValueError(
            f"the backbone {backbone!r} is a {type(network).__name__}, and must be a vision "
            f"transformer: one of {', '.join(TIMM_NAMES)}, or another one of timm"
        )
