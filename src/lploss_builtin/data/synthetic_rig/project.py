"""A project as a lab would have it, with images, labels and calibrations, made on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml
from einops import rearrange
from jaxtyping import Float64

from lploss.errors import ArgumentValueError
from lploss_builtin.data.dependencies import require
from lploss_builtin.data.keypoint_columns import header_rows
from lploss_builtin.data.synthetic_rig.animal import KEYPOINT_NAMES
from lploss_builtin.data.synthetic_rig.calibration_file import write_calibration
from lploss_builtin.data.synthetic_rig.frame_files import Roll, frame_name, write_frames
from lploss_builtin.data.synthetic_rig.rig_cameras import VIEW_NAMES
from lploss_builtin.data.synthetic_rig.sequence import RigSequence, simulate
from lploss_builtin.data.synthetic_rig.video_files import write_videos

_FRAMES_A_TASK = 20
_SCORER = "synthetic_rig"
_VIDEOS = "videos"


@dataclass(frozen=True, slots=True)
class RigProject:
    """Where the files of the project are.

    Attributes:
        folder: the project.
        config: the config.
        labels: for each view the label file.
        test_labels: for each view that of the session that is held out.
        truth: where the keypoints of all frames are in the world.
        videos: for each view the video of the session without labels; empty where there is none.
        video_session: number of that session in `simulate`; the name ends in it.
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
    num_workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
) -> RigProject:
    """Write a project with labelled images of an animal that several cameras film.

    It has the layout of a project of Lightning Pose. ``truth_3d.csv`` says where the keypoints of
    all frames are in the world. The same arguments give the same files, whatever the number of
    processes; ``config.yaml``, which holds the path of the folder, is written last.

    Args:
        folder: for the project; must be empty or not there yet.
        num_frames: labelled frames of all sessions together; those of one follow each other.
        num_views: number of cameras, from 2 to 6.
        image_size: height and width, px.
        num_sessions: each with a calibration of its own.
        num_test_frames: labelled frames of one session more, which is held out.
        num_video_frames: frames of yet another session, which has a video for each view and no
            labels; 0: there is none.
        seed: of all that is random.
        num_workers: number of processes; ``None``: as many as there are cores and as is worth it.
            With more than one, a script must call this under ``if __name__ == "__main__":``.
        progress: called with the number of frames written so far, of all
            ``num_frames + num_test_frames + num_video_frames``.
        config: sections to put into the config beside ``data``; keys of a section ``data`` go
            over those that are written here.

    Raises:
        ArgumentValueError: a number is out of its range, or the folder is not empty.
        MissingDependencyError: Pillow is not installed, or av, which videos need.
        ProcessError: a process ended before its images were written.

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
    _check(folder, num_frames, num_sessions, num_test_frames, num_workers)
    _check_video(num_video_frames, image_size)
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
    filmed = [session for session in sessions if session.is_video]
    views = VIEW_NAMES[:num_views]
    (folder / "calibrations").mkdir(parents=True)
    for session in sessions:
        sequence = session.sequence
        path = folder / "calibrations" / f"{session.name}.toml"
        write_calibration(path, sequence.cameras, sequence.rotations)
        for view in views:
            (folder / _image_folder(session, view)).mkdir(parents=True)
    labels = {view: folder / f"CollectedData_{view}.csv" for view in views}
    test_labels = {view: folder / f"CollectedData_{view}_new.csv" for view in views}
    for number, view in enumerate(views):
        for paths, is_held_out in ((labels, False), (test_labels, True)):
            chosen = [session for session in labelled if session.is_held_out == is_held_out]
            _write_table(paths[view], ("x", "y", "visible"), _labels(chosen, view, number))
    truth = folder / "truth_3d.csv"
    _write_table(truth, ("x", "y", "z"), _truth(sessions))
    num_all = num_frames + num_test_frames + num_video_frames
    write_frames(_rolls(folder, sessions, views), num_all, num_workers, progress)
    videos = _write_videos(folder, filmed, views)
    path = folder / "config.yaml"
    data = _data(folder, views, image_size) | ({"video_dir": _VIDEOS} if videos else {})
    content = {**config, "data": {**data, **config.get("data", {})}}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return RigProject(folder, path, labels, test_labels, truth, videos, num_sessions + 1)


def _check(
    folder: Path,
    num_frames: int,
    num_sessions: int,
    num_test_frames: int,
    num_workers: int | None,
) -> None:
    if num_sessions < 1 or num_frames < num_sessions:
        raise ArgumentValueError(
            "num_sessions must be at least 1, and num_frames at least num_sessions, got "
            f"{num_sessions} sessions of {num_frames} frames"
        )
    if num_test_frames < 1:
        raise ArgumentValueError(f"num_test_frames must be at least 1, got {num_test_frames}")
    if num_workers is not None and num_workers < 1:
        raise ArgumentValueError(f"num_workers must be at least 1 or None, got {num_workers}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentValueError(
            f"{folder} must be an empty folder or not be there yet. Choose another one, or delete "
            "what it holds."
        )


def _check_video(num_video_frames: int, image_size: tuple[int, int]) -> None:
    if num_video_frames < 0:
        raise ArgumentValueError(f"num_video_frames must be at least 0, got {num_video_frames}")
    if not num_video_frames:
        return
    require("av", "train", "to write videos")
    if any(side % 2 for side in image_size):
        raise ArgumentValueError(
            f"image_size must be even for videos, which store colours in half the size, got "
            f"{image_size}"
        )


def _image_folder(session: _Session, view: str) -> str:
    parent = f"{_VIDEOS}/frames" if session.is_video else "labeled-data"
    return f"{parent}/{session.name}_{view}"


def _write_videos(
    folder: Path, sessions: list[_Session], views: tuple[str, ...]
) -> dict[str, Path]:
    """Make videos from images, which are removed."""
    videos = {}
    for session in sessions:
        names = [frame_name(number) for number in range(len(session.sequence.keypoints_3d))]
        frames = {view: folder / _image_folder(session, view) for view in views}
        videos = {view: folder / _VIDEOS / f"{session.name}_{view}.mp4" for view in views}
        write_videos({videos[view]: [frames[view] / name for name in names] for view in views})
        shutil.rmtree(folder / _VIDEOS / "frames")
    return videos


def _rolls(folder: Path, sessions: list[_Session], views: tuple[str, ...]) -> Iterator[Roll]:
    for session in sessions:
        folders = tuple(folder / _image_folder(session, view) for view in views)
        for number, shot in enumerate(session.sequence.pieces(_FRAMES_A_TASK)):
            yield shot, folders, number * _FRAMES_A_TASK


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
