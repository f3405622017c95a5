"""Where a config says that the files of a labelled project are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lploss.config import plain
from lploss.errors import ConfigError

#: One file, or one for each view.
Files = str | PathLike[str] | Sequence[str | PathLike[str]]


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """The files of a labelled project.

    Attributes:
        folder: the project's folder, in which the paths of images start.
        view_names: names of the views; empty where there is one view without a name.
        labels: the label file of each view.
        boxes: the file of boxes of each view; empty where nothing is cropped.
        calibration: the calibration of all sessions, or a table that says which file is that of
            each frame; ``None`` where they are found by their names.
    """

    folder: Path
    view_names: tuple[str, ...]
    labels: tuple[Path, ...]
    boxes: tuple[Path, ...] = ()
    calibration: Path | None = None


def project_files(
    config: DictConfig,
    folder: Path | None = None,
    csv_files: Files | None = None,
    bbox_files: Files | None = None,
) -> ProjectFiles:
    """Return the paths of the files that section ``data`` of a config names.

    Args:
        config: the whole config.
        folder: where a relative ``data.data_dir`` starts, which is the folder of the config's
            file; ``None``: the working directory.
        csv_files: label files instead of ``data.csv_file``.
        bbox_files: files of boxes instead of ``data.bbox_file``.

    Raises:
        ConfigError: there is no label file, or files and views do not go together.

    Example:
        >>> from lploss.config import load_config
        >>> section = {"csv_file": ["a.csv", "b.csv"], "view_names": ["a", "b"], "data_dir": "rig"}
        >>> [path.as_posix() for path in project_files(load_config({"data": section})).labels]
        ['rig/a.csv', 'rig/b.csv']
    """
    data = config.data
    root = (folder or Path()) / Path(data.data_dir or "").expanduser()
    labels = _paths(root, csv_files if csv_files is not None else data.csv_file, "data.csv_file")
    boxes = _paths(root, bbox_files if bbox_files is not None else data.bbox_file, "data.bbox_file")
    views = tuple(plain(data.view_names) or ())
    if not labels:
        raise ConfigError("data.csv_file must name a label file, or one for each view; it is empty")
    if len(set(views)) < len(views) or not all(views):
        raise ConfigError(
            f"data.view_names must hold a different name for each view, got {list(views)}"
        )
    if len(labels) != max(1, len(views)):
        raise ConfigError(
            f"data.csv_file must name a label file for each of the views {list(views)} in "
            f"data.view_names, got {len(labels)}"
        )
    if boxes and len(boxes) != len(labels):
        raise ConfigError(
            f"data.bbox_file must name a file for each of the {len(labels)} label files, got "
            f"{len(boxes)}"
        )
    calibration = data.camera_params_file
    if calibration and not views:
        raise ConfigError(
            "data.camera_params_file needs data.view_names, which say whose cameras they are"
        )
    return ProjectFiles(
        root, views, labels, boxes, root / Path(calibration).expanduser() if calibration else None
    )


def _paths(root: Path, files: Any, key: str) -> tuple[Path, ...]:
    files = plain(files)
    if files is None:
        return ()
    listed = [files] if isinstance(files, str | PathLike) else files
    if not isinstance(listed, Sequence) or not all(isinstance(f, str | PathLike) for f in listed):
        raise ConfigError(f"{key} must be a path or a list of paths, got {files!r}")
    return tuple(root / Path(file).expanduser() for file in listed)
