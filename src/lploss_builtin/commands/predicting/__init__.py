"""Predicting keypoints in images, with a trained model."""

from __future__ import annotations

from lploss_builtin.commands.predicting.frame_predictions import FramePredictions, predict_frames
from lploss_builtin.commands.predicting.runner import predict_files
from lploss_builtin.commands.predicting.summary import PredictionSummary

__all__ = [
    "FramePredictions",
    "PredictionSummary",
    "predict_files",
    "predict_frames",
]
