"""The files of several views, one a view, as if they were one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Shaped

from lploss.errors import DataError
from lploss_builtin.data.cameras.view_names import session_of, side_by_side
from lploss_builtin.data.poses.source import Block, KeypointSource
from lploss_builtin.data.poses.table import KeypointHeader, KeypointTable


class KeypointViews(KeypointSource):
    """The views of one recording: the same keypoints in the same frames.

    A block holds all keypoints of the first view, then of the second, and so on. Where frames
    are images, each view has a folder of its own, ``labeled-data/<session>_<view>``; the frame is
    then called ``<session>/<image>``.

    Args:
        views: for each view its file.

    Raises:
        DataError: the files do not hold the same keypoints, or frames of different kinds.
    """

    def __init__(self, views: Mapping[str, KeypointSource]) -> None:
        self._views = dict(views)
        headers = [source.header for source in self._views.values()]
        first = headers[0]
        for header in headers[1:]:
            if differences := header.differences(first.keypoint_names):
                raise DataError(
                    f"{header.path}: its keypoints are not those of {first.path}: {differences}. "
                    "The views of a recording must hold the same keypoints."
                )
            if header.frames_are_numbers != first.frames_are_numbers:
                kinds = {True: "numbers", False: "images"}
                raise DataError(
                    f"{header.path}: its frames are {kinds[header.frames_are_numbers]}, those of "
                    f"{first.path} are {kinds[first.frames_are_numbers]}. {_EXPECTED}"
                )
        self.header = KeypointHeader(
            Path(side_by_side([str(header.path) for header in headers])),
            first.keypoint_names,
            all(header.has_confidences for header in headers),
            first.frames_are_numbers,
            tuple(self._views),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed in the rows of all views."""
        return tuple(note for source in self._views.values() for note in source.notes)

    def _blocks(self, max_frames: int) -> Iterator[Block]:
        coming = {view: source.blocks(max_frames) for view, source in self._views.items()}
        # Formats cut their rows differently: what one view has ahead of the others waits here.
        waiting: dict[str, KeypointTable] = {}
        num_rows = 0
        while True:
            for view, blocks in coming.items():
                block = None if view in waiting else next(blocks, None)
                if block is not None:
                    waiting[view] = self._table(view, block)
            if len(waiting) < len(coming):
                break
            num = min(len(table.frames) for table in waiting.values())
            heads = {view: table.rows(0, num) for view, table in waiting.items()}
            frames = self._common_frames(heads, num_rows)
            confidences = [table.confidences for table in heads.values()]
            yield (
                frames,
                np.concatenate([table.keypoints for table in heads.values()], axis=1),
                np.concatenate([values for values in confidences if values is not None], axis=1)
                if self.header.has_confidences
                else None,
            )
            num_rows += num
            waiting = {
                view: table.rows(num, len(table.frames))
                for view, table in waiting.items()
                if len(table.frames) > num
            }
        if waiting:
            longer = next(iter(waiting.values()))
            shorter = next(source for view, source in self._views.items() if view not in waiting)
            raise DataError(
                f"{shorter.header.path} ends after {num_rows} frames, {longer.path} goes on with "
                f"frame {longer.frames[0]}. {_EXPECTED}"
            )

    def _table(self, view: str, block: Block) -> KeypointTable:
        header = self._views[view].header
        table = KeypointTable(header.path, header.keypoint_names, *block)
        return table.select(self.header.keypoint_names)

    def _common_frames(
        self, views: Mapping[str, KeypointTable], num_before: int
    ) -> Shaped[np.ndarray, "frames"]:
        first = next(iter(views.values()))
        if all(np.array_equal(table.frames, first.frames) for table in views.values()):
            return first.frames
        frames = {view: self._frames(view, table) for view, table in views.items()}
        expected = next(iter(frames.values()))
        for view, table in views.items():
            different = np.flatnonzero(frames[view] != expected)
            if different.size:
                at = int(different[0])
                raise DataError(
                    f"{table.path}: row {num_before + at + 1} is frame {table.frames[at]}, in "
                    f"{first.path} it is frame {first.frames[at]}. {_EXPECTED}"
                )
        return expected

    def _frames(self, view: str, table: KeypointTable) -> Shaped[np.ndarray, "frames"]:
        """Return the frames by names that all views share."""
        if self.header.frames_are_numbers:
            return table.frames
        names = np.empty(len(table.frames), dtype=object)
        for row, frame in enumerate(table.frames):
            try:
                names[row] = f"{session_of(frame, [view])}/{PurePosixPath(frame).name}"
            except DataError as error:
                raise DataError(
                    f"{table.path}: its images are not those of the other views, and which belong "
                    f"together cannot be told: {error}"
                ) from error
        return names


_EXPECTED = "The files of a recording's views must hold the same frames in the same order."
