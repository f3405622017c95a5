"""Losses that cannot be moved, saved or copied."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lploss import Loss
from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Distance, Scaled


@faulty("check_buffers")
class PlainTensor(Distance):
    """Keeps a tensor as an attribute, and brings it along at each call."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.factor = torch.tensor(2.0)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.factor.to(pred)


@dataclass(frozen=True, slots=True)
class _Camera:
    focal_length: Tensor


@faulty("check_buffers")
class TensorInSlots(Distance):
    """Keeps a tensor in an object without a __dict__."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.cameras = [_Camera(torch.tensor(2.0))]

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.cameras[0].focal_length.to(pred)


@faulty("check_buffers")
class TensorOfTheClass(Distance):
    """Keeps a tensor on the class."""

    factor = torch.tensor(2.0)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.factor.to(pred)


@faulty(
    "check_buffers",
    also=because("it stays on the CPU", "check_no_synchronisation"),
)
class StaysWhereItIs(Scaled):
    """Does not move, for its fit was expensive."""

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        return self


@faulty("check_buffers")
class StaysInFloat32(Scaled):
    """Keeps its buffers in float32, whatever it is told."""

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        return super()._apply(lambda buffer: fn(buffer).float(), recurse)


class _Fitted(Distance):
    """Is fitted to labels, each example to others."""

    _sizes = itertools.count(1)

    def __init__(self, *, labels: Tensor, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.fit(labels)

    @classmethod
    def example(cls, name: str, /, **params: Any) -> Any:
        return super().example(name, labels=1.0 + torch.arange(next(cls._sizes)), **params)

    def fit(self, labels: Tensor) -> None:
        raise NotImplementedError


@faulty("check_state_dict")
class FittedNumber(_Fitted):
    """Keeps a fitted number as an attribute."""

    def fit(self, labels: Tensor) -> None:
        self.scale = labels.mean().item()

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.scale


@faulty("check_state_dict")
class FittedButNotPersistent(_Fitted):
    """Keeps what was fitted out of checkpoints."""

    def fit(self, labels: Tensor) -> None:
        self.register_buffer("scale", labels.mean(), persistent=False)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.scale


@faulty("check_state_dict")
class FittedSize(_Fitted):
    """Keeps as many numbers as it was fitted to, and can load no others."""

    def fit(self, labels: Tensor) -> None:
        self.register_buffer("labels", labels)

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.labels.mean()


@faulty("check_copies")
class KeepsALambda(Distance):
    """Keeps a function without a name, which cannot be pickled."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.penalty = lambda distances: 2.0 * distances

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return self.penalty(super().between(targ, pred))


@faulty(
    "check_copies",
    also=because(
        "it takes a copy",
        "check_costs_something",
        "check_buffers",
        "check_deterministic",
        "check_epsilon",
        "check_float32",
        "check_gradcheck",
        "check_invalid_has_no_influence",
        "check_no_synchronisation",
        "check_rotation",
        "check_scaling",
        "check_state_dict",
        "check_translation",
        "check_weight_once",
    ),
)
class KeepsALock(Distance):
    """Keeps a lock, which cannot be copied."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.lock = threading.Lock()


@faulty("check_copies")
class ForgetsItsFactor(Distance):
    """Leaves out of its pickled state what it takes to compute."""

    factor = 1.0

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.factor = 2.0

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self.state_dict())

    def __deepcopy__(self, memo: Any) -> Any:
        copied = _rebuilt(type(self), self.state_dict())
        copied.factor, copied.nan_predictions = self.factor, self.nan_predictions
        return copied

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return super().between(targ, pred) * self.factor


def _rebuilt(cls: type[Loss], state: dict[str, Tensor]) -> Loss:
    loss = cls()
    loss.load_state_dict(state)
    loss.factor = 1.0
    return loss


def _local() -> type[Loss]:
    class Local(Distance):
        """Is defined within a function, where pickle does not find it."""

    return Local


Local = faulty("check_copies")(_local())


@faulty("check_buffers")
class ListOfModules(Distance):
    """Keeps modules in a list, where torch does not see them."""

    def __init__(self, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.parts = [Scaled()]

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return self.parts[0].between(targ, pred)


@faulty("check_state_dict")
class SizedByTheFit(Distance):
    """Has an empty buffer until it is fitted, which no checkpoint can fill."""

    def __init__(self, data_module=None, *, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.register_buffer("scale", torch.zeros(0))
        if data_module is not None:
            self.scale = data_module.mean(dim=0)

    @classmethod
    def example(cls, name, /, **params):
        return cls.create(name, **{"data_module": torch.tensor([[2.0], [4.0]]), **params})

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return self.scale * super().between(targ, pred)
