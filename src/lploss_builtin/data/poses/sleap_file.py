"""Keypoint files of SLEAP (``.slp``), through sleap-io."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lploss.errors import DataError
from lploss.reading import reading
from lploss_builtin.data.poses.hdf_file import check_heaps
from lploss_builtin.data.poses.source import Block, KeypointSource
from lploss_builtin.data.poses.table import KeypointHeader
from lploss_builtin.dependencies import require


class SleapSource(KeypointSource):
    """A SLEAP file of one video and one animal; what a person has labelled goes first.

    The file is read as a whole. Frames without an animal are not in it.

    Raises:
        DataError: it cannot be read, or holds several videos, skeletons or animals, or nothing.
    """

    def __init__(self, path: Path) -> None:
        sleap_io = require("sleap_io", "sleap", "to read SLEAP files")
        check_heaps(path)
        with reading(path, "as a SLEAP file"):
            labels = sleap_io.load_slp(str(path), open_videos=False)
        for what, found in (("video", labels.videos), ("skeleton", labels.skeletons)):
            if len(found) != 1:
                raise DataError(
                    f"{path}: expected one {what}, got {len(found)}. Export one file for each."
                )
        names = tuple(labels.skeletons[0].node_names)
        frames, points, scores = [], [], []
        for labelled in sorted(labels, key=lambda labelled: int(labelled.frame_idx)):
            instances = labelled.user_instances or labelled.predicted_instances
            if len(instances) > 1:
                raise DataError(
                    f"{path}, frame {labelled.frame_idx}: {len(instances)} animals; losses look at "
                    "one. Export each track to a file of its own."
                )
            for instance in instances:
                frames.append(int(labelled.frame_idx))
                points.append(np.asarray(instance.numpy(), dtype=np.float64)[:, :2].reshape(-1))
                scores.append(_scores(instance, len(names)))
        if not frames:
            raise DataError(f"{path}: there are no frames")
        self._frames = np.array(frames)
        self._keypoints = np.stack(points)
        self._confidences = np.stack(scores)
        self.header = KeypointHeader(path, names, True, True)

    def _blocks(self, max_frames: int) -> Iterator[Block]:
        for start in range(0, len(self._frames), max_frames):
            rows = slice(start, start + max_frames)
            yield self._frames[rows], self._keypoints[rows], self._confidences[rows]


def _scores(instance: Any, num_keypoints: int) -> np.ndarray:
    """Return how sure each point is; a person's label is certain."""
    if "score" in (instance.points.dtype.names or ()):
        return np.asarray(instance.points["score"], dtype=np.float64)
    return np.ones(num_keypoints)
