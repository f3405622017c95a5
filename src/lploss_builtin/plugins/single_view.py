"""Models that see each view by itself."""

from __future__ import annotations

from lploss import ModelSpec, hookimpl

_MODELS = "lploss_builtin.models"


@hookimpl
def lploss_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "heatmap",
            f"{_MODELS}.heatmap:HeatmapModel",
            "a heatmap for each keypoint of each view",
            requires=("mvt",),
        ),
        ModelSpec(
            "heatmap_mhcrnn",
            f"{_MODELS}.heatmap_mhcrnn:HeatmapMHCRNN",
            "heatmaps of each frame alone and of five frames, the more confident ones win",
            requires=("mvt",),
        ),
        ModelSpec(
            "regression",
            f"{_MODELS}.regression:RegressionModel",
            "keypoints straight from the features of each view, without heatmaps",
            requires=("mvt",),
        ),
    ]
