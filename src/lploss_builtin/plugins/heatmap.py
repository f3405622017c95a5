"""Losses between heatmaps, and the heatmaps themselves."""

from __future__ import annotations

from lploss import InputSpec, LossSpec, hookimpl

_AXES = "batch num_keypoints heatmap_height heatmap_width"
_LOSSES = "lploss_builtin.losses.heatmap"
_STRATEGIES = "lploss_builtin.strategies"


@hookimpl
def lploss_losses() -> list[LossSpec]:
    return [
        LossSpec("heatmap_mse", f"{_LOSSES}:HeatmapMSELoss", "squared error between heatmaps"),
        LossSpec("heatmap_kl", f"{_LOSSES}:HeatmapKLLoss", "KL divergence between heatmaps"),
        LossSpec("heatmap_js", f"{_LOSSES}:HeatmapJSLoss", "JS divergence between heatmaps"),
    ]


@hookimpl
def lploss_inputs() -> list[InputSpec]:
    return [
        InputSpec(
            "heatmaps_targ",
            _AXES,
            "probability, sums to 1 over a map",
            "target heatmaps; a map that is zero everywhere is not labelled",
            missing="zeros",
            strategy=f"{_STRATEGIES}:heatmaps",
        ),
        InputSpec(
            "heatmaps_pred",
            _AXES,
            "probability, sums to 1 over a map",
            "predicted heatmaps",
            strategy=f"{_STRATEGIES}:heatmaps",
        ),
        InputSpec(
            "visibility",
            "batch num_keypoints",
            "0, 1 or 2",
            "of the labels: 0 not labelled, 1 occluded, 2 visible",
            missing=None,
            strategy=f"{_STRATEGIES}:visibility",
            constant=True,
        ),
    ]
