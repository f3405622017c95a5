"""One order of keypoints for predictions, labels and the indices in a config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lploss.config import plain
from lploss.errors import ConfigError, DataError, did_you_mean
from lploss_builtin.data.poses.table import PoseHeader, PoseNames, PoseTable, name_differences

_INDICES = ("mirrored_column_matches", "columns_for_singleview_pca")


def common_order(header: PoseHeader, config: DictConfig) -> PoseNames:
    """Return the keypoints in the order in which they are scored: the config's, then the file's.

    What a config says of keypoints by their number (an epsilon each, for example) then fits.

    Raises:
        ConfigError: ``data.keypoint_names`` holds a name twice.
    """
    known = _names_of(config) or ()
    named = tuple(name for name in known if name in header.keypoint_names)
    others = tuple(name for name in header.keypoint_names if name not in named)
    return PoseNames(named + others, header.view_names)


def check_same_keypoints(header: PoseHeader, keypoint_names: Sequence[str]) -> None:
    """Check that a file holds these keypoints, in any order.

    Raises:
        DataError: it holds others.
    """
    if differences := name_differences(header.keypoint_names, keypoint_names):
        raise DataError(
            f"{header.path}: its keypoints are not those of the first file: {differences}. Score "
            "files of different keypoints separately."
        )


def labels_in_order(labels: PoseTable, keypoint_names: tuple[str, ...]) -> PoseTable:
    """Return the labels of these keypoints, in this order; other keypoints are left out.

    Raises:
        DataError: the labels lack some of them.
    """
    if lacking := [name for name in keypoint_names if name not in labels.keypoints]:
        missing = "; ".join(
            f"{name!r}.{did_you_mean(name, labels.keypoints)}".removesuffix(".") for name in lacking
        )
        stop = "" if missing.endswith("?") else "."
        raise DataError(
            f"{labels.path} does not hold all keypoints of the predictions. Missing: "
            f"{missing}{stop} It holds: {', '.join(labels.keypoints)}."
        )
    return labels.select(keypoint_names)


def with_indices_of(config: DictConfig, names: PoseNames) -> DictConfig:
    """Return the config with the names of the predictions, and with keypoint indices along them.

    ``data.keypoint_names`` and ``data.view_names`` become those of the predictions, so that losses
    that need names get them without a config.

    In the config, indices count along ``data.keypoint_names``; without these names, they are taken
    as they are. Where there are several views, they count along the keypoints of one, and stand for
    the same keypoints of all; ``mirrored_column_matches`` are all keypoints unless stated.

    Raises:
        ConfigError: an index stands for no keypoint, or for one that is not predicted, or
            ``data.keypoint_names`` holds a name twice; or ``mirrored_column_matches`` holds
            several lists where there are several views.
    """
    known = _names_of(config)
    config = config.copy()
    OmegaConf.update(config, "data.keypoint_names", list(names.keypoints), merge=False)
    if names.views:
        OmegaConf.update(config, "data.view_names", list(names.views), merge=False)
    for key in _INDICES:
        value = plain(config.data[key])
        if value is not None and known is not None:
            value = _translated(value, key, known, names.keypoints)
        if names.views:
            value = _in_all_views(value, key, names)
        if value is not None:
            OmegaConf.update(config, f"data.{key}", value, merge=False)
    return config


def _translated(value: Any, key: str, known: Sequence[str], keypoint_names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_translated(entry, key, known, keypoint_names) for entry in value]
    if not isinstance(value, int) or not 0 <= value < len(known):
        raise ConfigError(
            f"data.{key} must hold indices of the {len(known)} names in data.keypoint_names, "
            f"got {value!r}"
        )
    if known[value] not in keypoint_names:
        raise ConfigError(
            f"data.{key} asks for the keypoint {known[value]!r} (number {value} of "
            f"data.keypoint_names), which the predictions do not hold."
            f"{did_you_mean(known[value], keypoint_names)} Leave it out there."
        )
    return list(keypoint_names).index(known[value])


def _in_all_views(value: Any, key: str, names: PoseNames) -> Any:
    is_mirrored = key == "mirrored_column_matches"
    if value is None and is_mirrored:
        value = list(range(len(names.keypoints)))
    if value is None:
        return None
    num = len(names.keypoints)
    if not all(isinstance(index, int) and 0 <= index < num for index in value):
        raise ConfigError(
            f"data.{key} must be one list of indices below {num} where each view is a file of its "
            f"own, for the same keypoints of every view; got {value!r}"
        )
    views = [[view * num + index for index in value] for view in range(len(names.views))]
    return views if is_mirrored else [index for view in views for index in view]


def _names_of(config: DictConfig) -> Sequence[str] | None:
    """Return ``data.keypoint_names``, whose indices must each stand for a keypoint of its own."""
    known: Sequence[str] | None = plain(config.data.keypoint_names)
    if doubled := [name for name, count in Counter(known or ()).items() if count > 1]:
        raise ConfigError(
            f"data.keypoint_names must hold different names, got "
            f"{', '.join(map(repr, doubled))} more than once. Give each keypoint a name of its own."
        )
    return known
