"""Which elements of a loss count, and why the others do not."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TypeAlias

import torch
from torch import Tensor


class Reason(StrEnum):
    """Why an element is left out; a loss may use a text of its own as well.

    Attributes:
        NOT_LABELLED: the target is missing: NaN, or an all-zero heatmap.
        LOW_CONFIDENCE: the network is not sure enough of its prediction.
        NAN_PREDICTION: the prediction is NaN or infinite.
        OUTSIDE: the keypoint is outside the region in which the loss applies.
        NOT_TRIANGULATED: the views do not determine a point in space.
        UNSPECIFIED: the loss returned a mask of the elements that count, without reasons.

    Example:
        >>> Reason.NOT_LABELLED == "not labelled"
        True
    """

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
    """Return the masks of what is left out, by reason, and the mask of what counts."""
    if isinstance(validity, Tensor):
        return {Reason.UNSPECIFIED: ~validity}, validity
    if not validity:
        return {}, None
    return validity, ~functools.reduce(torch.logical_or, validity.values())


def exclusive(left_out: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield reasons and masks, with each element under the first reason that leaves it out.

    ``Reason.NAN_PREDICTION`` goes before all others, whatever the order of the mapping: a single
    such element makes the loss NaN, so it must be counted.
    """
    rest: Tensor | None = None
    for reason in sorted(left_out, key=lambda reason: reason != Reason.NAN_PREDICTION):
        mask = left_out[reason]
        yield reason, mask if rest is None else mask & rest
        rest = ~mask if rest is None else rest & ~mask
