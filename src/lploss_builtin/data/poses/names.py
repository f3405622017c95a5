"""What the keypoints of a pose are called, in one view or in several."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations


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
