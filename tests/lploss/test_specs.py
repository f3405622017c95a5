from __future__ import annotations

import dataclasses

import pytest

from lploss import CommandSpec, InputSpec, LossSpec, ModelSpec
from lploss.errors import SpecError


@pytest.mark.parametrize(
    ("cls", "noun"), [(LossSpec, "loss"), (ModelSpec, "model"), (CommandSpec, "command")]
)
def test_a_spec_holds_what_it_was_given(cls, noun):
    spec = cls("bone-length", "acme.bones:Bones.Length", "limbs", requires=("fast",))
    assert (spec.name, spec.target, spec.summary) == (
        "bone-length",
        "acme.bones:Bones.Length",
        "limbs",
    )
    assert spec.requires == ("fast",)
    assert spec.noun == noun
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"


def test_specs_of_different_kinds_are_never_equal():
    assert LossSpec("a", "b:c", "") == LossSpec("a", "b:c", "")
    assert LossSpec("a", "b:c", "") != ModelSpec("a", "b:c", "")


def test_an_input_spec_holds_what_it_was_given():
    spec = InputSpec("lengths", "batch bones", "px", "length of each limb", "acme.bones:lengths")
    assert (spec.name, spec.axes, spec.unit) == ("lengths", "batch bones", "px")
    assert (spec.meaning, spec.derived_by) == ("length of each limb", "acme.bones:lengths")
    assert spec.noun == "input"


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: LossSpec("bone length", "a:b", ""),
            "LossSpec.name must be a plain name such as 'bone_length', got 'bone length'",
        ),
        (
            lambda: LossSpec("acme/bone", "a:b", ""),
            "LossSpec.name must be a plain name such as 'bone_length', got 'acme/bone'",
        ),
        (
            lambda: ModelSpec("", "a:b", ""),
            "ModelSpec.name must be a plain name such as 'bone_length', got ''",
        ),
        (
            lambda: LossSpec("bone\n", "a:b", ""),
            "LossSpec.name must be a plain name such as 'bone_length', got 'bone\\n'",
        ),
        (
            lambda: LossSpec(3, "a:b", ""),
            "LossSpec.name must be a plain name such as 'bone_length', got 3",
        ),
        (
            lambda: LossSpec("bone", "acme.bones.Bone", ""),
            "LossSpec.target must be 'package.module:attribute', got 'acme.bones.Bone'",
        ),
        (
            lambda: CommandSpec("bone", "acme:", ""),
            "CommandSpec.target must be 'package.module:attribute', got 'acme:'",
        ),
        (lambda: LossSpec("b", "a:b", None), "LossSpec.summary must be one line of text, got None"),
        (
            lambda: LossSpec("bone", "a:b", "", requires="score"),
            "LossSpec.requires must be a tuple of extras such as ('score',), got 'score'",
        ),
        (
            lambda: LossSpec("bone", "a:b", "", requires=(1,)),
            "LossSpec.requires must be a tuple of extras such as ('score',), got (1,)",
        ),
        (
            lambda: InputSpec("a b", "batch", "px", ""),
            "InputSpec.name must be a plain name such as 'confidences', got 'a b'",
        ),
        (
            lambda: InputSpec("a", ("batch",), "px", ""),
            "InputSpec.axes must be names of axes such as 'batch num_keypoints 2', got ('batch',)",
        ),
        (
            lambda: InputSpec("a", "", None, ""),
            "InputSpec.unit must be a text such as 'px', got None",
        ),
        (lambda: InputSpec("a", "", "", 1), "InputSpec.meaning must be one line of text, got 1"),
        (
            lambda: InputSpec("a", "batch", "px", "", derived_by=len),
            "InputSpec.derived_by must be 'package.module:function' or None, "
            "got <built-in function len>",
        ),
        (
            lambda: InputSpec("a", "batch", "px", "", constant="yes"),
            "InputSpec.constant must be True or False, got 'yes'",
        ),
    ],
)
def test_a_malformed_field_is_refused(build, message):
    with pytest.raises(SpecError) as caught:
        build()
    assert str(caught.value) == message
