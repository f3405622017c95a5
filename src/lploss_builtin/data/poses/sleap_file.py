"""Pose files of SLEAP (``.slp``), through sleap-io."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lploss.errors import DataError
from lploss.reading import reading
from lploss_builtin.data.poses.hdf_file import check_heaps
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.dependencies import require


def read_sleap(path: Path, max_frames: int | None = None) -> PoseTable:
    """Read a SLEAP file of one video; what a person has labelled goes first.

    Frames without an animal are not in it. Where a frame has several animals, each needs a track,
    which names it.

    Args:
        path: the file.
        max_frames: how many frames to return; ``None`` for all.

    Raises:
        DataError: it cannot be read, holds several videos or skeletons, animals without a track, or
            nothing.
    """
    sleap_io = require("sleap_io", "sleap", "to read SLEAP files")
    check_heaps(path)
    with reading(path, "as a SLEAP file"):
        labels = sleap_io.load_slp(str(path), open_videos=False)
    for what, found in (("video", labels.videos), ("skeleton", labels.skeletons)):
        if len(found) != 1:
            raise DataError(
                f"{path}: expected one {what}, got {len(found)}. Export one file for each."
            )
    ordered = sorted(labels, key=lambda labelled: int(labelled.frame_idx))
    poses = {
        int(labelled.frame_idx): {"": instances[0]}
        for labelled in ordered
        if len(instances := labelled.user_instances or labelled.predicted_instances) == 1
    }
    individuals: tuple[str, ...] = ("",)
    if any(len(own.user_instances or own.predicted_instances) > 1 for own in ordered):
        poses = {int(own.frame_idx): _by_track(path, own) for own in ordered}
        poses = {frame: instances for frame, instances in poses.items() if instances}
        individuals = tuple(sorted({track for found in poses.values() for track in found}))
    if not poses:
        raise DataError(f"{path}: there are no frames")
    return _table(path, dict(list(poses.items())[:max_frames]), individuals, labels.skeletons[0])


def _table(
    path: Path,
    poses: Mapping[int, Mapping[str, Any]],
    individuals: tuple[str, ...],
    skeleton: Any,
) -> PoseTable:
    names = tuple(skeleton.node_names)
    points = np.full((len(poses), len(individuals), len(names), 2), np.nan)
    confidences = np.full(points.shape[:3], np.nan)
    for row, instances in enumerate(poses.values()):
        for track, instance in instances.items():
            number = individuals.index(track)
            points[row, number] = np.asarray(instance.numpy(), dtype=np.float64)[:, :2]
            confidences[row, number] = _scores(instance, len(names))
    return PoseTable(points, confidences, None, np.array([*poses]), individuals, names, path)


def _by_track(path: Path, labelled: Any) -> dict[str, Any]:
    """Return the instance of each track; one of a person replaces the prediction of its track."""
    replaced = [getattr(instance, "from_predicted", None) for instance in labelled.user_instances]
    predicted = [
        instance
        for instance in labelled.predicted_instances
        if not any(instance is other for other in replaced)
    ]
    by_person = _tracks(path, labelled, labelled.user_instances)
    return {**_tracks(path, labelled, predicted), **by_person}


def _tracks(path: Path, labelled: Any, instances: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for instance in instances:
        track = getattr(instance, "track", None)
        name = "" if track is None else str(track.name)
        if not name:
            raise DataError(
                f"{path}, frame {labelled.frame_idx}: several animals, one of them without a "
                "track; a track says which animal is the same in the next frame. Track the "
                "animals in SLEAP."
            )
        if name in found:
            raise DataError(
                f"{path}, frame {labelled.frame_idx}: the track {name!r} holds several animals. "
                "Correct it in SLEAP."
            )
        found[name] = instance
    return found


def _scores(instance: Any, num_keypoints: int) -> np.ndarray:
    """Return how sure each point is; a person's label is certain."""
    if "score" in (instance.points.dtype.names or ()):
        return np.asarray(instance.points["score"], dtype=np.float64)
    return np.ones(num_keypoints)
