"""Tables of poses, and the names of their keypoints and views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

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
class KeypointHeader:
    """What a keypoint file says before its first frame.

    Attributes:
        path: the file; of several views one path that stands for all their files.
        keypoint_names: names of the keypoints, in order; of several views those of each.
        has_confidences: whether each keypoint has a likelihood.
        frames_are_numbers: whether frames are numbers; otherwise they are paths of images.
        view_names: names of the views, where there are several files, one for each.
    """

    path: Path
    keypoint_names: tuple[str, ...]
    has_confidences: bool
    frames_are_numbers: bool
    view_names: tuple[str, ...] = ()

    @property
    def pose_names(self) -> PoseNames:
        """Names of the keypoints and views."""
        return PoseNames(self.keypoint_names, self.view_names)

    def differences(self, keypoint_names: Sequence[str]) -> str:
        """Return in words how the keypoints differ from these, in any order; else nothing.

        Example:
            >>> KeypointHeader(Path("a.csv"), ("nose", "tail"), True, True).differences(["nose"])
            "it alone has 'tail'"
        """
        lacking = [name for name in keypoint_names if name not in self.keypoint_names]
        more = [name for name in self.keypoint_names if name not in keypoint_names]
        return "; ".join(
            f"{what} {', '.join(map(repr, names))}"
            for what, names in (("it lacks", lacking), ("it alone has", more))
            if names
        )


@dataclass(frozen=True, slots=True, eq=False)
class KeypointTable:
    """Keypoints of consecutive rows of a file.

    Attributes:
        path: the file.
        keypoint_names: names of the keypoints, in order; of several views `PoseNames.flat`.
        frames: frame of each row: whole numbers, or paths of images as text.
        keypoints: ``x0 y0 x1 y1 ...``, px; NaN is missing.
        confidences: likelihoods, 0 to 1; ``None`` where the file has none.
        num_previous_frames: how many rows at the start repeat rows of the table before.
        notes: what the reader has changed, in all rows of the file up to the last one here.
    """

    path: Path
    keypoint_names: tuple[str, ...]
    frames: Shaped[np.ndarray, "frames"]
    keypoints: Float64[np.ndarray, "frames two_x_num_keypoints"]
    confidences: Float64[np.ndarray, "frames num_keypoints"] | None
    num_previous_frames: int = 0
    notes: tuple[str, ...] = ()

    def rows(self, start: int, stop: int) -> KeypointTable:
        """Return some of the rows; none of them counts as a repeated one."""
        return KeypointTable(
            self.path,
            self.keypoint_names,
            self.frames[start:stop],
            self.keypoints[start:stop],
            None if self.confidences is None else self.confidences[start:stop],
        )

    def select(self, keypoint_names: tuple[str, ...]) -> KeypointTable:
        """Return the table with these of its keypoints, in this order.

        Example:
            >>> table = KeypointTable(
            ...     Path("a.csv"), ("nose", "tail"), np.arange(1), np.array([[1.0, 2, 3, 4]]), None
            ... )
            >>> table.select(("tail",)).keypoints
            array([[3., 4.]])
        """
        if keypoint_names == self.keypoint_names:
            return self
        order = [self.keypoint_names.index(name) for name in keypoint_names]
        coordinates = [2 * keypoint + axis for keypoint in order for axis in (0, 1)]
        return KeypointTable(
            self.path,
            keypoint_names,
            self.frames,
            self.keypoints[:, coordinates],
            None if self.confidences is None else self.confidences[:, order],
            self.num_previous_frames,
            self.notes,
        )
