"""Reading the labels of one view, with what is said of each keypoint's visibility."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from lploss.errors import DataError
from lploss_builtin.data.findings import UNUSABLE_FILES, Findings, Kind
from lploss_builtin.data.poses.reading import read_poses

_NO_IMAGES = Kind(
    "Label files whose frames are no images",
    "The first column of a label file holds the path of each image, in the project's folder.",
)
_TWICE = Kind("Frames that a label file holds twice", "Keep one row for each image.")
_VISIBLE = Kind(
    "Values in a column 'visible' other than 0, 1 and 2",
    "0 is not labelled, 1 occluded, 2 visible.",
)
_HALF = Kind(
    "Labels with only one of x and y", "They count as not labelled. Complete them.", hinders=False
)
_NOWHERE = Kind(
    "Keypoints marked as visible that have no coordinates",
    "They count as not labelled. Label them, or correct 'visible'.",
    hinders=False,
)
_LIKELIHOODS = Kind("Likelihoods outside 0 to 1", "Label files need no likelihoods.", hinders=False)

NOT_LABELLED, OCCLUDED, VISIBLE = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class LabelFile:
    """The labels of one view.

    Attributes:
        path: the file.
        keypoint_names: names of the keypoints, in order.
        images: path of each frame's image, as the file has it.
        keypoints: px in the image; NaN where not labelled.
        visibility: 0 not labelled, 1 occluded, 2 visible. One that is occluded may have no
            coordinates.
    """

    path: Path
    keypoint_names: tuple[str, ...]
    images: tuple[str, ...]
    keypoints: Float64[np.ndarray, "frames num_keypoints 2"]
    visibility: UInt8[np.ndarray, "frames num_keypoints"]

    def select(self, keypoint_names: tuple[str, ...]) -> LabelFile:
        """Return the labels of these keypoints, in this order."""
        order = [self.keypoint_names.index(name) for name in keypoint_names]
        return LabelFile(
            self.path,
            keypoint_names,
            self.images,
            self.keypoints[:, order],
            self.visibility[:, order],
        )


def read_labels(
    path: Path, findings: Findings, *, missing_are_occluded: bool = False
) -> LabelFile | None:
    """Read a label file.

    If the file does not state the visibility of a keypoint, a keypoint with coordinates is visible.
    A keypoint that is marked as not labelled gets no coordinates, whatever the file holds.

    Args:
        path: the file.
        findings: where problems go.
        missing_are_occluded: whether a keypoint without coordinates, of which the file does not
            say whether it is visible, is occluded; otherwise it is not labelled.

    Returns:
        The labels, or ``None`` where the file cannot be used.
    """
    try:
        table = read_poses(path)
    except DataError as error:
        findings.add(UNUSABLE_FILES, [str(error)])
        return None
    if len(table.individuals) > 1:
        several = f"{path} holds several animals: {', '.join(table.individuals)}"
        findings.add(UNUSABLE_FILES, [f"{several}. Split it into one file for each individual."])
        return None
    if table.frames_are_numbers:
        findings.add(_NO_IMAGES, [f"{path}: its first frame is {table.frames[0]}"])
        return None
    findings.add(_LIKELIHOODS, table.notes)
    images = tuple(map(str, table.frames))
    findings.add(_TWICE, _repeated(path, images))
    names, keypoints = table.keypoints, table.points[:, 0]
    visible = np.full(keypoints.shape[:2], np.nan)
    if table.visibility is not None:
        visible = table.visibility[:, 0]

    def cases(chosen: np.ndarray, values: np.ndarray | None = None) -> list[str]:
        return [
            f"{path}: {images[frame]}, keypoint {names[keypoint]!r}"
            + ("" if values is None else f": {values[frame, keypoint]:g}")
            for frame, keypoint in np.argwhere(chosen)
        ]

    is_wrong = ~(np.isnan(visible) | np.isin(visible, (NOT_LABELLED, OCCLUDED, VISIBLE)))
    findings.add(_VISIBLE, cases(is_wrong, visible))
    is_there = np.isfinite(keypoints)
    has_both = is_there.all(axis=-1)
    findings.add(_HALF, cases(is_there.any(axis=-1) & ~has_both))
    findings.add(_NOWHERE, cases((visible == VISIBLE) & ~has_both))
    unsaid = np.where(has_both, VISIBLE, OCCLUDED if missing_are_occluded else NOT_LABELLED)
    visibility = np.where(np.isnan(visible) | is_wrong, unsaid, visible).astype(np.uint8)
    visibility[(visibility == VISIBLE) & ~has_both] = NOT_LABELLED
    return LabelFile(
        path, names, images, np.where(has_both[..., None], keypoints, np.nan), visibility
    )


def _repeated(path: Path, images: tuple[str, ...]) -> list[str]:
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(images, start=1):
        rows.setdefault(image, []).append(row)
    return [
        f"{path}: {image} in rows {' and '.join(map(str, found))}"
        for image, found in rows.items()
        if len(found) > 1
    ]
