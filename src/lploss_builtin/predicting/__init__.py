"""Predicting keypoints in images and videos, with a trained model."""

from __future__ import annotations

from lploss_builtin.predicting.frame_predictions import FramePredictions, predict_frames
from lploss_builtin.predicting.labelled_video import LabelledVideo, write_labelled_video
from lploss_builtin.predicting.predict_recording import predict_recording
from lploss_builtin.predicting.recording_plan import PredictOptions, Recording, RecordingPlan
from lploss_builtin.predicting.runner import predict_files
from lploss_builtin.predicting.summary import PredictedRecording, PredictionSummary

__all__ = [
    "FramePredictions",
    "LabelledVideo",
    "PredictOptions",
    "PredictedRecording",
    "PredictionSummary",
    "Recording",
    "RecordingPlan",
    "predict_files",
    "predict_frames",
    "predict_recording",
    "write_labelled_video",
]
