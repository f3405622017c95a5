"""One order of keypoints for predictions, labels and the indices in a config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lploss.config import plain
from lploss.errors import ConfigError, DataError, did_you_mean
from lploss_builtin.data.keypoint_table import KeypointHeader, KeypointTable

_INDICES = ("mirrored_column_matches", "columns_for_singleview_pca")


def common_order(header: KeypointHeader, config: DictConfig) -> tuple[str, ...]:
    """Return the order in which keypoints are scored: the config's, then the file's.

    What a config says of keypoints by their number (an epsilon each, for example) then fits.

    Raises:
        ConfigError: ``data.keypoint_names`` holds a name twice.
    """
    known = _names_of(config) or ()
    named = tuple(name for name in known if name in header.keypoint_names)
    return named + tuple(name for name in header.keypoint_names if name not in named)


def check_same_keypoints(header: KeypointHeader, keypoint_names: Sequence[str]) -> None:
    """Check that a file holds these keypoints, in any order.

    Raises:
        DataError: it holds others.
    """
    if set(header.keypoint_names) != set(keypoint_names):
        lacking = [name for name in keypoint_names if name not in header.keypoint_names]
        more = [name for name in header.keypoint_names if name not in keypoint_names]
        differences = [
            f"{what} {', '.join(map(repr, names))}"
            for what, names in (("it lacks", lacking), ("it alone has", more))
            if names
        ]
        raise DataError(
            f"{header.path}: its keypoints are not those of the first file: "
            f"{'; '.join(differences)}. Score files of different keypoints separately."
        )


def labels_in_order(labels: KeypointTable, keypoint_names: tuple[str, ...]) -> KeypointTable:
    """Return the labels of these keypoints, in this order; other keypoints are left out.

    Raises:
        DataError: the labels lack some of them.
    """
    if lacking := [name for name in keypoint_names if name not in labels.keypoint_names]:
        missing = "; ".join(
            f"{name!r}.{did_you_mean(name, labels.keypoint_names)}".removesuffix(".")
            for name in lacking
        )
        stop = "" if missing.endswith("?") else "."
        raise DataError(
            f"{labels.path} does not hold all keypoints of the predictions. Missing: "
            f"{missing}{stop} It holds: {', '.join(labels.keypoint_names)}."
        )
    return labels.select(keypoint_names)


def with_indices_of(config: DictConfig, keypoint_names: Sequence[str]) -> DictConfig:
    """Return the config with its indices of keypoints counted along these names.

    In the config they count along ``data.keypoint_names``; without that, they are left as they
    are.

    Raises:
        ConfigError: an index stands for no keypoint, or for one that is not predicted, or
            ``data.keypoint_names`` holds a name twice.
    """
    known = _names_of(config)
    if known is None:
        return config

    def translated(value: Any, key: str) -> Any:
        if isinstance(value, list):
            return [translated(entry, key) for entry in value]
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

    config = config.copy()
    for key in _INDICES:
        value = plain(config.data[key])
        if value is not None:
            OmegaConf.update(config, f"data.{key}", translated(value, key), merge=False)
    return config


def _names_of(config: DictConfig) -> Sequence[str] | None:
    """Return ``data.keypoint_names``, whose indices must each stand for a keypoint of its own."""
    known: Sequence[str] | None = plain(config.data.keypoint_names)
    if doubled := [name for name, count in Counter(known or ()).items() if count > 1]:
        raise ConfigError(
            f"data.keypoint_names must hold different names, got "
            f"{', '.join(map(repr, doubled))} more than once. Give each keypoint a name of its own."
        )
    return known
