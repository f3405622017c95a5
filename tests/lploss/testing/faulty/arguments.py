"""Losses whose constructors take what they must refuse."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from lploss.errors import ArgumentValueError
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Distance


@faulty(
    "check_arguments",
    also=because("epsilon is among them", "check_epsilon"),
)
class SwallowsArguments(Distance):
    """Takes all arguments, and hands none on."""

    def __init__(self, **params: Any) -> None:
        super().__init__()


@faulty("check_arguments")
class ClampsEpsilon(Distance):
    """Makes what is too small fit."""

    def __init__(self, *, epsilon: float = 0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=max(epsilon, 0.0), log_weight=log_weight)


@faulty("check_arguments")
class RoundsLogWeight(Distance):
    """Keeps half of the digits."""

    def __init__(self, *, epsilon: float = 0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=round(log_weight, 1))


@faulty("check_arguments")
class HasNoEpsilon(Distance):
    """Has no epsilon in its constructor."""

    def __init__(self, *, log_weight: float = 0.0) -> None:
        super().__init__(log_weight=log_weight)


@faulty(
    "check_epsilon",
    also=because("what is dropped is not looked at", "check_arguments"),
)
class DropsEpsilon(Distance):
    """Takes an epsilon, and does not hand it on."""

    def __init__(self, *, epsilon: float = 0.0, log_weight: float = 0.0) -> None:
        super().__init__(log_weight=log_weight)


@faulty("check_config_paths")
class MisspelledPath(Distance):
    """Takes a parameter from a key that no config has."""

    config_paths: ClassVar[dict[str, str]] = {"names": "data.keypoint_nams"}

    def __init__(self, names: Any = None, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)


@faulty("check_arguments")
class TakesAnyFactor(Distance):
    """Does not look at a number of its own."""

    def __init__(self, *, factor: float = 1.0, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.factor = factor

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.factor


@faulty("check_arguments")
class TakesAnyUnannotatedFactor(TakesAnyFactor):
    """Does not look at a number of its own, and does not say that it is one."""

    def __init__(self, *, factor=1.0, epsilon=0.0, log_weight=0.0) -> None:
        super().__init__(factor=factor, epsilon=epsilon, log_weight=log_weight)


@faulty("check_arguments")
class ComparesWithNaN(TakesAnyFactor):
    """Refuses numbers in such a way that NaN slips through."""

    def __init__(self, *, factor: float = 1.0, epsilon=0.0, log_weight: float = 0.0) -> None:
        if not isinstance(factor, float) or factor < 0.0:
            raise ArgumentValueError(f"factor must be a number of at least 0, got {factor!r}")
        super().__init__(factor=factor, epsilon=epsilon, log_weight=log_weight)


@faulty("check_arguments")
class AssertsItsFactor(TakesAnyFactor):
    """Refuses a number by an error that is nobody's."""

    def __init__(self, *, factor: float = 1.0, epsilon=0.0, log_weight: float = 0.0) -> None:
        assert isinstance(factor, float)
        assert factor >= 0.0
        super().__init__(factor=factor, epsilon=epsilon, log_weight=log_weight)


@faulty("check_arguments")
class NamesNoArgument(TakesAnyFactor):
    """Refuses a number, and does not say which."""

    def __init__(self, *, factor: float = 1.0, epsilon=0.0, log_weight: float = 0.0) -> None:
        if not isinstance(factor, float) or not factor >= 0.0:
            raise ArgumentValueError("expected a number of at least 0")
        super().__init__(factor=factor, epsilon=epsilon, log_weight=log_weight)
