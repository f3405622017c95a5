"""Predicting one recording completely, wherever its plan leads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from lploss_builtin.data.frames.video_nvidia import decoder_of
from lploss_builtin.predicting.labelled_video import write_labelled_video
from lploss_builtin.predicting.mean_value import MeanValue
from lploss_builtin.predicting.model_predictor import device_of
from lploss_builtin.predicting.outdated_files import (
    check_nothing_is_outdated,
    outdated_files,
)
from lploss_builtin.predicting.recording_plan import LabelledVideo, RecordingPlan
from lploss_builtin.predicting.recording_state import RecordingState
from lploss_builtin.predicting.recording_work import FrameProgress, RecordingWork
from lploss_builtin.predicting.summary import PredictedRecording


def trained_model(plan: RecordingPlan) -> nn.Module:
    """Return the model of a plan; the last one is kept, for other recordings in this process.

    Raises:
        ConfigError: the folder is none of a training, or its model is not known here.
    """
    return _trained_model(plan.run.absolute(), plan.checkpoint, plan.weights)


def predict_recording(
    plan: RecordingPlan,
    *,
    load_model: Callable[[RecordingPlan], nn.Module] = trained_model,
    progress: FrameProgress | None = None,
) -> PredictedRecording:
    """Predict a recording, and write all its files; they appear when all of them are complete.

    What is there already from the very same inputs is kept, and what was begun goes on behind its
    last complete batch: the files are the same, byte for byte, as without an interruption. Of two
    processes that get the same plan, one waits for the other, and then finds the files there.

    This is what a process of a cluster is to call: the plan is all that it needs.

    Args:
        plan: what to do; `lploss_builtin.predicting.video_plans.plan_recordings` makes
            the plans of a call.
        load_model: returns the model; called where a frame is to be predicted only.
        progress: called while it goes on.

    Returns:
        What was predicted.

    Raises:
        DataError: a video cannot be read.
        ConfigError: the run is no folder of a training.
        ArgumentValueError: the device or the output folder cannot be used, or files of earlier
            predictions, from other views, would stay beside the new ones.
        MissingDependencyError: NVIDIA's decoder is asked for and cannot be used.
    """
    # Lightning takes seconds.
    from lploss_builtin.training.run import TrainingRun

    config = TrainingRun(plan.run).config
    device = device_of(plan.device)
    plan = replace(plan, decoder=decoder_of(plan.decoder, device))
    inputs = plan.inputs(_settings(config), device.type)
    state = RecordingState(plan.out, plan.name)
    with state.alone():
        found = state.finished(inputs, partial(_as_noted, plan))
        if plan.overwrite or found is None or (found.unreadable and not plan.keep_going):
            work = RecordingWork(
                plan, config, state.unfinished, progress or (lambda num_done: None)
            )
            check_nothing_is_outdated([plan])
            state.begin(inputs, anew=plan.overwrite or not work.may_go_on)
            found = work.done(lambda: load_model(plan), device)
            outdated = outdated_files(plan, state) if plan.overwrite else ()
            state.finish(inputs, plan.all_files, _note(found), outdated=outdated)
        elif progress is not None:
            progress(plan.num_frames)
    if plan.video is None:
        return found
    start = time.perf_counter()
    drawn_share = _draw(plan, plan.video, inputs)
    return replace(
        found,
        files=(*found.files, *plan.video_files),
        drawing_seconds=time.perf_counter() - start,
        drawn_share=drawn_share,
    )


@lru_cache(maxsize=1)
def _trained_model(run: Path, checkpoint: str, weights: str) -> nn.Module:
    from lploss_builtin.training.run import TrainingRun

    return TrainingRun(run).model(checkpoint)


def _settings(config: DictConfig) -> dict[str, Any]:
    """Return what of the config the predictions hang on, beside the weights."""
    size = config.data.image_resize_dims
    return {
        "model_type": config.model.model_type,
        "image_size": [size.height, size.width],
        "keypoint_names": list(config.data.keypoint_names),
        "precision": str(config.training.precision),
    }


def _note(found: PredictedRecording) -> dict[str, Any]:
    content = asdict(found)
    for name in ("num_kept_frames", "seconds", "drawing_seconds", "drawn_share"):
        del content[name]
    for name in ("likelihood", "reprojection_error"):
        content[name] = None if math.isnan(content[name]) else content[name]
    return content


def _as_noted(plan: RecordingPlan, note: Mapping[str, Any]) -> PredictedRecording:
    likelihood, error = (_number(note[name]) for name in ("likelihood", "reprojection_error"))
    if not isinstance(note["unreadable"], list):
        raise TypeError(f"unreadable must be a list, got {note['unreadable']!r}")
    return PredictedRecording(
        plan.name,
        plan.views,
        plan.num_frames,
        likelihood,
        error,
        plan.all_files,
        unreadable=tuple(map(str, note["unreadable"])),
        num_kept_frames=plan.num_frames,
        decoder=plan.decoder,
    )


def _draw(plan: RecordingPlan, style: LabelledVideo, inputs: Mapping[str, Any]) -> float:
    """Draw the labelled videos that are not there; return which share of keypoints they show."""
    shares = MeanValue()
    for source, file, video in zip(plan.sources, plan.files, plan.video_files, strict=True):
        state = RecordingState(plan.out, video)
        all_inputs = {"predictions": dict(inputs), **asdict(style)}
        with state.alone():
            shown = state.finished(all_inputs, lambda note: _number(note["drawn_share"]))
            if shown is not None and not plan.overwrite:
                shares.add(torch.tensor([shown], dtype=torch.float64))
                continue
            state.begin(all_inputs, anew=True)
            share = write_labelled_video(
                source,
                plan.out / file,
                state.unfinished / video,
                confidence_threshold=style.confidence_threshold,
                colormap=style.colormap,
                keep_going=plan.keep_going,
            )
            noted = None if math.isnan(share) else share
            state.finish(all_inputs, (video,), {"drawn_share": noted})
            shares.add(torch.tensor([share], dtype=torch.float64))
    return shares.value


def _number(noted: Any) -> float:
    return math.nan if noted is None else float(noted)
