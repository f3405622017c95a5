"""Measures what each loss contributes to a training, every few epochs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from io import StringIO

from torch import Tensor

from lploss import LossFactory
from lploss.balance import Balance, balance_of
from lploss.terminal import print_tables

_LOGGER = logging.getLogger(__name__)

_MOST_BATCHES = 4
_EPOCHS_BETWEEN = 10


class BalanceOfTraining:
    """Measures soon after annealing has begun, in every tenth epoch from there on, and in the last.

    Each measurement is the mean over the first batches of the epoch. The losses are compared with
    the weight that annealing ends with, at the parameters that are given.

    Attributes:
        measured: the measurements, by epoch.
    """

    def __init__(self) -> None:
        self.measured: dict[int, Balance] = {}
        self._of_epoch: list[Balance] = []
        self._has_warned = False

    def is_due(self, epoch: int, anneal_weight: float, final_epoch: int | None) -> bool:
        """Return whether to measure a batch of this epoch.

        Args:
            epoch: counted from 0.
            anneal_weight: of this epoch.
            final_epoch: the last epoch, if it is known.
        """
        # In the first epoch, the network has hardly learned anything.
        is_early = epoch == 0 and final_epoch != 0
        last = max(self.measured, default=None)
        is_its_turn = last is None or epoch >= last + _EPOCHS_BETWEEN or epoch == final_epoch
        has_room = len(self._of_epoch) < _MOST_BATCHES
        return anneal_weight > 0.0 and not is_early and is_its_turn and has_room

    def measure(
        self,
        parts: Iterable[tuple[LossFactory, Mapping[str, Tensor]]],
        at: Iterable[Tensor],
        *,
        anneal_weight: float,
        scale: float,
    ) -> None:
        """Measure a batch; see `lploss.balance.balance_of`."""
        measured = balance_of(parts, at, anneal_weight=anneal_weight, scale=scale)
        self._of_epoch.append(measured)

    def end_epoch(self, epoch: int) -> None:
        """Keep the mean of the epoch; log the first measurement, and the first warning."""
        if not self._of_epoch:
            return
        balance, self._of_epoch = Balance.mean(self._of_epoch), []
        if not self.measured:
            _LOGGER.warning("epoch %d: %s", epoch, balance.summary())
        self.measured[epoch] = balance
        if not self._has_warned and (warning := balance.warning()):
            self._has_warned = True
            _LOGGER.warning("epoch %d: %s", epoch, warning)

    def report(self) -> str:
        """Return the first and the last measurement as tables; empty if there is none."""
        text = StringIO()
        epochs = list(self.measured)
        for epoch in dict.fromkeys(epochs[:1] + epochs[-1:]):
            balance = self.measured[epoch]
            text.write(f"\nepoch {epoch}, with the weight that annealing ends with\n\n")
            print_tables([balance.table()], text)
            if warning := balance.warning():
                text.write(f"{warning}\n")
        return text.getvalue()
