"""Where the time of a prediction goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar, get_args

_Item = TypeVar("_Item")

#: What whoever predicts waits for: frames that are decoded, the model, or files.
Part: TypeAlias = Literal["decoding", "model", "writing"]

PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(slots=True)
class Stopwatch:
    """Adds up how long the parts of a prediction took, by the clock on the wall.

    Frames are decoded in the background: of that, only the time counts in which nothing else
    could be done.

    Attributes:
        seconds: how long each part took.

    Example:
        >>> stopwatch = Stopwatch()
        >>> with stopwatch.measure("model"):
        ...     time.sleep(0.01)
        >>> stopwatch.seconds["model"] >= 0.01, stopwatch.seconds["writing"]
        (True, 0.0)
    """

    seconds: dict[Part, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @contextmanager
    def measure(self, part: Part) -> Iterator[None]:
        """Count the time of a block, one that fails included."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start

    def waiting(self, part: Part, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, and count the time that each of them is waited for."""
        iterator = iter(items)
        while True:
            with self.measure(part):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
