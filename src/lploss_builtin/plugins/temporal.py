"""Losses between consecutive frames, and the confidences that mask them."""

from __future__ import annotations

from lploss import InputSpec, LossSpec, hookimpl

_LOSSES = "lploss_builtin.losses.temporal"
_STRATEGIES = "lploss_builtin.strategies"


@hookimpl
def lploss_losses() -> list[LossSpec]:
    return [
        LossSpec("temporal", f"{_LOSSES}:TemporalLoss", "keypoints do not jump"),
        LossSpec(
            "temporal_heatmap_mse",
            f"{_LOSSES}:TemporalHeatmapMSELoss",
            "heatmaps do not jump, by squared error",
        ),
        LossSpec(
            "temporal_heatmap_kl",
            f"{_LOSSES}:TemporalHeatmapKLLoss",
            "heatmaps do not jump, by KL divergence",
        ),
    ]


@hookimpl
def lploss_inputs() -> list[InputSpec]:
    return [
        InputSpec(
            "confidences",
            "batch num_keypoints",
            "0 to 1",
            "how sure a prediction is",
            strategy=f"{_STRATEGIES}:confidences",
        ),
    ]
