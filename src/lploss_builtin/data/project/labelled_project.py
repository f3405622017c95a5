"""Reading a labelled project as a whole, and checking it before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from omegaconf import DictConfig

from lploss.errors import DataError
from lploss_builtin.data.findings import Findings, Kind
from lploss_builtin.data.frames.images import read_image_sizes
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.data.project.bounding_boxes import boxes_of
from lploss_builtin.data.project.frame_names import common_frames, sessions_of
from lploss_builtin.data.project.label_checks import check_positions, check_presence, in_same_order
from lploss_builtin.data.project.label_files import LabelFile, read_labels
from lploss_builtin.data.project.project_cameras import cameras_of_sessions, check_image_sizes
from lploss_builtin.data.project.project_files import Files, ProjectFiles, project_files
from lploss_builtin.ops.geometry import Cameras

_MISSING_IMAGES = Kind(
    "Images that do not exist", "Put them there, or take their rows out of the label files."
)
_NO_IMAGES = Kind("Images that cannot be used", "Replace them, or take their rows out.")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledProject:
    """The labelled frames of one or several views: everything but the pixels.

    Attributes:
        folder: the project's folder.
        view_names: names of the views; empty where there is one view without a name.
        keypoint_names: names of the keypoints of one view.
        frames: name of each frame: the path of its image, or ``<session>/<image>`` where each
            view has its own.
        sessions: session of each frame.
        images: for each frame the image of each view.
        image_sizes: height and width of each image, px.
        keypoints: px in the original image, from which the model's input is cropped; NaN where
            not labelled.
        visibility: 0 not labelled, 1 occluded, 2 visible. One that is occluded may have no
            coordinates.
        bboxes: x, y, height and width of each crop, px in the original image; the whole image
            where nothing is cropped.
        crops: the same, px in the image file: another box only where the files are crops already.
        cameras: for each session its cameras in the order of the views, in float64, all with the
            same number of distortion coefficients; ``None`` where nothing is calibrated.
        notes: what the checks found that does not hinder.
    """

    folder: Path
    view_names: tuple[str, ...]
    keypoint_names: tuple[str, ...]
    frames: tuple[str, ...]
    sessions: tuple[str, ...]
    images: tuple[tuple[Path, ...], ...]
    image_sizes: Int64[np.ndarray, "frames views 2"]
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"]
    visibility: UInt8[np.ndarray, "frames views num_keypoints"]
    bboxes: Float64[np.ndarray, "frames views 4"]
    crops: Float64[np.ndarray, "frames views 4"]
    cameras: Mapping[str, Cameras] | None
    notes: tuple[str, ...]

    @property
    def num_views(self) -> int:
        """How many views there are, at least 1."""
        return max(1, len(self.view_names))

    @property
    def pose_names(self) -> PoseNames:
        """Names of the keypoints and views."""
        return PoseNames(self.keypoint_names, self.view_names)


def read_project(
    config: DictConfig,
    *,
    folder: Path | None = None,
    csv_files: Files | None = None,
    bbox_files: Files | None = None,
) -> LabelledProject:
    """Read the labels, boxes and calibrations that a config names, and check all against all.

    Of the images only sizes are read. A file of boxes says what to crop from the images, or,
    where the images of a view have the very sizes of their boxes, where these were cut out of
    larger frames; labels are always px in the images as they are.

    Args:
        config: the whole config, see `lploss.config.load_config`. Its section ``data`` is used,
            and ``training.uniform_heatmaps_for_nan_keypoints``: keypoints without coordinates are
            then occluded, unless the label file says more.
        folder: where a relative ``data.data_dir`` starts, which is the folder of the config's
            file; ``None``: the working directory.
        csv_files: label files instead of ``data.csv_file``, such as those of frames held out;
            relative to ``data.data_dir``.
        bbox_files: their boxes, instead of ``data.bbox_file``.

    Returns:
        The project.

    Raises:
        ConfigError: files and views in the config do not go together.
        DataError: something is wrong with the data; the message lists all that is.
        MissingDependencyError: a package is not installed.
    """
    files = project_files(config, folder, csv_files, bbox_files)
    findings = Findings()
    project = _project(files, config, findings)
    problems = findings.problems()
    if problems or project is None:
        raise DataError(f"the labelled data in {files.folder} cannot be used:\n{problems}")
    return project


def _project(files: ProjectFiles, config: DictConfig, findings: Findings) -> LabelledProject | None:
    """Return the project; ``None``, or one that is not complete, where there are problems."""
    occluded = bool(config.training.uniform_heatmaps_for_nan_keypoints)
    views = files.view_names or ("",)
    labels = {
        view: own
        for view, path in zip(views, files.labels, strict=True)
        if (own := read_labels(path, findings, missing_are_occluded=occluded)) is not None
    }
    if not labels:
        return None
    ordered = in_same_order(labels, config.data, findings)
    frames = common_frames(labels, findings)
    seen = {view: _seen(files, views.index(view), own, findings) for view, own in labels.items()}
    view, first = next(iter(labels.items()))
    sessions = sessions_of(first.images, view)
    cameras = cameras_of_sessions(files, first.images, sessions, findings)
    if len(labels) < len(views) or ordered is None or frames is None:
        return None
    images = tuple(zip(*(own.images for own in seen.values()), strict=True))
    bboxes = np.stack([own.bboxes for own in seen.values()], axis=1)
    are_cut_out = [own.are_cut_out for own in seen.values()]
    if cameras is not None:
        sizes = np.stack([own.frame_sizes for own in seen.values()], axis=1)
        check_image_sizes(cameras, sessions, images, sizes, are_cut_out, findings)
    offsets = np.where(np.array(are_cut_out)[:, None], bboxes[..., :2], 0.0)
    keypoints = np.stack([own.keypoints for own in ordered.values()], axis=1)
    return LabelledProject(
        folder=files.folder,
        view_names=files.view_names,
        keypoint_names=next(iter(ordered.values())).keypoint_names,
        frames=frames,
        sessions=sessions,
        images=images,
        image_sizes=np.stack([own.image_sizes for own in seen.values()], axis=1),
        keypoints=keypoints + offsets[:, :, None],
        visibility=np.stack([own.visibility for own in ordered.values()], axis=1),
        bboxes=bboxes,
        crops=np.concatenate([bboxes[..., :2] - offsets, bboxes[..., 2:]], axis=-1),
        cameras=cameras,
        notes=findings.notes(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The images of one view.

    Attributes:
        images: the files.
        image_sizes: height and width of each, px; 0 where it is not known.
        bboxes: x, y, height and width of what the model sees, px in the original image.
        are_cut_out: whether the images are crops of larger frames.
    """

    images: tuple[Path, ...]
    image_sizes: Int64[np.ndarray, "frames 2"]
    bboxes: Float64[np.ndarray, "frames 4"]
    are_cut_out: bool

    @property
    def frame_sizes(self) -> Float64[np.ndarray, "frames 2"]:
        """Height and width of the original images, or the least that they have."""
        if self.are_cut_out:
            return self.bboxes[:, 1::-1] + self.bboxes[:, 2:]
        return self.image_sizes.astype(np.float64)


def _seen(files: ProjectFiles, view: int, labels: LabelFile, findings: Findings) -> _Seen:
    images = tuple(files.folder / image for image in labels.images)
    found = read_image_sizes(images)
    findings.add(_MISSING_IMAGES, [str(path) for path, size in found.items() if size is None])
    findings.add(_NO_IMAGES, [str(e) for e in found.values() if isinstance(e, DataError)])
    known = {path: size for path, size in found.items() if isinstance(size, tuple)}
    sizes = np.array([known.get(path, (0, 0)) for path in images], dtype=np.int64)
    check_presence(labels, findings)
    check_positions(labels, sizes, findings)
    whole = np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.float64)
    boxes = boxes_of(files.boxes[view], labels.images, sizes, findings) if files.boxes else None
    return _Seen(images, sizes, *(boxes or (whole, False)))
