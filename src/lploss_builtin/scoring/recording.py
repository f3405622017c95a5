"""What is scored as one: a file, or the files of several calibrated views."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from lploss.errors import ArgumentValueError
from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.data.cameras.view_names import side_by_side, views_named_in
from lploss_builtin.data.poses.columns import LEVELS
from lploss_builtin.data.poses.reading import PoseFiles
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.ops.geometry import Cameras

_Path: TypeAlias = str | PathLike[str]

#: Called with the name of a recording and how many of its frames are scored; 0 when it is begun.
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """Frames that belong together.

    Attributes:
        name: what it is called in tables: the file as it was given; of several views one name
            for all their files; of one individual of several, with its name in brackets.
        files: the file of predictions; of several views that of each.
        videos: the video of the file, or of each view; or none.
        individual: the individual, if the files hold several.
    """

    name: str
    files: PoseFiles
    videos: tuple[_Path, ...]
    individual: str = ""

    def split(self, individuals: Sequence[str]) -> list[Recording]:
        """Return a recording for each individual; a single one is the recording itself.

        Example:
            >>> [found.name for found in Recording("walk.csv", "walk.csv", ()).split(["a", "b"])]
            ['walk.csv[a]', 'walk.csv[b]']
        """
        if len(individuals) == 1:
            return [self]
        return [replace(self, name=f"{self.name}[{name}]", individual=name) for name in individuals]

    def of_individual(self, poses: PoseTable) -> PoseTable:
        """Return what is scored of the poses in the files."""
        return poses.select_individuals((self.individual,)) if self.individual else poses

    def from_anywhere(self) -> Recording:
        """Return the recording with absolute paths, which lead to its files from any folder."""
        files = self.files
        return replace(
            self,
            files={view: _absolute(file) for view, file in files.items()}
            if isinstance(files, Mapping)
            else _absolute(files),
            videos=tuple(map(_absolute, self.videos)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """The recordings of a run, and what goes with all of them.

    Attributes:
        recordings: the recordings.
        labels: the label file, or that of each view.
        cameras: of the views, in their order.
        notes: what else to know.
    """

    recordings: tuple[Recording, ...]
    labels: PoseFiles | None
    cameras: Cameras | None = None
    notes: tuple[str, ...] = ()


def separate_files(
    files: Sequence[str], labels: Sequence[_Path], videos: Sequence[_Path]
) -> Recordings:
    """Return each file as a recording of its own.

    Args:
        files: files of predictions, as they were given.
        labels: at most one label file.
        videos: none, one for all files, or one for each.

    Raises:
        ArgumentValueError: the label files are too many, or the videos too many or too few.
    """
    if len(labels) > 1:
        raise ArgumentValueError(
            f"give one label file, got {len(labels)}: {', '.join(map(str, labels))}. Several are "
            "for the views of one recording, which need a calibration."
        )
    if len(videos) not in (0, 1, len(files)):
        expected = (
            "at most one video for one file"
            if len(files) == 1
            else f"one video for all {len(files)} files, or one for each"
        )
        raise ArgumentValueError(f"give {expected}; got {len(videos)}")
    of_all = tuple(videos) if len(videos) < len(files) else None
    return Recordings(
        tuple(
            Recording(file, file, (videos[number],) if of_all is None else of_all)
            for number, file in enumerate(files)
        ),
        labels[0] if labels else None,
    )


def calibrated_views(
    files: Sequence[str],
    labels: Sequence[_Path],
    videos: Sequence[_Path],
    calibration: _Path,
    views: Sequence[str] | None,
) -> Recordings:
    """Return the files as the views of one recording, in the order of the calibration.

    Args:
        files: a file of predictions for each view, as they were given.
        labels: none, or a label file for each view.
        videos: none, or one for each file, in the same order.
        calibration: the calibration file.
        views: the camera of each file, and of each label file; ``None``: it is told by the name
            of the file.

    Raises:
        ArgumentValueError: there are fewer than two files, or not as many views, labels or videos;
            a view is no camera, or one twice; or it cannot be told which file is which camera.
        DataError: the calibration cannot be used.
    """
    if len(files) < 2:
        raise ArgumentValueError(
            "with a calibration, give the files of at least two views of one recording; got "
            f"{', '.join(files)}"
        )
    for what, given in (("label file", labels), ("video", videos)):
        if len(given) not in (0, len(files)):
            raise ArgumentValueError(
                f"give one {what} for each of the {len(files)} views, or none; got {len(given)}: "
                f"{', '.join(map(str, given))}"
            )
    cameras = read_calibration(calibration)
    known = cameras.names or ()
    if views is None:
        names = _told_by_name(files, known, "files")
    elif len(views) == len(files) == len(set(views)):
        names = list(views)
    else:
        raise ArgumentValueError(
            f"views must name another camera for each of the {len(files)} files, in their order; "
            f"got {', '.join(views)}"
        )
    cameras.select(names)  # whose error names a view that is no camera
    used = [name for name in known if name in names]
    order = [names.index(name) for name in used]
    label_names = _told_by_name(labels, used, "label files") if views is None else names
    unused = [name for name in known if name not in names]
    return Recordings(
        (
            Recording(
                side_by_side(files),
                {names[at]: files[at] for at in order},
                tuple(videos[at] for at in order) if videos else (),
            ),
        ),
        {name: labels[label_names.index(name)] for name in used} if labels else None,
        cameras.select(used),
        (f"{calibration}: no file is of {', '.join(unused)}",) if unused else (),
    )


def camera_inputs(cameras: Cameras | None, num_frames: int) -> dict[str, Tensor]:
    """Return the cameras as inputs of losses, in float64, the same for all frames."""
    if cameras is None:
        return {}
    given = {
        "intrinsics": cameras.intrinsics,
        "extrinsics": cameras.extrinsics,
        "distortions": cameras.distortions,
    }
    return {
        name: value.expand(num_frames, *value.shape)
        for name, value in given.items()
        if value is not None
    }


def _absolute(path: _Path) -> str:
    return str(Path(path).absolute())


def _told_by_name(files: Sequence[_Path], view_names: Sequence[str], what: str) -> list[str]:
    """Return the view of each file."""
    found = [views_named_in(Path(file), view_names) for file in files]
    told = {views[0] for views in found if len(views) == 1}
    if len(told) == len(files):
        return [views[0] for views in found]
    each = "; ".join(
        f"{Path(file).name}: {' or '.join(views) or 'none'}"
        for file, views in zip(files, found, strict=True)
    )
    raise ArgumentValueError(
        f"the names of the {what} do not tell which is of which camera ({each}). The cameras are "
        f"{', '.join(view_names)}. Name the camera of each file, in their order: --views "
        "NAME,NAME,..."
    )


def holds_points_in_space(path: Path) -> bool:
    r"""Return whether a file holds points in space, such as the ``_3d.csv`` of `lploss predict`.

    It has the header of a CSV of predictions, with a coordinate ``z``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "walk_3d.csv")
        >>> header = "scorer,net,net,net\nbodyparts,nose,nose,nose\ncoords,x,y,z\n"
        >>> _ = path.write_text(header)
        >>> holds_points_in_space(path)
        True
    """
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = list(islice(csv.reader(file), len(LEVELS)))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return [row[:1] for row in header] == [[level] for level in LEVELS] and "z" in header[-1]
