from __future__ import annotations

import pytest

from lploss_builtin.data.poses.table import PoseNames

THREE = PoseNames(("nose", "left/ear"), ("a", "b", "a/left"))


def test_names_of_one_file_are_left_as_they_are():
    names = PoseNames(("nose", "a/tail"))
    assert names.flat == ("nose", "a/tail")
    assert names.pairs == ()
    assert names.split("a/tail") == ("", "a/tail")


def test_names_of_several_views():
    assert THREE.flat == (
        "a/nose",
        "a/left/ear",
        "b/nose",
        "b/left/ear",
        "a/left/nose",
        "a/left/left/ear",
    )
    assert THREE.pairs == ("a+b", "a+a/left", "b+a/left")


@pytest.mark.parametrize(
    ("element", "parts"),
    [
        ("b/nose", ("b", "nose")),
        ("a/left/ear", ("a", "left/ear")),
        ("a/left/nose", ("a/left", "nose")),
        ("b+a/left/nose", ("b+a/left", "nose")),
        ("pose", ("", "pose")),
        ("c/nose", ("", "c/nose")),
    ],
)
def test_what_a_name_is_about(element, parts):
    assert THREE.split(element) == parts
