"""Checking labels against the config, the other views and the images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64
from omegaconf import DictConfig

from lploss.config import plain
from lploss_builtin.data.findings import Findings, Kind
from lploss_builtin.data.poses.table import name_differences
from lploss_builtin.data.project.label_files import LabelFile

_OTHER_NUMBER = Kind(
    "Label files with another number of keypoints than the config",
    "data.num_keypoints is that of one view, or of all in one file with mirrors.",
)
_OTHER_NAMES = Kind(
    "Label files with other keypoints than expected",
    "All views must hold the same keypoints: those of data.keypoint_names if there are some. "
    "What a view cannot see has empty columns there.",
)
_OTHER_ORDER = Kind(
    "Label files with the keypoints in another order than the config",
    "data.keypoint_names must have the order of the label file: other keys count by it.",
)
_FAR_OUTSIDE = Kind(
    "Labels far outside of their image",
    "No model can learn to predict them. Correct them.",
    hinders=False,
)
_NEVER_LABELLED = Kind(
    "Keypoints that no frame of a view has labelled",
    "Nothing is learned of them there: what is predicted for them in this view means nothing.",
    hinders=False,
)
_ELSEWHERE = Kind(
    "Label files most of whose labels lie outside of the images",
    "Labels must be px in the images as they are: not before these were cropped or resized.",
)
# In image sizes. Who labels at the edge may well put a point just beyond it.
_FAR = 0.1


def in_same_order(
    labels: Mapping[str, LabelFile], data: DictConfig, findings: Findings
) -> dict[str, LabelFile] | None:
    """Return the labels of all views with the keypoints in the order of the first.

    Args:
        labels: for each view its labels.
        data: section ``data`` of the config.
        findings: where problems go.

    Returns:
        The labels; ``None`` where a view has other keypoints.
    """
    first = next(iter(labels.values()))
    expected = tuple(plain(data.keypoint_names) or first.keypoint_names)
    source = "data.keypoint_names" if data.keypoint_names else str(first.path)
    other_names = {
        own.path: differences
        for own in labels.values()
        if (differences := name_differences(own.keypoint_names, expected))
    }
    findings.add(
        _OTHER_NAMES,
        [f"{path}: compared with {source}, {what}" for path, what in other_names.items()],
    )
    if data.num_keypoints is not None:
        findings.add(
            _OTHER_NUMBER,
            [
                f"{own.path}: {len(own.keypoint_names)}, data.num_keypoints is {data.num_keypoints}"
                for own in labels.values()
                if len(own.keypoint_names) != data.num_keypoints
            ],
        )
    if other_names:
        return None
    if first.keypoint_names != expected:
        in_file, in_config = ", ".join(first.keypoint_names), ", ".join(expected)
        findings.add(_OTHER_ORDER, [f"{first.path}: {in_file}; in the config: {in_config}"])
    return {view: own.select(first.keypoint_names) for view, own in labels.items()}


def check_presence(labels: LabelFile, findings: Findings) -> None:
    """Report keypoints without a single label.

    Args:
        labels: those of one view.
        findings: where problems go.
    """
    is_labelled = np.isfinite(labels.keypoints).all(axis=-1).any(axis=0)
    names = zip(labels.keypoint_names, is_labelled, strict=True)
    lacking = [repr(name) for name, is_there in names if not is_there]
    findings.add(_NEVER_LABELLED, [f"{labels.path}: {', '.join(lacking)}"] if lacking else [])


def check_positions(
    labels: LabelFile, image_sizes: Int64[np.ndarray, "frames 2"], findings: Findings
) -> None:
    """Report labels outside of their images.

    Args:
        labels: those of one view.
        image_sizes: height and width of each image, px; 0 where they are not known.
        findings: where problems go.
    """
    sizes = image_sizes[:, None, ::-1]
    is_label = np.isfinite(labels.keypoints).all(axis=-1) & (sizes > 0).all(axis=-1)
    # NaN is outside of nothing.
    beyond = np.maximum(-labels.keypoints, labels.keypoints - sizes)
    num_outside = int((is_label & (beyond > 0).any(axis=-1)).sum())
    if num_outside > is_label.sum() / 2:
        case = f"{labels.path}: {num_outside} of {is_label.sum()} labels"
        findings.add(_ELSEWHERE, [case])
        return
    is_far = is_label & (beyond > _FAR * sizes).any(axis=-1)
    cases = []
    for frame, keypoint in np.argwhere(is_far):
        x, y = labels.keypoints[frame, keypoint]
        height, width = image_sizes[frame]
        cases.append(
            f"{labels.path}: {labels.images[frame]}, keypoint {labels.keypoint_names[keypoint]!r}: "
            f"x {x:g}, y {y:g}; the image has height {height}, width {width}"
        )
    findings.add(_FAR_OUTSIDE, cases)
