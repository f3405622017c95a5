"""Which elements of a loss count, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeAlias

from torch import Tensor


class Reason(StrEnum):
    """Why an element is left out; a loss may use a text of its own as well."""

    NOT_LABELLED = "not labelled"
    LOW_CONFIDENCE = "low confidence"
    NAN_PREDICTION = "NaN prediction"
    OUTSIDE = "outside"
    NOT_TRIANGULATED = "cannot be triangulated"
    UNSPECIFIED = "not valid"


#: What `Loss.remove_nans` says of the elements: ``None`` (all count), a boolean mask of those
#: that count, or for each reason a boolean mask of those that are left out for it.
Validity: TypeAlias = Tensor | Mapping[str, Tensor] | None


def masks_of(validity: Validity) -> Iterable[Tensor]:
    """Return all masks that the validity holds."""
    if isinstance(validity, Mapping):
        return validity.values()
    return () if validity is None else (validity,)


def left_out_and_valid(validity: Validity) -> tuple[Mapping[str, Tensor], Tensor | None]:
    """Return the masks of what is left out, each element under one reason, and of what counts.

    An element that several reasons leave out stands under the first of them.
    """
    if validity is None:
        return {}, None
    if isinstance(validity, Tensor):
        return {Reason.UNSPECIFIED: ~validity}, validity
    left_out: dict[str, Tensor] = {}
    valid: Tensor | None = None
    for reason, mask in validity.items():
        left_out[reason] = mask if valid is None else mask & valid
        valid = ~mask if valid is None else valid & ~mask
    return left_out, valid
