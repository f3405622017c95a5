"""All pictures of one recording."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lploss.errors import DataError
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.poses.names import PoseNames
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.scoring.pictures import style
from lploss_builtin.scoring.pictures.distribution import distribution
from lploss_builtin.scoring.pictures.over_time import over_time
from lploss_builtin.scoring.pictures.worst_poses import worst_poses
from lploss_builtin.scoring.pictures.worst_views import worst_views
from lploss_builtin.scoring.recording import Recording
from lploss_builtin.scoring.recording_scorer import ScoredRecording


def draw_pictures(
    folder: Path,
    name: str,
    recording: Recording,
    scored: ScoredRecording,
    names: PoseNames,
    cameras: Cameras | None,
) -> None:
    """Draw, for each loss, the values over time, their distribution, and the worst poses.

    Args:
        folder: where to.
        name: short name of the recording.
        recording: the recording.
        scored: what was found in it.
        names: names of the keypoints, in order.
        cameras: of the views, where there are several.

    Raises:
        DataError: a video is not the one of these predictions, or a frame cannot be read.
    """
    images = [_images(recording.name, scored, video) for video in recording.videos]
    for statistics in scored.statistics:
        if not statistics.worst.found:
            continue  # nothing is valid
        loss = statistics.loss.name
        style.save(
            over_time(statistics, name, names, scored.first_frame),
            folder / f"{loss}_over_time.png",
        )
        style.save(distribution(statistics, name), folder / f"{loss}_distribution.png")
        style.save(
            worst_poses(
                statistics, name, names.flat, scored.low, scored.high, images[0] if images else {}
            )
            if cameras is None
            else worst_views(statistics, name, names, cameras, images),
            folder / f"{loss}_worst_frames.png",
        )


def _images(
    name: str, scored: ScoredRecording, video: str | PathLike[str]
) -> Mapping[int, UInt8[np.ndarray, "height width 3"]]:
    if scored.last_frame is None:
        raise DataError(
            f"{name}: its frames are images, so the video {video} cannot be laid under them. "
            "Score the file without a video."
        )
    source = frame_source(Path(video))
    if source.num_frames <= scored.last_frame:
        raise DataError(
            f"the video {video} has {source.num_frames} frames, {name} goes up to frame "
            f"{scored.last_frame} (frames count from 0). Give the video that was predicted."
        )
    worst = [found.frame for one in scored.statistics for found in one.worst.found]
    numbers = sorted({frame for frame in worst if isinstance(frame, int)})
    with FrameReader(source) as reader:
        return {number: reader.read(number, number + 1)[0] for number in numbers}
