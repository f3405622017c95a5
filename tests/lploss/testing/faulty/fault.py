"""The table of faulty losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lploss import Loss


@dataclass(frozen=True)
class Fault:
    """A loss with one mistake.

    Attributes:
        loss: its class; the docstring is the mistake.
        check: the check that is there for it.
        also: for other checks that cannot but fail, why.
    """

    loss: type[Loss]
    check: str
    also: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.check}-{self.loss.__name__}"


#: In the order in which they are defined.
FAULTS: list[Fault] = []


def faulty(check: str, also: Mapping[str, str] | None = None) -> Callable[[type[Loss]], type[Loss]]:
    """Put a loss into the table.

    Args:
        check: the check that it fails.
        also: for other checks that it cannot but fail, why.
    """

    def register(loss: type[Loss]) -> type[Loss]:
        FAULTS.append(Fault(loss, check, also or {}))
        return loss

    return register


def because(reason: str, *checks: str, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the same reason for several checks, but for some."""
    return dict.fromkeys((check for check in checks if check not in but), reason)


#: The checks that try a loss of keypoints with batches.
TRIED = (
    "check_scalar",
    "check_elementwise_agrees",
    "check_costs_something",
    "check_deterministic",
    "check_zero_at_target",
    "check_gradients_finite",
    "check_gradcheck",
    "check_constants",
    "check_nothing_valid",
    "check_empty_batch",
    "check_one_frame",
    "check_missing_does_not_dilute",
    "check_invalid_has_no_influence",
    "check_inputs_untouched",
    "check_global_state_untouched",
    "check_weight_once",
    "check_epsilon",
    "check_duplicated_batch",
    "check_split_batch",
    "check_batch_order",
    "check_keypoint_order",
    "check_duplicated_keypoints",
    "check_translation",
    "check_rotation",
    "check_scaling",
    "check_float32",
    "check_autocast",
    "check_huge_numbers",
    "check_state_dict",
    "check_copies",
    "check_batch_keys",
    "check_annotations",
    "check_logs",
    "check_no_synchronisation",
)
#: Of these, the ones that compare two calls.
COMPARED = (
    "check_autocast",
    "check_batch_keys",
    "check_batch_order",
    "check_copies",
    "check_duplicated_batch",
    "check_elementwise_agrees",
    "check_epsilon",
    "check_gradcheck",
    "check_keypoint_order",
    "check_missing_does_not_dilute",
    "check_rotation",
    "check_scaling",
    "check_split_batch",
    "check_translation",
)
#: And the ones that differentiate.
DIFFERENTIATED = (
    "check_autocast",
    "check_constants",
    "check_deterministic",
    "check_empty_batch",
    "check_gradcheck",
    "check_gradients_finite",
    "check_huge_numbers",
    "check_invalid_has_no_influence",
    "check_nan_predictions",
    "check_no_synchronisation",
    "check_nothing_valid",
    "check_one_frame",
    "check_zero_at_target",
)
