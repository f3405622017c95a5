"""How many frames of all recordings are done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with the name of a recording, the number of frames that are done, and that of all.
Progress: TypeAlias = Callable[[str, int, int], None]


class RecordingCount:
    """Adds up what is done of one recording after the other.

    Args:
        num_frames: of all recordings.
        progress: what is told.

    Example:
        >>> count = RecordingCount(7, print)
        >>> count.of("walk")(5)
        walk 5 7
        >>> count.finish(5)
        >>> count.of("run")(1)
        run 6 7
    """

    def __init__(self, num_frames: int, progress: Progress) -> None:
        self._num_frames, self._num_done, self._progress = num_frames, 0, progress

    def of(self, name: str) -> Callable[[int], None]:
        """Return what to call with the number of frames that are done of a recording."""

        def progress(num_done: int) -> None:
            self._progress(name, self._num_done + num_done, self._num_frames)

        return progress

    def finish(self, num_frames: int) -> None:
        """Count all frames of a recording as done, even if it failed."""
        self._num_done += num_frames
