"""What is predicted, and all that it takes to predict it, wherever that is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.frames.video_nvidia import check_decoder
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.predicting.labelled_video import LabelledVideo

PathOrStr: TypeAlias = str | PathLike[str]

_CHECKPOINTS = ("best", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """How to predict.

    Attributes:
        checkpoint: ``"best"`` in validation, or ``"last"``.
        views: which views to use; all that are there unless given.
        calibration: the cameras of all recordings; else they are looked for beside the images and
            videos and in the project that the model was trained with.
        bbox_files: a file of bounding boxes for each view, where the model sees crops.
        batch_size: frames that are predicted at once; that of the config unless given.
        device: of PyTorch; ``"auto"``: a GPU where there is one.
        decoder: what decodes videos, ``"cpu"`` or ``"cuda"`` for NVIDIA's decoder; ``"auto"``:
            that of NVIDIA where the model runs on a GPU and torchcodec is installed.
        keep_going: leave the rows of images and frames empty that are missing or cannot be read;
            the other views of the frame are predicted without them.
        overwrite: whether to predict again what is there. Files of earlier predictions of the same
            recordings that no longer match are removed then; else they are an error.
        video: how to draw the keypoints into labelled videos; ``None``: not at all.
        processes: how many recordings are predicted at once, each by a process of this machine;
            see `lploss_builtin.spreading.spread`.
        scheduler: scheduler of a Dask cluster, which predicts the recordings instead.
    """

    checkpoint: str = "best"
    views: Sequence[str] | None = None
    calibration: PathOrStr | None = None
    bbox_files: Sequence[PathOrStr] = ()
    batch_size: int | None = None
    device: str = "auto"
    decoder: str = "auto"
    keep_going: bool = False
    overwrite: bool = False
    video: LabelledVideo | None = None
    processes: int = 1
    scheduler: str | None = None

    def check(self) -> None:
        """Check the values that can be checked without the training.

        Raises:
            ArgumentValueError: one cannot be used.
        """
        if self.checkpoint not in _CHECKPOINTS:
            raise ArgumentValueError(f"checkpoint must be best or last, got {self.checkpoint!r}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ArgumentValueError(f"batch_size must be at least 1, got {self.batch_size}")
        check_decoder(self.decoder)
        if self.video is not None:
            self.video.check()


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Frames that are predicted together, seen from one or several views: videos or images.

    Attributes:
        name: what it is called in tables and in the name of its 3D file.
        views: its views, in the order of the model; one without a name is empty.
        sources: the video, or the images, of each view.
        files: name of the file of each view's predictions.
        num_frames: how many frames to predict.
        sessions: session of each frame, where they are of several.
        cameras: of each session that is calibrated, in the order of ``views``.
    """

    name: str
    views: tuple[str, ...]
    sources: tuple[FrameSource, ...]
    files: tuple[str, ...]
    num_frames: int
    sessions: tuple[str, ...] = ()
    cameras: Mapping[str, Cameras] = field(default_factory=dict)

    @property
    def has_images(self) -> bool:
        """Whether its frames are images, each in a file of its own."""
        return any(source.names is not None for source in self.sources)

    @property
    def file_3d(self) -> str | None:
        """Name of the file of the points in space; ``None`` where no cameras are known."""
        return f"{self.name}_3d.csv" if self.cameras else None

    @property
    def all_files(self) -> tuple[str, ...]:
        """Names of all files of predictions."""
        return (*self.files, *([self.file_3d] if self.file_3d else []))

    def sessions_of(self, start: int, stop: int) -> list[str]:
        """Return the session of each frame from ``start`` to the one before ``stop``."""
        return list(self.sessions[start:stop]) or [self.name] * (stop - start)


@dataclass(frozen=True, slots=True, eq=False)
class RecordingPlan:
    """What to predict, from what, and where to; it can be pickled.

    Plans are independent of each other: those of one call may be followed in any order, by any
    process that sees the same folders, see
    `lploss_builtin.predicting.predict_recording.predict_recording`.

    Attributes:
        recording: what to predict.
        run: folder of the training.
        weights: SHA-256 of the checkpoint.
        out: the folder of the predictions.
        batch_size: frames that are predicted at once.
        options: how to predict.
    """

    recording: Recording
    run: Path
    weights: str
    out: Path
    batch_size: int
    options: PredictOptions

    @property
    def name(self) -> str:
        """Name of the recording."""
        return self.recording.name

    @property
    def video_files(self) -> tuple[str, ...]:
        """Names of the labelled videos."""
        if self.options.video is None:
            return ()
        return tuple(name_of_labelled_video(file) for file in self.recording.files)

    def absolute(self) -> RecordingPlan:
        """Return the plan with absolute paths, for a process that works in another folder."""
        recording = self.recording
        sources = tuple(
            replace(own, path=own.path.absolute(), folder=own.folder and own.folder.absolute())
            for own in recording.sources
        )
        return replace(
            self,
            recording=replace(recording, sources=sources),
            run=self.run.absolute(),
            out=self.out.absolute(),
        )

    def inputs(self, settings: Mapping[str, Any], device: str) -> dict[str, Any]:
        """Return everything that the predictions depend on, as JSON values.

        Args:
            settings: values of the config that the predictions depend on.
            device: the kind of device; others round differently.

        Raises:
            DataError: a video is missing.
        """
        recording = self.recording
        cameras = {name: own.to_lists() for name, own in recording.cameras.items()}
        found = {
            "lploss": version("lploss"),
            "weights": self.weights,
            "settings": dict(settings),
            "views": recording.views,
            "sources": [_as_it_is_now(source) for source in recording.sources],
            "files": recording.files,
            "num_frames": recording.num_frames,
            "batch_size": self.batch_size,
            "device": device,
            "decoder": self.options.decoder,
            "sessions": _joined_hash(recording.sessions),
            "cameras": cameras,
        }
        loaded: dict[str, Any] = json.loads(json.dumps(found))
        return loaded


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined_hash(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def name_of_labelled_video(file: str) -> str:
    """Return the name of the video into which the predictions of a file are drawn.

    Example:
        >>> name_of_labelled_video("walk_left.csv")
        'walk_left_labelled.mp4'
    """
    return f"{Path(file).stem}_labelled.mp4"


def _as_it_is_now(source: FrameSource) -> dict[str, Any]:
    """Return what changes when the video, an image or the boxes do."""
    num_files = 1 if source.names is None else source.num_frames
    num_bytes, changed, images = 0, 0, hashlib.sha256()
    for path, name in ((source.image(n), source.row_name(n)) for n in range(num_files)):
        try:
            status = path.stat()
        except OSError as error:
            if source.names is None:
                raise DataError(f"{source.path} cannot be read: {error.strerror}") from error
            images.update(f"{name}\n".encode())
            continue
        num_bytes, changed = num_bytes + status.st_size, max(changed, status.st_mtime_ns)
        images.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {
        "path": str(source.path.absolute()),
        "bytes": num_bytes,
        "changed": changed,
        "num_frames": source.num_frames,
        "images": None if source.names is None else images.hexdigest(),
        "boxes": None
        if source.boxes is None
        else hashlib.sha256(source.boxes.tobytes()).hexdigest(),
        "are_cut_out": source.are_cut_out,
        "unlisted": sorted(source.unlisted),
    }
