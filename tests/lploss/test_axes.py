from __future__ import annotations

import math
from typing import Optional, Union

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Bool, Float, Float32, Inexact, Int, Integer, Shaped, UInt8
from torch import Tensor

from lploss.axes import FLOATING, Axes, axes_of, check_dtype, dtypes_of
from lploss.errors import InputTypeError, ShapeError


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("batch num_keypoints", ((1, ("batch",)), (1, ("num_keypoints",)))),
        ("batch two_x_num_keypoints", ((1, ("batch",)), (2, ("num_keypoints",)))),
        ("views_x_4", ((4, ("views",)),)),
        ("three four", ((3, ()), (4, ()))),
        ("views_x_num_keypoints 2", ((1, ("views", "num_keypoints")), (2, ()))),
        ("batch=8 _", ((8, ()), None)),
        ("", ()),
    ],
)
def test_axes_are_read_as_factors(text, factors):
    axes = Axes.parse(text)
    assert axes.text == text
    assert axes.factors == factors


@pytest.mark.parametrize("text", ["...", "*batch x", "batch-1", "#batch", "?batch", "2*batch"])
def test_axes_beyond_names_and_numbers_are_left_unchecked(text):
    assert Axes.parse(text) is None


NAMES = st.sampled_from(["batch", "views", "num_keypoints", "height"])


@settings(deadline=None)
@given(st.lists(NAMES, max_size=4), st.data())
def test_any_tensor_of_the_stated_sizes_passes(names, data):
    sizes = {name: data.draw(st.integers(0, 4)) for name in names}
    seen = {}
    axes = Axes.parse(" ".join(names))
    axes.check("l", "x", torch.zeros([sizes[name] for name in names]), seen)
    assert seen == sizes


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3, unique=True), st.data())
def test_a_second_tensor_must_have_the_sizes_of_the_first(names, data):
    shape = [data.draw(st.integers(1, 4)) for _ in names]
    wrong = data.draw(st.integers(0, len(names) - 1))
    axes, seen = Axes.parse(" ".join(names)), {}
    axes.check("l", "x", torch.zeros(shape), seen)
    axes.check("l", "y", torch.zeros(shape), seen)
    shape[wrong] += 1
    with pytest.raises(ShapeError) as caught:
        axes.check("l", "y", torch.zeros(shape), seen)
    assert f"expected {shape[wrong] - 1} along {names[wrong]}" in str(caught.value)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 30))
def test_an_axis_that_is_a_product_must_be_a_multiple(views, keypoints, size):
    seen = {"views": views}
    axes = Axes.parse("views_x_num_keypoints")
    if size % views:
        with pytest.raises(ShapeError):
            axes.check("l", "x", torch.zeros(size), seen)
    else:
        axes.check("l", "x", torch.zeros(size), seen)
        assert seen["num_keypoints"] * views == size
    axes.check(
        "l", "y", torch.zeros(views * keypoints), {"views": views, "num_keypoints": keypoints}
    )


def test_an_empty_axis_fits_every_factor():
    seen = {"batch": 0}
    Axes.parse("batch_x_views").check("l", "x", torch.zeros(0), seen)
    assert seen == {"batch": 0}
    with pytest.raises(ShapeError) as caught:
        Axes.parse("batch_x_views").check("l", "x", torch.zeros(3), seen)
    assert str(caught.value) == (
        "loss 'l': x must have axes (batch_x_views); expected a multiple of 0 along "
        "batch_x_views, got 3: shape (3,)"
    )


def test_an_unnamed_axis_may_have_any_size():
    for size in (0, 1, 7):
        seen = {}
        Axes.parse("_ 2").check("l", "x", torch.zeros(size, 2), seen)
        assert seen == {}


def test_of_two_unknown_factors_the_product_is_known():
    seen = {}
    Axes.parse("views_x_num_keypoints 2").check("l", "x", torch.zeros(12, 2), seen)
    with pytest.raises(ShapeError, match="expected 24 along two_x_views_x_num_keypoints, got 30"):
        Axes.parse("two_x_views_x_num_keypoints").check("l", "y", torch.zeros(30), seen)
    Axes.parse("views").check("l", "z", torch.zeros(3), seen)
    Axes.parse("views_x_num_keypoints").check("l", "y", torch.zeros(12), seen)
    assert seen["num_keypoints"] == 4


def check(text, value, sizes=None):
    Axes.parse(text).check("temporal", "keypoints_pred", value, sizes or {})


@pytest.mark.parametrize(
    ("text", "shape", "sizes", "message"),
    [
        (
            "batch num_keypoints",
            (3,),
            {},
            "loss 'temporal': keypoints_pred must have axes (batch, num_keypoints); "
            "expected 2 axes, got 1: shape (3,)",
        ),
        (
            "batch two_x_num_keypoints",
            (3, 5),
            {},
            "loss 'temporal': keypoints_pred must have axes (batch, two_x_num_keypoints); "
            "expected a multiple of 2 along two_x_num_keypoints, got 5: shape (3, 5)",
        ),
        (
            "batch two_x_num_keypoints",
            (3, 6),
            {"num_keypoints": 4},
            "loss 'temporal': keypoints_pred must have axes (batch, two_x_num_keypoints); "
            "expected 8 along two_x_num_keypoints, got 6: shape (3, 6)",
        ),
        (
            "batch 2",
            (3, 3),
            {},
            "loss 'temporal': keypoints_pred must have axes (batch, 2); "
            "expected 2 along 2, got 3: shape (3, 3)",
        ),
    ],
)
def test_a_wrong_shape_is_told_with_what_was_expected(text, shape, sizes, message):
    with pytest.raises(ShapeError) as caught:
        check(text, torch.zeros(shape), sizes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "came"), [(np.zeros((1, 2)), "numpy.ndarray"), ([[1.0]], "builtins.list")]
)
def test_what_is_no_tensor_is_told_with_its_type(value, came):
    with pytest.raises(InputTypeError) as caught:
        check("batch num_keypoints", value)
    assert str(caught.value) == (
        "loss 'temporal': keypoints_pred must be a torch.Tensor with axes "
        f"(batch, num_keypoints), got {came}. torch.as_tensor may help."
    )


BYTES, TRUTH = frozenset({torch.uint8}), frozenset({torch.bool})
SIGNED = frozenset({torch.int8, torch.int16, torch.int32, torch.int64})


@pytest.mark.parametrize(
    ("accepted", "came", "message"),
    [
        (
            FLOATING,
            torch.int64,
            "must hold floating-point numbers, got torch.int64. Call x.float().",
        ),
        (FLOATING, torch.bool, "must hold floating-point numbers, got torch.bool. Call x.float()."),
        (TRUTH, torch.uint8, "must hold torch.bool, got torch.uint8. Call x.bool()."),
        (TRUTH, torch.float32, "must hold torch.bool, got torch.float32. Call x.bool()."),
        (BYTES, torch.bool, "must hold torch.uint8, got torch.bool. Call x.to(torch.uint8)."),
        (
            BYTES | TRUTH,
            torch.int64,
            "must hold torch.bool or torch.uint8, got torch.int64. Call x.bool().",
        ),
        (SIGNED, torch.float64, "must hold integers, got torch.float64. Call x.long()."),
        (
            SIGNED | TRUTH,
            torch.float16,
            "must hold integers or torch.bool, got torch.float16. Call x.long().",
        ),
    ],
)
def test_a_dtype_that_the_annotation_does_not_name_is_refused(accepted, came, message):
    for dtype in accepted:
        check_dtype("temporal", "x", torch.empty(2, dtype=dtype), accepted)
    with pytest.raises(InputTypeError) as caught:
        check_dtype("temporal", "x", torch.zeros(2).to(came), accepted)
    assert str(caught.value) == f"loss 'temporal': x {message}"


def test_what_is_no_tensor_has_no_dtype():
    with pytest.raises(InputTypeError, match=r"x must be a torch\.Tensor, got builtins\.float\."):
        check_dtype("temporal", "x", 1.0, FLOATING)


def annotated(
    self,
    floats: Float[Tensor, "batch two_x_num_keypoints"],
    single: Float32[Tensor, ""],
    integers: Int[Tensor, "batch"],
    mask: Bool[Tensor, "batch"],
    shaped: Shaped[Tensor, "batch"],
    complex_too: Inexact[Tensor, "batch"],
    rest: Float[Tensor, "..."],
    plain: Tensor,
    either: Float[Tensor, "batch"] | Int[Tensor, "batch"],
    bytes_too: Bool[Tensor, "batch 2"] | UInt8[Tensor, "batch 2"] | None,
    forms: Float[Tensor, "batch"] | Float32[Tensor, "batch 2"],
    or_plain: Bool[Tensor, "batch"] | Tensor,
    whole: Integer[Tensor, "batch"],
    bare,
    optional: Float[Tensor, "batch 3"] | None = None,
    older: Optional[Float[Tensor, "batch 4"]] = None,  # noqa: UP045
    oldest: Union[Float[Tensor, "batch 5"], None] = None,  # noqa: UP007
) -> Float[Tensor, "batch"]:
    """Have an annotation of each kind."""


def test_a_part_must_divide_a_product_that_is_known():
    sizes: dict[str, int] = {}
    Axes.parse("batch views_x_num_keypoints").check("l", "x", torch.zeros(1, 4), sizes)
    Axes.parse("batch views").check("l", "y", torch.zeros(1, 2), dict(sizes))
    with pytest.raises(ShapeError) as caught:
        Axes.parse("batch views").check("l", "y", torch.zeros(1, 3), sizes)
    assert str(caught.value) == (
        "loss 'l': y must have axes (batch, views); expected a divisor of 4 "
        "(views_x_num_keypoints) along views, got 3: shape (1, 3)"
    )


def test_axes_are_read_off_annotations():
    found = axes_of(annotated)
    assert {name: axes.text for name, axes in found.items()} == {
        "floats": "batch two_x_num_keypoints",
        "single": "",
        "integers": "batch",
        "mask": "batch",
        "shaped": "batch",
        "complex_too": "batch",
        "either": "batch",
        "bytes_too": "batch 2",
        "whole": "batch",
        "optional": "batch 3",
        "older": "batch 4",
        "oldest": "batch 5",
        "return": "batch",
    }


def test_dtypes_are_read_off_annotations():
    found = dict(dtypes_of(annotated))
    assert {torch.complex64, torch.float16, torch.float32} <= found.pop("complex_too")
    assert {torch.uint8, torch.int64} <= found["whole"]
    assert torch.bool not in found.pop("whole")
    assert found["integers"] >= SIGNED
    assert torch.uint8 not in found.pop("integers")
    # Of floating-point numbers, the trainer chooses the precision.
    assert found.pop("either") >= FLOATING | SIGNED
    assert found == {
        **dict.fromkeys(("floats", "single", "rest", "forms", "return"), FLOATING),
        **dict.fromkeys(("optional", "older", "oldest"), FLOATING),
        "mask": TRUTH,
        "bytes_too": TRUTH | BYTES,
    }


def test_annotations_that_cannot_be_resolved_are_as_good_as_none():
    def unknown(x: NoSuchName): ...

    def prose(x: "px in the image"): ...

    def absent(x: math.no_such): ...

    for function in (unknown, prose, absent):
        assert (dict(axes_of(function)), dict(dtypes_of(function))) == ({}, {})
