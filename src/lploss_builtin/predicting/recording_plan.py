"""All that it takes to predict one recording, wherever that is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lploss.errors import DataError
from lploss_builtin.data.cameras.view_names import simplified
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.predicting.labelled_video import check_threshold, keypoint_colours
from lploss_builtin.predicting.video_frames import Crop


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """How keypoints are drawn into videos.

    Attributes:
        confidence_threshold: from which likelihood on a keypoint is shown, 0 to 1.
        colormap: of matplotlib.
    """

    confidence_threshold: float = 0.9
    colormap: str = "cool"

    def check(self) -> None:
        """Check that videos can be drawn like this.

        Raises:
            ArgumentValueError: there is no such colormap, or the threshold is no likelihood.
        """
        check_threshold(self.confidence_threshold)
        keypoint_colours(1, self.colormap)


@dataclass(frozen=True, slots=True, eq=False)
class RecordingPlan:
    """What to predict, from what, and where to; it can be pickled.

    Plans do not hang on each other: those of one call may be followed in any order, by any
    process that sees the same folders, see
    `lploss_builtin.predicting.predict_recording.predict_recording`.

    Attributes:
        run: folder of the training.
        checkpoint: ``"best"`` or ``"last"``.
        weights: SHA-256 of the checkpoint.
        out: the folder of the predictions.
        batch_size: frames that are predicted at once.
        device: of PyTorch; ``"auto"``: a GPU where there is one.
        name: of the recording.
        views: its views, in the order of the model; one without a name is empty.
        sources: the video of each view.
        files: name of the file of each view's predictions.
        num_frames: how many frames to predict.
        cameras: of the views, where they are known.
        crops: what of each video the model sees.
        offsets: x and y of the first pixel of each video in the original image, px.
        keep_going: whether rows of frames that cannot be read stay empty.
        overwrite: whether to predict what is there already once more.
        decoder: what decodes videos, ``"cpu"``, ``"cuda"`` or ``"auto"``; see `decoder_of`.
        video: how to draw labelled videos; ``None``: not at all.
    """

    run: Path
    checkpoint: str
    weights: str
    out: Path
    batch_size: int
    device: str
    name: str = ""
    views: tuple[str, ...] = ()
    sources: tuple[FrameSource, ...] = ()
    files: tuple[str, ...] = ()
    num_frames: int = 0
    cameras: Cameras | None = None
    crops: tuple[Crop, ...] = ()
    offsets: tuple[tuple[float, float], ...] = ()
    keep_going: bool = False
    overwrite: bool = False
    decoder: str = "auto"
    video: LabelledVideo | None = None

    @property
    def file_3d(self) -> str | None:
        """Name of the file of the points in space; ``None`` where no cameras are known."""
        return f"{self.name}_3d.csv" if self.cameras is not None else None

    @property
    def all_files(self) -> tuple[str, ...]:
        """Names of all files of predictions."""
        return (*self.files, *([self.file_3d] if self.file_3d else []))

    @property
    def video_files(self) -> tuple[str, ...]:
        """Names of the labelled videos."""
        if self.video is None:
            return ()
        return tuple(name_of_labelled_video(file) for file in self.files)

    def absolute(self) -> RecordingPlan:
        """Return the plan with absolute paths, for a process that works in another folder."""
        sources = tuple(replace(own, path=own.path.absolute()) for own in self.sources)
        return replace(self, run=self.run.absolute(), out=self.out.absolute(), sources=sources)

    def inputs(self, settings: Mapping[str, Any], device: str) -> dict[str, Any]:
        """Return all that the predictions hang on, as JSON has it.

        Args:
            settings: what of the config the predictions hang on.
            device: the kind of device; others round otherwise.

        Raises:
            DataError: a video has gone.
        """
        found = {
            "lploss": version("lploss"),
            "weights": self.weights,
            "settings": dict(settings),
            "views": self.views,
            "sources": [_as_it_is_now(source) for source in self.sources],
            "files": self.files,
            "num_frames": self.num_frames,
            "batch_size": self.batch_size,
            "device": device,
            "decoder": self.decoder,
            "cameras": None if self.cameras is None else self.cameras.to_lists(),
            "crops": self.crops,
            "offsets": self.offsets,
        }
        loaded: dict[str, Any] = json.loads(json.dumps(found))
        return loaded


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of_labelled_video(file: str) -> str:
    """Return the name of the video into which the predictions of a file are drawn.

    Example:
        >>> name_of_labelled_video("walk_left.csv")
        'walk_left_labelled.mp4'
    """
    return f"{Path(file).stem}_labelled.mp4"


def names_of_files(name: str, views: Sequence[str], sources: Iterable[FrameSource]) -> list[str]:
    """Return the name of the file of each view's predictions: that of its video, as CSV.

    Of videos that are called after their view alone, ``<recording>_<view>.csv``.
    """
    stems = [source.path.name if source.names else source.path.stem for source in sources]
    return [
        f"{name}_{view}.csv" if view and simplified(stem) == simplified(view) else f"{stem}.csv"
        for view, stem in zip(views, stems, strict=True)
    ]


def _as_it_is_now(source: FrameSource) -> dict[str, Any]:
    """Return what changes when a video does."""
    paths = [source.path / name for name in source.names] if source.names else [source.path]
    try:
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise DataError(f"{source.path} cannot be read: {error.strerror}") from error
    return {
        "path": str(source.path.absolute()),
        "bytes": sum(own.st_size for own in stats),
        "changed": max(own.st_mtime_ns for own in stats),
        "num_frames": source.num_frames,
    }
