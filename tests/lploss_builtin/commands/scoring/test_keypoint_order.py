from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lploss import load_config
from lploss.errors import ConfigError, DataError
from lploss_builtin.commands.scoring.keypoint_order import (
    check_same_keypoints,
    common_order,
    labels_in_order,
    with_indices_of,
)
from lploss_builtin.data.keypoint_table import KeypointHeader, KeypointTable


def header(*names):
    return KeypointHeader(Path("p.csv"), names, True, True)


def labels(*names):
    return KeypointTable(
        Path("l.csv"), names, np.arange(1), np.arange(2.0 * len(names))[None], None
    )


def test_the_order_of_the_config_goes_first():
    config = load_config({"data": {"keypoint_names": ["c", "x", "a"]}})
    assert common_order(header("a", "b", "c"), config) == ("c", "a", "b")
    assert common_order(header("a", "b"), load_config()) == ("a", "b")


def test_files_must_hold_the_same_keypoints():
    check_same_keypoints(header("b", "a"), ("a", "b"))
    with pytest.raises(
        DataError, match=r"p\.csv: its keypoints .*: it lacks 'b'; it alone has 'c', 'd'"
    ):
        check_same_keypoints(header("a", "c", "d"), ("a", "b"))


def test_labels_come_in_the_order_of_the_predictions():
    assert labels_in_order(labels("a", "b", "c"), ("c", "a")).keypoints.tolist() == [[4, 5, 0, 1]]
    with pytest.raises(
        DataError,
        match=r"l\.csv does not hold all .* Missing: 'bB'\. Did .* 'b'\?; 'z'\. It holds: a, b",
    ):
        labels_in_order(labels("a", "b"), ("a", "bB", "z"))


def indices(config, names):
    return with_indices_of(load_config(config), names).data


def test_indices_count_along_the_predictions():
    config = {
        "data": {
            "keypoint_names": ["a", "b", "c", "d"],
            "mirrored_column_matches": [[0, 1], [2, 3]],
            "columns_for_singleview_pca": [3],
        }
    }
    found = indices(config, ["d", "b", "c", "a"])
    assert found.mirrored_column_matches == [[3, 1], [2, 0]]
    assert found.columns_for_singleview_pca == [0]


def test_indices_stay_where_the_config_names_no_keypoints():
    config = {"data": {"mirrored_column_matches": [[0], [1]]}}
    assert indices(config, ["d", "b"]).mirrored_column_matches == [[0], [1]]
    assert indices({"data": {"keypoint_names": ["a"]}}, ["a"]).mirrored_column_matches is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([2], r"data\.columns_for_singleview_pca must hold indices of the 2 names .*, got 2"),
        ([-1], r"must hold indices .*, got -1"),
        (
            [1],
            r"asks for the keypoint 'tail1' \(number 1 .*\), .* not hold\. Did you mean 'tail2'\?",
        ),
    ],
)
def test_indices_that_stand_for_nothing(columns, message):
    config = {"data": {"keypoint_names": ["a", "tail1"], "columns_for_singleview_pca": columns}}
    with pytest.raises(ConfigError, match=message):
        indices(config, ["a", "tail2"])


def test_matches_that_are_no_numbers():
    config = {"data": {"keypoint_names": ["a"], "mirrored_column_matches": [["a"]]}}
    with pytest.raises(ConfigError, match=r"data\.mirrored_column_matches .*, got 'a'"):
        indices(config, ["a"])


def test_a_suggestion_ends_without_a_second_stop():
    with pytest.raises(DataError, match=r"Missing: 'bB'\. Did you mean 'b'\? It holds: a, b\."):
        labels_in_order(labels("a", "b"), ("a", "bB"))


def test_names_that_stand_twice_in_the_config():
    config = load_config({"data": {"keypoint_names": ["a", "b", "a", "b", "c"]}})
    message = r"data\.keypoint_names must hold different names, got 'a', 'b' more than once"
    with pytest.raises(ConfigError, match=message):
        common_order(header("a", "b"), config)
    with pytest.raises(ConfigError, match=message):
        with_indices_of(config, ["a", "b"])
