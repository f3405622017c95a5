"""The multi-view transformer."""

from __future__ import annotations

from lploss import ModelSpec, hookimpl

_MODELS = "lploss_builtin.models"


@hookimpl
def lploss_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "heatmap_multiview_transformer",
            f"{_MODELS}.multiview_transformer:HeatmapMultiviewTransformer",
            "a vision transformer in which the patches of all views attend to each other",
            requires=("mvt",),
        ),
    ]
