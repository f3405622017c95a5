"""What may be done to each image by itself, by the names of presets or by numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lploss.errors import ConfigError, did_you_mean

_KEY = "training.imgaug"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAugmentation:
    """How strongly and how often each view of each frame is changed; unless told, not at all.

    A probability is that of one view of one frame. What is drawn is drawn evenly from its range.

    Args:
        rotation: the largest angle, degrees, either way.
        rotation_probability: of rotating.
        quarter_turns: numbers of turns by 90 degrees to draw from; where a side of the image is
            longer, a turned image is stretched to fit.
        scale: the least and the largest factor.
        shift: the largest shift, as a share of width and height.
        scale_probability: of scaling and shifting.
        flip_probability: of mirroring left and right.
        brightness: the most that is added or taken off, as a share of the full range.
        contrast: the most that the factor of the contrast differs from 1.
        gamma: the most that the exponent, or one over it, exceeds 1.
        tone_probability: of changing these three.
        equalization_probability: of making all values of a channel equally frequent.
        blur_size: length of the path of motion blur, px, odd.
        blur_probability: of motion blur, in any direction.
        dropout_share: share of the small cells that become black.
        dropout_probability: of such cells; in half of the views each channel has its own.
        spot_share: share of the large cells that become white, and share that become black.
        spot_probability: of white spots, and of black ones.
        noise: standard deviation of what is added to each pixel, as a share of the full range.
        noise_probability: of noise.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> ImageAugmentation(rotation=10.0).breaks_geometry
        True
    """

    rotation: float = 0.0
    rotation_probability: float = 1.0
    quarter_turns: tuple[int, ...] = (0,)
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    scale_probability: float = 1.0
    flip_probability: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    tone_probability: float = 1.0
    equalization_probability: float = 0.0
    blur_size: int = 5
    blur_probability: float = 0.0
    dropout_share: float = 0.02
    dropout_probability: float = 0.0
    spot_share: float = 0.01
    spot_probability: float = 0.0
    noise: float = 0.0
    noise_probability: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            expected = _expected(field.name, value)
            if expected is not None:
                raise ConfigError(f"{_KEY}: {field.name} must be {expected}, got {value!r}")

    @classmethod
    def from_config(cls, value: Any) -> ImageAugmentation:
        """Return what the key ``training.imgaug`` of a config asks for.

        ``default`` and ``none`` change nothing. ``dlc`` is close to the preset of that name in
        Lightning Pose: rotation, crops, motion blur, dropout, spots, equalisation; in place of
        its local equalisation and embossing, tones change, and its elastic deformation, which
        moves pixels by some tenths of a px, is left out. ``dlc-lr`` turns half of the images
        upside down, too, ``dlc-top-down`` turns them by any quarter, and ``dlc-mv`` is ``dlc``
        without what breaks the geometry of several views.

        Args:
            value: the name of a preset, a mapping of arguments, or ``None`` for none.

        Raises:
            ConfigError: there is no such preset or argument, or its value is out of range.

        Example:
            >>> ImageAugmentation.from_config("dlc").rotation
            25.0
            >>> ImageAugmentation.from_config({"gamma": 0.3}).gamma
            0.3
        """
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            if value not in PRESETS:
                raise ConfigError(
                    f"{_KEY}: there is no preset {value!r}.{did_you_mean(value, PRESETS)} "
                    f"Known: {', '.join(PRESETS)}."
                )
            return cls(**PRESETS[value])
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{_KEY} must be the name of a preset or a mapping, got {type(value).__name__}: "
                f"{value!r}"
            )
        known = [field.name for field in fields(cls)]
        for name in value:
            if name not in known:
                raise ConfigError(
                    f"{_KEY}: there is no parameter {name!r}.{did_you_mean(str(name), known)} "
                    f"Known: {', '.join(known)}."
                )
        return cls(**{name: _as_tuple(given) for name, given in value.items()})

    @property
    def breaks_geometry(self) -> bool:
        """Whether pixels are moved, so that the cameras of several views no longer fit."""
        return bool(self.moving_parameters)

    @property
    def moving_parameters(self) -> tuple[str, ...]:
        """The parameters by which pixels are moved."""
        moves = {
            "rotation": self.rotation > 0 and self.rotation_probability > 0,
            "quarter_turns": any(turns % 4 for turns in self.quarter_turns),
            "scale": self.scale != (1.0, 1.0) and self.scale_probability > 0,
            "shift": self.shift > 0 and self.scale_probability > 0,
            "flip_probability": self.flip_probability > 0,
        }
        return tuple(name for name, does in moves.items() if does)

    def for_3d(self) -> ImageAugmentation:
        """Return the part that leaves pixels where they are.

        Example:
            >>> ImageAugmentation(rotation=10.0, gamma=0.3).for_3d() == ImageAugmentation(gamma=0.3)
            True
        """
        given: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in _MOVING}
        return dataclasses.replace(self, **given)

    def with_flips(self) -> ImageAugmentation:
        """Return the same, and half of the views mirrored: ``training.imgaug_hflip``."""
        return dataclasses.replace(self, flip_probability=0.5)


def check_with_3d(value: Any, hflip: bool | None = False) -> None:
    """Check that ``training.imgaug`` and ``imgaug_hflip`` can go with ``imgaug_3d: true``.

    The presets ``dlc`` and ``dlc-mv`` can: of them only that is done which leaves pixels where
    they are, see `ImageAugmentation.for_3d`.

    Args:
        value: of ``training.imgaug``.
        hflip: of ``training.imgaug_hflip``.

    Raises:
        ConfigError: it asks for what moves the pixels of each view by itself.

    Example:
        >>> check_with_3d("dlc")
    """
    asked = [f"{_KEY}_hflip"] if hflip else []
    augmentation = ImageAugmentation.from_config(value)
    if isinstance(value, str):
        if augmentation.breaks_geometry and value != "dlc":
            asked.append(f"the preset {value!r} of {_KEY}")
    else:
        asked += [f"{name} of {_KEY}" for name in augmentation.moving_parameters]
    if asked:
        raise ConfigError(
            f"training.imgaug_3d: true cannot go with {', '.join(asked)}: that moves the pixels "
            "of each view by itself, and views that are moved apart no longer show what their "
            "calibrated cameras see. Leave it out, as the preset 'dlc' does here by itself, or set "
            "training.imgaug_3d: false."
        )


_LOOK: dict[str, Any] = {
    "gamma": 0.5,
    "contrast": 0.2,
    "tone_probability": 0.2,
    "equalization_probability": 0.1,
    "blur_probability": 0.5,
    "dropout_probability": 0.5,
    "spot_probability": 0.5,
}
_DLC: dict[str, Any] = {
    **_LOOK,
    "rotation": 25.0,
    "rotation_probability": 0.4,
    "scale": (0.8, 1.25),
    "shift": 0.1,
    "scale_probability": 0.4,
}

#: What the names of presets stand for.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "none": {},
    "dlc": _DLC,
    "dlc-lr": {**_DLC, "quarter_turns": (0, 2)},
    "dlc-top-down": {**_DLC, "quarter_turns": (0, 1, 2, 3)},
    "dlc-mv": _LOOK,
}

_MOVING = (
    "rotation",
    "rotation_probability",
    "quarter_turns",
    "scale",
    "shift",
    "scale_probability",
    "flip_probability",
)
# The largest value of those that are no shares.
_LARGEST = {"rotation": 180.0, "gamma": 9.0}


def _expected(name: str, value: Any) -> str | None:
    """Return what a parameter must be, or nothing where it is that."""
    if name == "scale":
        fits = _are_numbers(value, 2) and 0 < value[0] <= value[1] <= 10
        return None if fits else "the least and the largest factor, above 0 and at most 10"
    if name == "quarter_turns":
        fits = isinstance(value, tuple) and value and all(type(turns) is int for turns in value)
        return None if fits else "one or more integers"
    if name == "blur_size":
        fits = type(value) is int and 1 <= value <= 31 and value % 2 == 1
        return None if fits else "an odd integer from 1 to 31"
    largest = _LARGEST.get(name, 1.0)
    fits = _are_numbers((value,), 1) and 0 <= value <= largest
    return None if fits else f"a number from 0 to {largest:g}"


def _are_numbers(values: Any, number: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == number
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    )


def _as_tuple(value: Any) -> Any:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(value) if is_list else value
