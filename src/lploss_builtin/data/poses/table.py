"""Tables of poses, and the names of their keypoints and views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped


@dataclass(frozen=True, slots=True)
class PoseNames:
    """Names of the keypoints of a pose, and of the views in which each of them is seen.

    Attributes:
        keypoints: names of the keypoints, of each view if there are several.
        views: names of the views; empty where a pose is one file's.

    Example:
        >>> names = PoseNames(("nose", "tail"), ("left", "right"))
        >>> names.flat
        ('left/nose', 'left/tail', 'right/nose', 'right/tail')
        >>> names.pairs
        ('left+right',)
    """

    keypoints: tuple[str, ...]
    views: tuple[str, ...] = ()

    @property
    def flat(self) -> tuple[str, ...]:
        """A name for each keypoint of the batch: all of the first view, then of the second, ..."""
        if not self.views:
            return self.keypoints
        return tuple(f"{view}/{keypoint}" for view in self.views for keypoint in self.keypoints)

    def split(self, element: str) -> tuple[str, str]:
        """Return the view or the pair of views, and the keypoint, that a name in tables is of.

        Example:
            >>> names = PoseNames(("nose", "tail"), ("left", "right"))
            >>> names.split("left+right/tail"), names.split("pose")
            (('left+right', 'tail'), ('', 'pose'))
        """
        for group in (*self.views, *self.pairs):
            keypoint = element.removeprefix(f"{group}/")
            if keypoint != element and keypoint in self.keypoints:
                return group, keypoint
        return "", element

    @property
    def pairs(self) -> tuple[str, ...]:
        """A name for each pair of views, in the order of `itertools.combinations`."""
        return tuple("+".join(pair) for pair in combinations(self.views, 2))


@dataclass(frozen=True, slots=True)
class PoseHeader:
    """What is known of a pose file, or of the files of several views, before all of it is read.

    Attributes:
        path: the file; of several views one path that stands for all their files.
        keypoint_names: names of the keypoints, in order; of several views those of each.
        has_confidences: whether each keypoint has a likelihood.
        frames_are_numbers: whether frames are numbers; otherwise they are paths of images.
        view_names: names of the views, if there are several files, one for each.
        individuals: names of the individuals; a single one has no name.
    """

    path: Path
    keypoint_names: tuple[str, ...]
    has_confidences: bool
    frames_are_numbers: bool
    view_names: tuple[str, ...] = ()
    individuals: tuple[str, ...] = ("",)


def name_differences(names: Sequence[str], expected: Sequence[str]) -> str:
    """Return in words how names differ from the expected ones, in any order; else nothing.

    Example:
        >>> name_differences(["nose", "tail"], ["nose"])
        "it alone has 'tail'"
    """
    lacking = [name for name in expected if name not in names]
    more = [name for name in names if name not in expected]
    return "; ".join(
        f"{what} {', '.join(map(repr, differing))}"
        for what, differing in (("it lacks", lacking), ("it alone has", more))
        if differing
    )


@dataclass(frozen=True, slots=True, eq=False)
class PoseTable:
    """Poses of one or several individuals: predictions or labels.

    Attributes:
        points: px; NaN is missing.
        confidences: likelihoods, 0 to 1; ``None`` if there are none.
        visibility: 0 not labelled, 1 occluded, 2 visible, NaN where it is not stated; ``None`` if
            it is stated nowhere.
        frames: frame of each row: whole numbers, or paths of images as text.
        individuals: names of the individuals; a single one has no name: ``("",)``.
        keypoints: names of the keypoints; of several joined views `PoseNames.flat`.
        path: the file.
        notes: what the reader has changed.
    """

    points: Float64[np.ndarray, "frames individuals num_keypoints 2"]
    confidences: Float64[np.ndarray, "frames individuals num_keypoints"] | None
    visibility: Float64[np.ndarray, "frames individuals num_keypoints"] | None
    frames: Shaped[np.ndarray, "frames"]
    individuals: tuple[str, ...]
    keypoints: tuple[str, ...]
    path: Path
    notes: tuple[str, ...] = ()

    @property
    def frames_are_numbers(self) -> bool:
        """Whether frames are numbers; otherwise they are paths of images."""
        return self.frames.dtype.kind == "i"

    @property
    def rows(self) -> Float64[np.ndarray, "frames_x_individuals two_x_num_keypoints"]:
        """Coordinates ``x0 y0 x1 y1 ...``, px: a row for each frame and individual."""
        return self.points.reshape(-1, 2 * len(self.keypoints))

    def between(self, start: int, stop: int) -> PoseTable:
        """Return the frames from one position to another."""
        return self._changed(lambda values: values[start:stop], frames=self.frames[start:stop])

    def select_individuals(self, individuals: tuple[str, ...]) -> PoseTable:
        """Return the table with these of its individuals, in this order."""
        if individuals == self.individuals:
            return self
        order = [self.individuals.index(name) for name in individuals]
        return self._changed(lambda values: values[:, order], individuals=individuals)

    def select(self, keypoints: tuple[str, ...]) -> PoseTable:
        """Return the table with these of its keypoints, in this order.

        Example:
            >>> points = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
            >>> table = PoseTable(
            ...     points, None, None, np.arange(1), ("",), ("nose", "tail"), Path("a.csv")
            ... )
            >>> table.select(("tail",)).rows
            array([[3., 4.]])
        """
        if keypoints == self.keypoints:
            return self
        order = [self.keypoints.index(name) for name in keypoints]
        return self._changed(lambda values: values[:, :, order], keypoints=keypoints)

    def _changed(self, change: Callable[[Any], Any], **fields: Any) -> PoseTable:
        """Return a table all of whose values are changed in the same way."""
        return replace(
            self,
            points=change(self.points),
            confidences=None if self.confidences is None else change(self.confidences),
            visibility=None if self.visibility is None else change(self.visibility),
            **fields,
        )
