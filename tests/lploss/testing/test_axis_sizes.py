"""Sizes of the axes of examples."""

from __future__ import annotations

import pytest

from lploss.axes import Axes
from lploss.testing.axis_sizes import axis_sizes, shape_of
from tests.lploss.testing.drawing import values_of


def axes(text: str) -> Axes:
    found = Axes.parse(text)
    assert found is not None
    return found


def test_each_name_has_one_size_and_all_its_sizes_come_up() -> None:
    drawn = values_of(axis_sizes([axes("batch two_x_num_keypoints"), axes("batch views")], {}))
    assert all(set(sizes) == {"batch", "num_keypoints", "views"} for sizes in drawn)
    assert {sizes["batch"] for sizes in drawn} == {1, 2, 3, 4, 5}
    assert {sizes["num_keypoints"] for sizes in drawn} == {1, 2, 3, 4}
    assert {sizes["views"] for sizes in drawn} == {2, 3}


def test_height_and_width_of_a_map_are_drawn_apart() -> None:
    drawn = values_of(axis_sizes([axes("heatmap_height heatmap_width")], {}))
    found = {(sizes["heatmap_height"], sizes["heatmap_width"]) for sizes in drawn}
    assert found == {(height, width) for height in (1, 3, 5) for width in (2, 3, 4)}


def test_a_lens_has_as_many_coefficients_as_opencv_knows() -> None:
    drawn = values_of(axis_sizes([axes("views num_coefficients")], {}))
    assert {sizes["num_coefficients"] for sizes in drawn} == {0, 4, 5, 8}


def test_an_axis_that_nobody_knows_is_short() -> None:
    drawn = values_of(axis_sizes([axes("limbs")], {}))
    assert {sizes["limbs"] for sizes in drawn} == {1, 2, 3, 4}


def test_pairs_of_cameras_follow_from_the_views() -> None:
    drawn = values_of(axis_sizes([axes("batch cam_pairs num_keypoints 3")], {}))
    assert {(sizes["views"], sizes["cam_pairs"]) for sizes in drawn} == {(2, 1), (3, 3)}
    assert values_of(axis_sizes([axes("cam_pairs")], {"views": 4})) == [
        {"views": 4, "cam_pairs": 6}
    ]


@pytest.mark.parametrize("typical", [False, True])
def test_sizes_that_are_given_are_kept(typical: bool) -> None:
    of_input = [axes("batch two_x_num_keypoints")]
    drawn = values_of(axis_sizes(of_input, {"batch": 0, "num_keypoints": 17}, typical=typical))
    assert drawn
    assert all(sizes == {"batch": 0, "num_keypoints": 17} for sizes in drawn)


def test_a_given_size_of_an_axis_that_no_input_has_is_left_out() -> None:
    assert values_of(axis_sizes([axes("batch")], {"batch": 2, "num_keypoints": 4})) == [
        {"batch": 2}
    ]


def test_typical_sizes_are_always_the_same() -> None:
    of_inputs = [axes("batch cam_pairs num_keypoints"), axes("heatmap_height heatmap_width limbs")]
    expected = {
        "batch": 4,
        "cam_pairs": 3,
        "heatmap_height": 3,
        "heatmap_width": 4,
        "limbs": 3,
        "num_keypoints": 3,
        "views": 3,
    }
    drawn = values_of(axis_sizes(of_inputs, {}, typical=True))
    assert drawn
    assert all(sizes == expected for sizes in drawn)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch two_x_num_keypoints", (4, 6)),
        ("batch views_x_num_keypoints 2", (4, 6, 2)),
        ("batch two_x_views_x_num_keypoints", (4, 12)),
        ("batch cam_pairs 3 4", (4, 1, 3, 4)),
        ("batch _", (4, 3)),
        ("2", (2,)),
        ("", ()),
    ],
)
def test_a_shape_is_made_of_factors(text: str, expected: tuple[int, ...]) -> None:
    sizes = {"batch": 4, "num_keypoints": 3, "views": 2, "cam_pairs": 1}
    assert shape_of(axes(text), sizes) == expected
