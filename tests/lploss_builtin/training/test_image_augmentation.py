from __future__ import annotations

from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from lploss.errors import ConfigError
from lploss_builtin.training.image_augmentation import (
    PRESETS,
    ImageAugmentation,
    check_with_3d,
)

MOVING = ("rotation", "quarter_turns", "scale", "shift", "flip_probability")
REASON = (
    ": that moves the pixels of each view by itself, and views that are moved apart no longer show "
    "what their calibrated cameras see. Leave it out, as the preset 'dlc' does here by itself, or "
    "set training.imgaug_3d: false."
)


@pytest.mark.parametrize("value", [None, "default", "none", {}])
def test_nothing_is_done_unless_asked_for(value: object) -> None:
    assert ImageAugmentation.from_config(value) == ImageAugmentation()
    assert not ImageAugmentation().breaks_geometry


def test_presets() -> None:
    dlc = ImageAugmentation.from_config("dlc")
    assert (dlc.rotation, dlc.rotation_probability) == (25.0, 0.4)
    assert (dlc.blur_probability, dlc.dropout_probability) == (0.5, 0.5)
    assert ImageAugmentation.from_config("dlc-top-down").quarter_turns == (0, 1, 2, 3)
    assert ImageAugmentation.from_config("dlc-lr").quarter_turns == (0, 2)
    assert ImageAugmentation.from_config("dlc-mv") == dlc.for_3d()


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_left_in_3d_moves_nothing_and_looks_the_same(preset: str) -> None:
    augmentation = ImageAugmentation.from_config(preset)
    left = augmentation.for_3d()
    assert not left.breaks_geometry
    moving = (*MOVING, "rotation_probability", "scale_probability")
    for field in fields(left):
        of = ImageAugmentation() if field.name in moving else augmentation
        assert getattr(left, field.name) == getattr(of, field.name)


def test_a_mapping_from_a_config_file() -> None:
    config = OmegaConf.create({"rotation": 10, "scale": [0.9, 1.1], "quarter_turns": [0, 2]})
    expected = ImageAugmentation(rotation=10, scale=(0.9, 1.1), quarter_turns=(0, 2))
    assert ImageAugmentation.from_config(config) == expected
    assert ImageAugmentation.from_config(expected) is expected


@pytest.mark.parametrize(
    ("arguments", "moving"),
    [
        ({"rotation": 5.0}, ("rotation",)),
        ({"rotation": 5.0, "rotation_probability": 0.0}, ()),
        ({"quarter_turns": (0, 4)}, ()),
        ({"quarter_turns": (0, 1)}, ("quarter_turns",)),
        ({"scale": (0.9, 1.0), "shift": 0.1}, ("scale", "shift")),
        ({"scale": (0.9, 1.0), "shift": 0.1, "scale_probability": 0.0}, ()),
        ({"flip_probability": 0.5}, ("flip_probability",)),
        ({"gamma": 0.5, "noise": 0.1, "blur_probability": 1.0}, ()),
    ],
)
def test_what_moves_pixels(arguments: dict[str, object], moving: tuple[str, ...]) -> None:
    augmentation = ImageAugmentation.from_config(arguments)
    assert augmentation.moving_parameters == moving
    assert augmentation.breaks_geometry == bool(moving)


def test_flips() -> None:
    assert ImageAugmentation().with_flips() == ImageAugmentation(flip_probability=0.5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "dcl",
            "training.imgaug: there is no preset 'dcl'. Did you mean 'dlc'? "
            "Known: default, none, dlc, dlc-lr, dlc-top-down, dlc-mv.",
        ),
        (
            {"rotatoin": 5},
            "training.imgaug: there is no parameter 'rotatoin'. Did you mean 'rotation'? Known: "
            + ", ".join(field.name for field in fields(ImageAugmentation))
            + ".",
        ),
        (5, "training.imgaug must be the name of a preset or a mapping, got int: 5"),
        ({"rotation": 200}, "training.imgaug: rotation must be a number from 0 to 180, got 200"),
        pytest.param(
            {"gamma": "a"},
            "training.imgaug: gamma must be a number from 0 to 9, got 'a'",
            marks=pytest.mark.mistyped,
        ),
        (
            {"noise": float("nan")},
            "training.imgaug: noise must be a number from 0 to 1, got nan",
        ),
        (
            {"blur_probability": True},
            "training.imgaug: blur_probability must be a number from 0 to 1, got True",
        ),
        (
            {"blur_size": 4},
            "training.imgaug: blur_size must be an odd integer from 1 to 31, got 4",
        ),
        (
            {"scale": [1.2, 0.8]},
            "training.imgaug: scale must be the least and the largest factor, above 0 and at most "
            "10, got (1.2, 0.8)",
        ),
        (
            {"quarter_turns": []},
            "training.imgaug: quarter_turns must be one or more integers, got ()",
        ),
    ],
)
def test_what_cannot_be_asked_for(value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ImageAugmentation.from_config(value)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [None, "default", "none", "dlc", "dlc-mv", {"gamma": 0.5}])
def test_what_can_go_with_3d(value: object) -> None:
    check_with_3d(value)
    check_with_3d(value, hflip=None)


@pytest.mark.parametrize(
    ("value", "hflip", "named"),
    [
        ("dlc-top-down", False, "the preset 'dlc-top-down' of training.imgaug"),
        ("dlc-lr", False, "the preset 'dlc-lr' of training.imgaug"),
        ({"rotation": 10, "gamma": 0.5}, False, "rotation of training.imgaug"),
        (
            {"scale": [0.9, 1.1], "shift": 0.1},
            True,
            "training.imgaug_hflip, scale of training.imgaug, shift of training.imgaug",
        ),
        ("dlc", True, "training.imgaug_hflip"),
        (
            ImageAugmentation(flip_probability=0.5),
            False,
            "flip_probability of training.imgaug",
        ),
    ],
)
def test_what_cannot_go_with_3d(value: object, hflip: bool, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_with_3d(value, hflip)
    assert str(caught.value) == f"training.imgaug_3d: true cannot go with {named}{REASON}"
