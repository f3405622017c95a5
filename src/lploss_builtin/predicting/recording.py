"""Images that are predicted together, and written to one file a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from lploss_builtin.ops.geometry import Cameras


@dataclass(frozen=True, slots=True, eq=False)
class ViewImages:
    """The images of one view.

    Attributes:
        view: name of the view; empty where there is one without a name.
        source: the folder, or the list, that they come from.
        folder: where their paths start.
        names: path of each image.
        file: name of the file of their predictions.
        boxes: x, y, height and width of each crop, px in the original image; ``None``: nothing
            is cropped.
        are_cut_out: whether the images are the boxes, cut out of larger frames before.
        unlisted: numbers of the frames that only other views have.
    """

    view: str
    source: Path
    folder: Path
    names: tuple[str, ...]
    file: str
    boxes: Float64[np.ndarray, "frames 4"] | None = None
    are_cut_out: bool = False
    unlisted: frozenset[int] = frozenset()

    def path(self, frame: int) -> Path:
        """Return the file of an image."""
        return self.folder / self.names[frame]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Frames, seen from one or several views. Of each only its name is held.

    Attributes:
        name: what it is called in tables and in the name of its 3D file.
        views: the images of each view, in the order of the model's views.
        sessions: session of each frame.
        cameras: of each session that is calibrated, in the order of ``views``.
    """

    name: str
    views: tuple[ViewImages, ...]
    sessions: tuple[str, ...]
    cameras: Mapping[str, Cameras] = field(default_factory=dict)

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return len(self.sessions)

    @property
    def file_3d(self) -> str | None:
        """Name of the file of its keypoints in space; ``None`` where no camera is known."""
        return f"{self.name}_3d.csv" if self.cameras else None

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are written of it."""
        return (*(own.file for own in self.views), *([self.file_3d] if self.file_3d else []))
