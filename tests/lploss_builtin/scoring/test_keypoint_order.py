from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lploss import load_config
from lploss.errors import ConfigError, DataError
from lploss_builtin.data.poses.table import PoseHeader, PoseNames
from lploss_builtin.scoring.keypoint_order import (
    check_same_keypoints,
    common_order,
    labels_in_order,
    with_indices_of,
)
from tests.lploss_builtin.data.keypoint_tables import pose_table


def header(*names):
    return PoseHeader(Path("p.csv"), names, True, True)


def labels(*names):
    return pose_table(np.arange(2.0 * len(names))[None], names, path="l.csv")


def test_the_order_of_the_config_goes_first():
    config = load_config({"data": {"keypoint_names": ["c", "x", "a"]}})
    assert common_order(header("a", "b", "c"), config) == PoseNames(("c", "a", "b"))
    assert common_order(header("a", "b"), load_config()) == PoseNames(("a", "b"))
    views = PoseHeader(Path("p.csv"), ("a", "c"), True, True, ("left", "right"))
    assert common_order(views, config) == PoseNames(("c", "a"), ("left", "right"))


def test_files_must_hold_the_same_keypoints():
    check_same_keypoints(header("b", "a"), ("a", "b"))
    with pytest.raises(
        DataError, match=r"p\.csv: its keypoints .*: it lacks 'b'; it alone has 'c', 'd'"
    ):
        check_same_keypoints(header("a", "c", "d"), ("a", "b"))


def test_labels_come_in_the_order_of_the_predictions():
    assert labels_in_order(labels("a", "b", "c"), ("c", "a")).rows.tolist() == [[4, 5, 0, 1]]
    with pytest.raises(
        DataError,
        match=r"l\.csv does not hold all .* Missing: 'bB'\. Did .* 'b'\?; 'z'\. It holds: a, b",
    ):
        labels_in_order(labels("a", "b"), ("a", "bB", "z"))


def indices(config, names, views=()):
    return with_indices_of(load_config(config), PoseNames(tuple(names), views)).data


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
        with_indices_of(config, PoseNames(("a", "b")))


TWO = ("left", "right")


def test_indices_stand_for_the_keypoints_of_all_views():
    config = {
        "data": {
            "keypoint_names": ["a", "b", "c"],
            "mirrored_column_matches": [0, 2],
            "columns_for_singleview_pca": [2, 1],
        }
    }
    found = indices(config, ["c", "b", "a"], TWO)
    assert found.mirrored_column_matches == [[2, 0], [5, 3]]
    assert found.columns_for_singleview_pca == [0, 1, 3, 4]


def test_all_keypoints_match_in_all_views_unless_stated():
    found = indices({}, ["a", "b"], TWO)
    assert found.mirrored_column_matches == [[0, 1], [2, 3]]
    assert found.columns_for_singleview_pca is None
    stated = indices({"data": {"mirrored_column_matches": [1]}}, ["a", "b"], TWO)
    assert stated.mirrored_column_matches == [[1], [3]]


@pytest.mark.parametrize("matches", [[[0], [1]], [0, 2], [-1], ["a"]])
def test_matches_that_are_no_keypoints_of_a_view(matches):
    message = r"data\.mirrored_column_matches must be one list of indices below 2 where each view"
    with pytest.raises(ConfigError, match=message):
        indices({"data": {"mirrored_column_matches": matches}}, ["a", "b"], TWO)
