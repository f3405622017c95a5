"""A project as a lab would have it, with images, labels and calibrations, made on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float64

from lploss.errors import ArgumentValueError
from lploss_builtin.data.poses.columns import header_rows, write_rows
from lploss_builtin.data.rig.animal import KEYPOINT_NAMES
from lploss_builtin.data.rig.cameras import VIEW_NAMES
from lploss_builtin.data.rig.sequence import RigSequence, simulate
from lploss_builtin.dependencies import require

FRAME_RATE = 30
_SCORER = "synthetic_rig"
_VIDEOS = "videos"
_IMAGE = "img{:05d}.png"
_PNG_COMPRESSION = 3
# Edges stay sharp; a keyframe every two seconds, as cameras have it.
_VIDEO_OPTIONS = {"crf": "17", "g": "60"}


@dataclass(frozen=True, slots=True)
class RigProject:
    """Where the files of the project are.

    Attributes:
        folder: the project.
        config: the config.
        labels: label file of each view.
        test_labels: label file of each view for the session that is held out.
        truth: positions of the keypoints of all frames in the world.
        videos: video of each view of the session without labels; empty without such a session.
        video_session: number of that session in `simulate`; its name ends in it.
    """

    folder: Path
    config: Path
    labels: Mapping[str, Path]
    test_labels: Mapping[str, Path]
    truth: Path
    videos: Mapping[str, Path]
    video_session: int


@dataclass(frozen=True, slots=True)
class RigOptions:
    """How large a project is.

    Attributes:
        num_frames: labelled frames of all sessions together; those of a session are consecutive.
        num_views: number of cameras, 2 to 6.
        image_size: height and width, px.
        num_sessions: number of sessions, each with its own calibration.
        num_test_frames: labelled frames of one more session, which is held out.
        num_video_frames: frames of another session, which has a video per view and no labels;
            0: there is no such session.
        seed: seed of the random numbers.
    """

    num_frames: int = 400
    num_views: int = 4
    image_size: tuple[int, int] = (128, 128)
    num_sessions: int = 2
    num_test_frames: int = 100
    num_video_frames: int = 0
    seed: int = 0


def make_rig_project(
    folder: str | Path,
    options: RigOptions = RigOptions(),
    *,
    progress: Callable[[int], None] | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
) -> RigProject:
    """Write a project with labelled images of an animal that several cameras film.

    The project has the layout of Lightning Pose. ``truth_3d.csv`` holds the positions of the
    keypoints of all frames in the world. The same arguments give the same files; ``config.yaml``,
    which holds the path of the folder, is written last.

    Args:
        folder: folder of the project; must be empty or not exist yet.
        options: how large it is.
        progress: called with the number of frames written so far, out of
            ``num_frames + num_test_frames + num_video_frames``.
        config: sections to add to the config beside ``data``; keys of a section ``data``
            override those that are written here.

    Raises:
        ArgumentValueError: a number is out of its range, or the folder is not empty.
        MissingDependencyError: Pillow is not installed, or av, which videos need.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> project = make_rig_project(
        ...     folder, RigOptions(2, num_views=2, image_size=(32, 32), num_test_frames=1)
        ... )
        >>> sorted(path.name for path in folder.iterdir())  # doctest: +NORMALIZE_WHITESPACE
        ['CollectedData_left.csv', 'CollectedData_left_new.csv', 'CollectedData_right.csv',
         'CollectedData_right_new.csv', 'calibrations', 'config.yaml', 'labeled-data',
         'truth_3d.csv']
        >>> project.labels["left"].read_text().splitlines()[-1].split(",")[0]
        'labeled-data/session1_left/img00000.png'
    """
    folder = Path(folder)
    _check(folder, options)
    sessions = _sessions(options)
    views = VIEW_NAMES[: options.num_views]
    (folder / "calibrations").mkdir(parents=True)
    for name, sequence in sessions.items():
        _write_calibration(folder / "calibrations" / f"{name}.toml", sequence)
    held_out, video_session = (f"session{options.num_sessions + more}" for more in (0, 1))
    labels = {view: folder / f"CollectedData_{view}.csv" for view in views}
    test_labels = {view: folder / f"CollectedData_{view}_new.csv" for view in views}
    for view in views:
        for name, sequence in sessions.items():
            if name != video_session:
                path = (test_labels if name == held_out else labels)[view]
                _add_labels(path, f"labeled-data/{name}_{view}", sequence, views.index(view))
    truth = folder / "truth_3d.csv"
    for name, sequence in sessions.items():
        _add_rows(truth, name, sequence.keypoints_3d, ("x", "y", "z"))
    videos: dict[str, Path] = {}
    num_written = 0
    for name, sequence in sessions.items():
        if name == video_session:
            (folder / _VIDEOS).mkdir()
            videos = {view: folder / _VIDEOS / f"{name}_{view}.mp4" for view in views}
            written = _write_videos([*videos.values()], sequence)
        else:
            written = _write_images([folder / f"labeled-data/{name}_{v}" for v in views], sequence)
        for _ in written:
            num_written += 1
            if progress is not None:
                progress(num_written)
    path = folder / "config.yaml"
    data = _data(folder, views, options.image_size) | ({"video_dir": _VIDEOS} if videos else {})
    content = {**config, "data": {**data, **config.get("data", {})}}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    number = options.num_sessions + 1
    return RigProject(folder, path, labels, test_labels, truth, videos, number)


def _check(folder: Path, options: RigOptions) -> None:
    if options.num_sessions < 1 or options.num_frames < options.num_sessions:
        raise ArgumentValueError(
            "num_sessions must be at least 1, and num_frames at least num_sessions, got "
            f"{options.num_sessions} sessions of {options.num_frames} frames"
        )
    for name, least in (("num_test_frames", 1), ("num_video_frames", 0)):
        if getattr(options, name) < least:
            raise ArgumentValueError(
                f"{name} must be at least {least}, got {getattr(options, name)}"
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentValueError(
            f"{folder} must be an empty folder or not exist yet. Choose another one, or delete its "
            "content."
        )
    require("PIL.Image", "train", "to write images")
    if options.num_video_frames:
        require("av", "train", "to write videos")
        if any(side % 2 for side in options.image_size):
            raise ArgumentValueError(
                "image_size must be even for videos, which store colours at half the size, got "
                f"{options.image_size}"
            )


def _sessions(options: RigOptions) -> dict[str, RigSequence]:
    """Return the sessions with labels, then the one that is held out, then that of the videos."""
    shorter, num_longer = divmod(options.num_frames, options.num_sessions)
    lengths = [shorter + (number < num_longer) for number in range(options.num_sessions)]
    return {
        f"session{number}": simulate(
            length,
            num_views=options.num_views,
            image_size=options.image_size,
            seed=options.seed,
            session=number,
        )
        for number, length in enumerate(
            [*lengths, options.num_test_frames, options.num_video_frames]
        )
        if length
    }


def _write_images(folders: list[Path], sequence: RigSequence) -> Iterator[None]:
    """Write the images of all views; yield after each frame."""
    image = require("PIL.Image", "train", "to write images")
    for folder in folders:
        folder.mkdir(parents=True)
    for number, views in enumerate(sequence.images()):
        for folder, pixels in zip(folders, views, strict=True):
            image.fromarray(pixels).save(
                folder / _IMAGE.format(number), compress_level=_PNG_COMPRESSION
            )
        yield


def _write_videos(paths: list[Path], sequence: RigSequence) -> Iterator[None]:
    """Write a video per view, H.264 in MP4; yield after each frame."""
    av = require("av", "train", "to write videos")
    height, width = sequence.image_size
    with ExitStack() as stack:
        outputs = []
        for path in paths:
            container = stack.enter_context(av.open(str(path), "w"))
            stream = container.add_stream("libx264", rate=FRAME_RATE, options=_VIDEO_OPTIONS)
            stream.pix_fmt, stream.height, stream.width = "yuv420p", height, width
            # The number of threads changes what the codec writes.
            stream.thread_count = 1
            outputs.append((container, stream))
        for views in sequence.images():
            for (container, stream), pixels in zip(outputs, views, strict=True):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
            yield
        for container, stream in outputs:
            container.mux(stream.encode(None))


def _write_calibration(path: Path, sequence: RigSequence) -> None:
    """Write the cameras as Anipose does; reading them again gives the same numbers, bit by bit."""
    cameras = sequence.cameras
    distortions = cameras.distortions
    values = {
        "name": list(cameras.names or ()),
        "size": [[int(side) for side in size] for size in cameras.image_sizes or ()],
        "matrix": cameras.intrinsics.tolist(),
        "distortions": [] if distortions is None else distortions.tolist(),
        "rotation": sequence.rotations.tolist(),
        "translation": cameras.extrinsics[..., 3].tolist(),
    }
    lines: list[str] = []
    for number in range(cameras.num_views):
        lines.append(f"[cam_{number}]")
        # Strings, numbers and lists of them are written alike in JSON and TOML.
        lines += [f"{key} = {json.dumps(entries[number])}" for key, entries in values.items()]
        lines.append("")
    lines += ["[metadata]", "adjusted = false", "error = 0.0"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _add_labels(path: Path, folder: str, sequence: RigSequence, view: int) -> None:
    visible = sequence.visibility[:, view, :, None].astype(np.float64)
    values = np.concatenate([sequence.keypoints[:, view], visible], axis=-1)
    _add_rows(path, folder, values, ("x", "y", "visible"))


def _add_rows(
    path: Path,
    folder: str,
    values: Float64[np.ndarray, "frames num_keypoints coords"],
    coords: tuple[str, ...],
) -> None:
    header = [] if path.exists() else header_rows(_SCORER, KEYPOINT_NAMES, coords)
    frames = [f"{folder}/{_IMAGE.format(number)}" for number in range(len(values))]
    with path.open("a", newline="", encoding="utf-8") as file:
        write_rows(file, frames, values, header=header)


def _data(folder: Path, views: tuple[str, ...], image_size: tuple[int, int]) -> dict[str, Any]:
    height, width = image_size
    return {
        "image_orig_dims": {"height": height, "width": width},
        "image_resize_dims": {"height": height, "width": width},
        "data_dir": str(folder.resolve()),
        "csv_file": [f"CollectedData_{view}.csv" for view in views],
        "view_names": list(views),
        "num_keypoints": len(KEYPOINT_NAMES),
        "keypoint_names": list(KEYPOINT_NAMES),
        "downsample_factor": 2,
    }
