"""Which keypoints of the animal hang together."""

from __future__ import annotations

from collections.abc import Sequence

_LIMBS = (
    ("nose", "ear_left"),
    ("nose", "ear_right"),
    ("ear_left", "neck"),
    ("ear_right", "neck"),
    ("neck", "hip"),
    ("hip", "tail_base"),
    ("tail_base", "tail_mid"),
    ("tail_mid", "tail_tip"),
    ("neck", "paw_front_left"),
    ("neck", "paw_front_right"),
    ("hip", "paw_hind_left"),
    ("hip", "paw_hind_right"),
)


def limbs(keypoint_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the numbers of the keypoints that a line joins.

    Example:
        >>> limbs(["hip", "nose", "neck", "tail_base"])
        [(2, 0), (0, 3)]
    """
    number = {name: n for n, name in enumerate(keypoint_names)}
    return [
        (number[one], number[other]) for one, other in _LIMBS if one in number and other in number
    ]
