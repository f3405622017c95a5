"""Which frames of a recording could not be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from lploss.errors import DataError, first_line
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.output import write_text

_FILE = "unread.jsonl"


class UnreadFrames:
    """The frames that could not be read, kept in a file beside what was predicted.

    Args:
        folder: of what is being predicted.
        sources: the video of each view.
    """

    def __init__(self, folder: Path, sources: Sequence[FrameSource]) -> None:
        self._path, self._sources = folder / _FILE, sources
        #: Number of the view, of the first frame, and after the last.
        self._ranges: list[tuple[int, int, int]] = []
        if self._path.is_file():
            try:
                lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
                self._ranges = [self._range(own) for own in lines if own.endswith("\n")]
            except (OSError, ValueError, RecursionError) as error:
                raise DataError(
                    f"{self._path}, which lists frames that could not be read, is damaged "
                    f"({first_line(error)}). Delete {folder} to predict the recording from its "
                    "start."
                ) from error

    def _range(self, line: str) -> tuple[int, int, int]:
        content = json.loads(line)
        if isinstance(content, list) and [type(number) for number in content] == [int] * 3:
            view, first, stop = content
            if 0 <= view < len(self._sources) and 0 <= first < stop:
                return view, first, stop
        raise ValueError(f"{line.strip()[:100]!r} is not a view, a first and a last frame")

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def keep_before(self, stop: int) -> None:
        """Forget the frames from one on: they are read once more."""
        self._ranges = [(v, first, min(last, stop)) for v, first, last in self._ranges]
        self._ranges = [own for own in self._ranges if own[1] < own[2]]
        if self._path.is_file():
            write_text(self._path, _text(self._ranges))

    def add(self, start: int, is_read: Bool[np.ndarray, "frames views"]) -> None:
        """Add those of some consecutive frames that could not be read."""
        new = []
        for view, own in enumerate(is_read.T):
            edges = np.flatnonzero(np.diff(np.concatenate([[True], own, [True]]).astype(np.int8)))
            new += [(view, start + int(a), start + int(b)) for a, b in edges.reshape(-1, 2)]
        self._ranges += new
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_text(new))

    def lines(self) -> tuple[str, ...]:
        """Return in words what could not be read, a line for each stretch of frames."""
        found = []
        for view, source in enumerate(self._sources):
            for first, stop in _joined([own[1:] for own in self._ranges if own[0] == view]):
                if first < source.num_frames:
                    end = min(stop, source.num_frames)
                    found.append(f"{source.path}: {_frames(first, end)} cannot be decoded")
                if stop > source.num_frames:
                    begin = max(first, source.num_frames)
                    found.append(
                        f"{source.path}: it ends before {_frames(begin, stop)}, which other views "
                        "have"
                    )
        return tuple(found)


def _text(ranges: Sequence[tuple[int, int, int]]) -> str:
    return "".join(f"{json.dumps(own)}\n" for own in ranges)


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, stop in ranges:
        if joined and joined[-1][1] == first:
            first = joined.pop()[0]
        joined.append((first, stop))
    return joined


def _frames(first: int, stop: int) -> str:
    return f"frame {first}" if stop - first == 1 else f"frames {first} to {stop - 1}"
