"""What lploss finds here. Strings only: listing the models must not import torch."""

from __future__ import annotations

from lploss import ModelSpec, hookimpl


@hookimpl
def lploss_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "heatmap_unet",
            "lploss_unet.unet:UNet",
            "a small U-Net that sees each view by itself, for a CPU",
        )
    ]
