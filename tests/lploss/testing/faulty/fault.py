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


def because(reason: str, *checks: str) -> dict[str, str]:
    """Return the same reason for several checks."""
    return dict.fromkeys(checks, reason)
