"""What section ``eval`` of a config asks for after a training, checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lploss.config import plain, value_at
from lploss.errors import ArgumentValueError, ConfigError, DataError
from lploss_builtin.data.frames.sources import FrameSource, frame_source
from lploss_builtin.data.poses.reading import read_header
from lploss_builtin.dependencies import require
from lploss_builtin.predicting.find_recordings import inputs_by_kind
from lploss_builtin.predicting.labelled_video import LabelledVideo

# Keys of tools that lploss has no part in.
_OF_OTHERS = ("hydra_paths", "fiftyone")
_CONFIDENCE, _COLORMAP = 0.9, "cool"


@dataclass(frozen=True, slots=True)
class PredictionsToPlot:
    """Predictions to draw into a video.

    Attributes:
        source: the video.
        files: the files of predictions, each for a video of its own.
    """

    source: FrameSource
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class EvalTasks:
    """What is to be done after a training, beside the evaluation of its labelled frames.

    Attributes:
        videos: the folder of videos to predict; ``None``: none.
        predictions: where their predictions go; ``None``: ``video_preds`` in that of the training.
        labelled_videos: how to draw the keypoints into these videos; ``None``: not at all.
        to_plot: predictions that are there already, to draw into a video.
        style: how to draw them.
        notes: what of the section is not followed.
    """

    videos: Path | None = None
    predictions: Path | None = None
    labelled_videos: LabelledVideo | None = None
    to_plot: PredictionsToPlot | None = None
    style: LabelledVideo = field(default_factory=LabelledVideo)
    notes: tuple[str, ...] = ()


def eval_tasks(config: DictConfig, folder: Path | None = None) -> EvalTasks:
    """Return what section ``eval`` asks for, once it is sure that it can be done.

    Args:
        config: the whole config. Relative paths in its section ``eval`` start at
            ``data.data_dir``; ``saved_vid_preds_dir`` starts at the folder of the training.
        folder: where a relative ``data.data_dir`` starts; ``None``: the working directory.

    Raises:
        ConfigError: a path does not exist, or a value cannot be used.
        MissingDependencyError: a package is not installed.

    Example:
        >>> from lploss import load_config
        >>> eval_tasks(load_config({"eval": {"colormap": "hsv"}})).style.colormap
        'hsv'
    """
    root = (folder or Path()) / Path(config.data.data_dir or "").expanduser()
    style = _style(config)
    notes = [
        f"eval.{name} is not read: it is for a tool that lploss has no part in"
        for name in _OF_OTHERS
        if _is_set(plain(config.eval[name]))
    ]
    videos, saves = None, bool(config.eval.save_vids_after_training)
    if config.eval.predict_vids_after_training:
        videos = _videos(config, root)
    elif saves:
        notes.append(
            "eval.save_vids_after_training draws the videos that "
            "eval.predict_vids_after_training predicts, which is not true: no video is drawn"
        )
    predictions = _text(config, "saved_vid_preds_dir")
    if predictions and Path(predictions).expanduser().is_file():
        raise ConfigError(f"eval.saved_vid_preds_dir must be a folder, got the file {predictions}")
    return EvalTasks(
        videos,
        Path(predictions).expanduser() if predictions else None,
        style if saves and videos is not None else None,
        _to_plot(config, root),
        style,
        tuple(notes),
    )


def _style(config: DictConfig) -> LabelledVideo:
    threshold, colormap = config.eval.confidence_thresh_for_vid, _text(config, "colormap")
    style = LabelledVideo(_CONFIDENCE if threshold is None else threshold, colormap or _COLORMAP)
    if threshold is None and not colormap:
        return style
    try:
        style.check()
    except ArgumentValueError as error:
        raise ConfigError(
            f"eval.confidence_thresh_for_vid or eval.colormap cannot be used: {error}"
        ) from error
    return style


def _videos(config: DictConfig, root: Path) -> Path:
    name = _text(config, "test_videos_directory")
    if not name:
        raise ConfigError(
            "eval.predict_vids_after_training: true needs eval.test_videos_directory, the folder "
            "of the videos. Name it, or set the first to false."
        )
    folder = root / Path(name).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"eval.test_videos_directory must be a folder of videos, and there is none at {folder}."
            " Without videos to predict, set eval.predict_vids_after_training to false."
        )
    require("av", "train", "to read videos")
    if not inputs_by_kind([folder]).videos:
        raise ConfigError(
            f"eval.test_videos_directory: there is no video in {folder}. Without videos to "
            "predict, set eval.predict_vids_after_training to false."
        )
    return folder


def _to_plot(config: DictConfig, root: Path) -> PredictionsToPlot | None:
    video = _text(config, "video_file_to_plot")
    names = [name for name in plain(config.eval.pred_csv_files_to_plot) or [] if _is_set(name)]
    if not video and not names:
        return None
    if not video or not names:
        lacking = "pred_csv_files_to_plot" if video else "video_file_to_plot"
        raise ConfigError(
            "eval.video_file_to_plot and eval.pred_csv_files_to_plot go together: the predictions "
            f"are drawn into the video. Name eval.{lacking}, too, or none of them."
        )
    try:
        key = "video_file_to_plot"
        source = frame_source(root / Path(video).expanduser())
        key = "pred_csv_files_to_plot"
        files = tuple(root / Path(name).expanduser() for name in names)
        for file in files:
            read_header(file)
    except DataError as error:
        raise ConfigError(f"eval.{key} cannot be used: {error}") from error
    return PredictionsToPlot(source, files)


def _text(config: DictConfig, name: str) -> str:
    """Return a value of the section, where templates have blanks for nothing."""
    return str(value_at(config, f"eval.{name}") or "").strip()


def _is_set(value: Any) -> bool:
    """Return whether somebody has put something there, blanks apart."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, list):
        return any(map(_is_set, value))
    return value is not None
