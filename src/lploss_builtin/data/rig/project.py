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
from einops import rearrange
from jaxtyping import Float64

from lploss.errors import ArgumentValueError
from lploss_builtin.data.poses.columns import header_rows
from lploss_builtin.data.rig.animal import KEYPOINT_NAMES
from lploss_builtin.data.rig.cameras import VIEW_NAMES
from lploss_builtin.data.rig.sequence import RigSequence, simulate
from lploss_builtin.dependencies import require

FRAME_RATE = 30
_SCORER = "synthetic_rig"
_VIDEOS = "videos"
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
class _Session:
    name: str
    sequence: RigSequence
    is_held_out: bool
    is_video: bool


def make_rig_project(
    folder: Path,
    *,
    num_frames: int = 400,
    num_views: int = 4,
    image_size: tuple[int, int] = (128, 128),
    num_sessions: int = 2,
    num_test_frames: int = 100,
    num_video_frames: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
) -> RigProject:
    """Write a project with labelled images of an animal that several cameras film.

    The project has the layout of Lightning Pose. ``truth_3d.csv`` holds the positions of the
    keypoints of all frames in the world. The same arguments give the same files; ``config.yaml``,
    which holds the path of the folder, is written last.

    Args:
        folder: folder of the project; must be empty or not exist yet.
        num_frames: labelled frames of all sessions together; those of a session are consecutive.
        num_views: number of cameras, 2 to 6.
        image_size: height and width, px.
        num_sessions: number of sessions, each with its own calibration.
        num_test_frames: labelled frames of one more session, which is held out.
        num_video_frames: frames of another session, which has a video per view and no labels;
            0: there is no such session.
        seed: seed of everything that is random.
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
        ...     folder, num_frames=2, num_views=2, image_size=(32, 32), num_test_frames=1
        ... )
        >>> sorted(path.name for path in folder.iterdir())  # doctest: +NORMALIZE_WHITESPACE
        ['CollectedData_left.csv', 'CollectedData_left_new.csv', 'CollectedData_right.csv',
         'CollectedData_right_new.csv', 'calibrations', 'config.yaml', 'labeled-data',
         'truth_3d.csv']
        >>> project.labels["left"].read_text().splitlines()[-1].split(",")[0]
        'labeled-data/session1_left/img00000.png'
    """
    _check(folder, num_frames, num_sessions, num_test_frames)
    _check_video(num_video_frames, image_size)
    require("PIL.Image", "train", "to write images")
    lengths = [
        num_frames // num_sessions + (number < num_frames % num_sessions)
        for number in range(num_sessions)
    ]
    sessions = [
        _Session(
            f"session{number}",
            simulate(length, num_views=num_views, image_size=image_size, seed=seed, session=number),
            number == num_sessions,
            number > num_sessions,
        )
        for number, length in enumerate([*lengths, num_test_frames, num_video_frames])
        if length
    ]
    labelled = [session for session in sessions if not session.is_video]
    views = VIEW_NAMES[:num_views]
    (folder / "calibrations").mkdir(parents=True)
    for session in sessions:
        _write_calibration(folder / "calibrations" / f"{session.name}.toml", session.sequence)
    labels = {view: folder / f"CollectedData_{view}.csv" for view in views}
    test_labels = {view: folder / f"CollectedData_{view}_new.csv" for view in views}
    for number, view in enumerate(views):
        for paths, is_held_out in ((labels, False), (test_labels, True)):
            chosen = [session for session in labelled if session.is_held_out == is_held_out]
            _write_table(paths[view], ("x", "y", "visible"), _labels(chosen, view, number))
    truth = folder / "truth_3d.csv"
    _write_table(truth, ("x", "y", "z"), _truth(sessions))
    videos: dict[str, Path] = {}
    num_written = 0
    for session in sessions:
        if session.is_video:
            (folder / _VIDEOS).mkdir()
            videos = {view: folder / _VIDEOS / f"{session.name}_{view}.mp4" for view in views}
            written = _write_videos(list(videos.values()), session.sequence)
        else:
            written = _write_images([folder / _image_folder(session, v) for v in views], session)
        for _ in written:
            num_written += 1
            if progress is not None:
                progress(num_written)
    path = folder / "config.yaml"
    data = _data(folder, views, image_size) | ({"video_dir": _VIDEOS} if videos else {})
    content = {**config, "data": {**data, **config.get("data", {})}}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return RigProject(folder, path, labels, test_labels, truth, videos, num_sessions + 1)


def frame_name(number: int) -> str:
    """Return the name of the image file of a frame.

    Example:
        >>> frame_name(7)
        'img00007.png'
    """
    return f"img{number:05d}.png"


def _check(folder: Path, num_frames: int, num_sessions: int, num_test_frames: int) -> None:
    if num_sessions < 1 or num_frames < num_sessions:
        raise ArgumentValueError(
            "num_sessions must be at least 1, and num_frames at least num_sessions, got "
            f"{num_sessions} sessions of {num_frames} frames"
        )
    if num_test_frames < 1:
        raise ArgumentValueError(f"num_test_frames must be at least 1, got {num_test_frames}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentValueError(
            f"{folder} must be an empty folder or not exist yet. Choose another one, or delete its "
            "content."
        )


def _check_video(num_video_frames: int, image_size: tuple[int, int]) -> None:
    if num_video_frames < 0:
        raise ArgumentValueError(f"num_video_frames must be at least 0, got {num_video_frames}")
    if not num_video_frames:
        return
    require("av", "train", "to write videos")
    if any(side % 2 for side in image_size):
        raise ArgumentValueError(
            "image_size must be even for videos, which store colours at half the size, got "
            f"{image_size}"
        )


def _image_folder(session: _Session, view: str) -> str:
    return f"labeled-data/{session.name}_{view}"


def _write_images(folders: list[Path], session: _Session) -> Iterator[None]:
    """Write the images of all views; yield after each frame."""
    image = require("PIL.Image", "train", "to write images")
    for folder in folders:
        folder.mkdir(parents=True)
    for number, views in enumerate(session.sequence.images()):
        for folder, pixels in zip(folders, views, strict=True):
            image.fromarray(pixels).save(
                folder / frame_name(number), compress_level=_PNG_COMPRESSION
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


_Row = tuple[str, list[float]]


def _labels(sessions: list[_Session], view: str, number: int) -> Iterator[_Row]:
    for session in sessions:
        keypoints = session.sequence.keypoints[:, number]
        visible = session.sequence.visibility[:, number, :, None].astype(np.float64)
        yield from _rows(
            np.concatenate([keypoints, visible], axis=-1), _image_folder(session, view)
        )


def _truth(sessions: list[_Session]) -> Iterator[_Row]:
    for session in sessions:
        yield from _rows(session.sequence.keypoints_3d, session.name)


def _rows(
    values: Float64[np.ndarray, "frames num_keypoints coords"], folder: str
) -> Iterator[_Row]:
    flat = rearrange(values, "frames num_keypoints coords -> frames (num_keypoints coords)")
    for number, row in enumerate(flat.tolist()):
        yield f"{folder}/{frame_name(number)}", row


def _write_table(path: Path, coords: tuple[str, ...], rows: Iterator[_Row]) -> None:
    lines = header_rows(_SCORER, KEYPOINT_NAMES, coords)
    lines += [[frame, *map(_number, row)] for frame, row in rows]
    path.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")


def _number(value: float) -> str:
    if np.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() else f"{value:.6f}"


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
