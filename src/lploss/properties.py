"""What a loss declares about itself, for others to rely on and the conformance kit to check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """What certain changes of its inputs do to a loss.

    Nothing holds unless it is stated; what is stated, the conformance kit checks. Coordinates are
    those of the inputs whose `InputSpec` says that they hold some; all others stay as they are.

    Args:
        keypoint_order: the order of the keypoints does not matter: in another order the
            element-wise loss is that of before in this order, and the scalar the same.
        view_order: the order of the views does not matter.
        translation: moving all coordinates by the same vector changes nothing.
        rotation: turning all coordinates about the same point by the same angle changes nothing.
        scaling: coordinates times ``s`` multiply the loss by ``s ** scaling``; 0 for a loss that
            does not depend on the unit, 1 for a length, 2 for a squared one. ``None``: unknown.
        zero_at_target: where the predictions equal the targets, the loss is zero.

    Example:
        >>> Properties(translation=True, scaling=1).keypoint_order
        False
    """

    keypoint_order: bool = False
    view_order: bool = False
    translation: bool = False
    rotation: bool = False
    scaling: int | None = None
    zero_at_target: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How the element-wise loss, before epsilon, is written as a metric.

    Args:
        name: name of the metric, and part of a file's name; ``None``: that of the loss.
        scale: the element-wise loss times this is the metric; above 0.
        without: optional inputs that the metric is evaluated without: those that only say which
            elements are to be trained on. A metric is of all keypoints, whatever the training does
            with them.

    Example:
        >>> Metric(name="pixel_error", scale=2**0.5).without
        ()
    """

    name: str | None = None
    scale: float = 1.0
    without: tuple[str, ...] = ()
