"""Videos in which keypoints are drawn: they say so themselves, whatever they are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lploss_builtin.dependencies import require

_TAG = "comment"
_DRAWN = "lploss: predicted keypoints are drawn in this video"


def mark_as_drawn(container: Any) -> None:
    """Write into a video that keypoints are drawn in it.

    Args:
        container: of PyAV, open for writing, before its first packet.
    """
    container.metadata[_TAG] = _DRAWN


def is_drawn(path: Path) -> bool:
    """Return whether a video says that keypoints are drawn in it.

    What cannot be opened does not.

    Raises:
        MissingDependencyError: av is not installed.
    """
    av = require("av", "train", "to read video")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            # Some formats have the names of tags in capitals.
            return any(
                name.lower() == _TAG and text == _DRAWN for name, text in container.metadata.items()
            )
    except (av.FFmpegError, OSError, ValueError):
        return False


def without_drawn(videos: Sequence[Path]) -> tuple[list[Path], str | None]:
    """Leave out the videos in which keypoints are drawn.

    Args:
        videos: those in a folder.

    Returns:
        The others, and a sentence on what was left out; ``None`` where nothing was.

    Raises:
        MissingDependencyError: av is not installed.
    """
    drawn = [path for path in videos if is_drawn(path)]
    if not drawn:
        return list(videos), None
    return [path for path in videos if path not in drawn], (
        f"{drawn[0].parent}: predicted keypoints are drawn in {len(drawn)} of its videos, such as "
        f"{drawn[0].name}: they are passed over. Name them to use them all the same."
    )
