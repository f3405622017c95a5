"""Which keypoints swap their names when an image is mirrored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import yaml

from lploss.errors import ConfigError, did_you_mean

_KEY = "training.imgaug_hflip"
_PAIRS_KEY = "training.imgaug_hflip_pairs"

_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_LEFT_OR_RIGHT = re.compile("left|right", re.IGNORECASE)
# Words that contain "left" or "right" and are not a side.
_NO_SIDE = re.compile("bright|upright|cleft|leftover", re.IGNORECASE)
# Left or right, and fore, hind, mid, back or top, as in paw1LH.
_TWO_LETTERS = re.compile("[LR][FHMBT]|[FHMBT][LR]")


class _Side(NamedTuple):
    """A part of a name that may say left or right.

    Attributes:
        start: where it starts in the name.
        end: where it ends.
        is_certain: whether it is a side even if no keypoint is the counterpart.
    """

    start: int
    end: int
    is_certain: bool


def mirror_partners(
    keypoint_names: Sequence[str], pairs: Sequence[Sequence[str]] | None = None
) -> tuple[int, ...]:
    """Return for each keypoint the index of the one that it becomes in a mirrored image.

    Partners are keypoints whose names differ in the side only: ``ear_left`` and ``ear_right``,
    ``leftear`` and ``rightear``, ``frontLeftPaw`` and ``frontRightPaw``, ``LEFT_EAR`` and
    ``RIGHT_EAR``, ``L_paw`` and ``R_paw``, ``earL`` and ``earR``, ``Lhindpaw`` and ``Rhindpaw``.
    A single letter inside a word counts only if the counterpart exists, so ``Lower``, ``Rump``
    and ``lip`` have no side. A keypoint without a side is its own partner.

    Args:
        keypoint_names: names of the keypoints.
        pairs: all pairs of keypoints to swap, which are then not taken from the names.

    Raises:
        ConfigError: a name contains a side and there is no counterpart, or more than one; or the
            pairs are not pairs of keypoints.

    Example:
        >>> mirror_partners(["nose", "leftear", "rightear"])
        (0, 2, 1)
        >>> mirror_partners(["nose", "paw1LH", "paw4RH"], [["paw1LH", "paw4RH"]])
        (0, 2, 1)
    """
    if pairs is not None:
        return _stated(keypoint_names, pairs)
    sides = [list(_sides(name)) for name in keypoint_names]
    are_certain = [any(side.is_certain for side in of_name) for of_name in sides]
    spellings = [
        _counterparts(name, [side for side in of_name if side.is_certain or not is_certain])
        for name, of_name, is_certain in zip(keypoint_names, sides, are_certain, strict=True)
    ]
    candidates = [_indices(of_name, keypoint_names) for of_name in spellings]
    # Each must be the counterpart of the other: "light" becomes "right", but not the reverse.
    counterparts = [
        [other for other in others if index in candidates[other]]
        for index, others in enumerate(candidates)
    ]
    problems = []
    for name, is_certain, expected, others in zip(
        keypoint_names, are_certain, spellings, counterparts, strict=True
    ):
        if len(others) > 1:
            several = " or ".join(keypoint_names[other] for other in others)
            problems.append(f"{name}: its counterpart may be {several}")
        elif is_certain and not others:
            close = did_you_mean(expected[0], [n for n in keypoint_names if n != name])
            problems.append(f"{name}: there is no {expected[0]}.{close}")
    partners = [
        others[0] if len(others) == 1 else index for index, others in enumerate(counterparts)
    ]
    if problems:
        swapped = yaml.safe_dump(
            _pairs(keypoint_names, partners), default_flow_style=True, width=10**9
        ).strip()
        raise ConfigError(
            f"{_KEY}: true swaps left and right, and the counterpart of some keypoints is not "
            "certain:\n" + "".join(f"  {problem}\n" for problem in problems) + "Correct the names, "
            f"or list all pairs by hand ([] swaps none). The pairs found so far:\n  {_PAIRS_KEY}: "
            f"{swapped}"
        )
    return tuple(partners)


def mirror_note(keypoint_names: Sequence[str], partners: Sequence[int]) -> str:
    """Return a message that lists the keypoints that mirrored images swap, and the others.

    Example:
        >>> mirror_note(["nose", "earL", "earR"], [0, 2, 1])
        'training.imgaug_hflip swaps earL and earR; it leaves unchanged: nose'
    """
    swapped = ", ".join(" and ".join(pair) for pair in _pairs(keypoint_names, partners))
    others = [name for i, name in enumerate(keypoint_names) if partners[i] == i]
    unchanged = f"; it leaves unchanged: {', '.join(others)}" if others else ""
    advice = "" if swapped else f". If some of them are left and right, list them: {_PAIRS_KEY}"
    return f"{_KEY} swaps {swapped or 'no keypoints'}{unchanged}{advice}"


def _pairs(keypoint_names: Sequence[str], partners: Sequence[int]) -> list[list[str]]:
    return [
        [str(keypoint_names[first]), str(keypoint_names[second])]
        for first, second in enumerate(partners)
        if first < second
    ]


def _stated(keypoint_names: Sequence[str], pairs: Sequence[Sequence[str]]) -> tuple[int, ...]:
    partners = list(range(len(keypoint_names)))
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ConfigError(
                f"{_PAIRS_KEY} must be a list of pairs of keypoints, such as [[ear_l, ear_r]]; "
                f"got {pair!r} in it"
            )
        for name in pair:
            if name not in keypoint_names:
                raise ConfigError(
                    f"{_PAIRS_KEY}: there is no keypoint {name!r}."
                    f"{did_you_mean(str(name), keypoint_names)} The keypoints are "
                    f"{', '.join(keypoint_names)}."
                )
        first, second = (keypoint_names.index(name) for name in pair)
        if first == second or partners[first] != first or partners[second] != second:
            raise ConfigError(
                f"{_PAIRS_KEY}: a keypoint must be in at most one pair, once; got "
                f"{[list(each) for each in pairs]}"
            )
        partners[first], partners[second] = second, first
    return tuple(partners)


def _sides(name: str) -> Iterator[_Side]:
    words = [(word.group(), word.start(), word.end()) for word in _WORD.finditer(name)]
    no_sides = [
        (other.start(), other.end())
        for _, start, end in words
        for other in _NO_SIDE.finditer(name, start, end)
    ]
    whole = [side.span() for side in _LEFT_OR_RIGHT.finditer(name)]
    for start, end in whole:
        yield _Side(start, end, not any(low <= start and end <= high for low, high in no_sides))
    for word, start, end in words:
        if any(low < end and start < high for low, high in whole):
            continue
        if len(word) == 1 and word.lower() in _OTHER:
            # L1 may be the first left leg, and the first vertebra.
            is_label = name[end : end + 1].isdecimal() and not name[start - 1 : start].isalpha()
            yield _Side(start, end, not is_label)
            continue
        is_certain = _TWO_LETTERS.fullmatch(word) is not None
        for place in (start, end - 1):
            if name[place].lower() in _OTHER:
                yield _Side(place, place + 1, is_certain)


def _counterparts(name: str, sides: Sequence[_Side]) -> list[str]:
    """Return possible names of the counterpart, the likeliest first."""
    certain = [side for side in sides if side.is_certain]
    # A name may contain its side twice; or once, beside a letter with another meaning.
    choices = [certain] if len(certain) > 1 else []
    choices += [[side] for side in sides]
    return [_swapped(name, choice) for choice in choices]


def _swapped(name: str, sides: Sequence[_Side]) -> str:
    for start, end, _ in sorted(sides, reverse=True):
        text = name[start:end]
        other = _OTHER[text.lower()]
        if text.isupper():
            other = other.upper()
        elif text[0].isupper():
            other = other.title()
        name = name[:start] + other + name[end:]
    return name


def _indices(spellings: Sequence[str], keypoint_names: Sequence[str]) -> list[int]:
    """Return the keypoints with these names; if there are none, those that differ in case only."""
    exact = [index for index, name in enumerate(keypoint_names) if name in spellings]
    if exact:
        return exact
    folded = {spelling.casefold() for spelling in spellings}
    return [index for index, name in enumerate(keypoint_names) if name.casefold() in folded]
