"""Networks small enough for tests, of each kind of backbone."""

from __future__ import annotations

from typing import Any

SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2}

#: Of each kind: class token; register tokens and layer scale; rotary embeddings.
BACKBONES = ("vits_dino", "vit_small_patch14_reg4_dinov2", "vits_dinov3")


def small(backbone: str = "vits_dino", **params: Any) -> dict[str, Any]:
    """Return arguments for a small model."""
    return {
        "num_keypoints": 3,
        "num_views": 3,
        "image_size": (64, 96),
        "backbone": backbone,
        "pretrained": False,
        "backbone_params": SMALL,
        **params,
    }
