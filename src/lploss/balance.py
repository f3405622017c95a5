"""How hard each loss pulls on a network, beside the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lploss.errors import ArgumentValueError
from lploss.loss import Kind, Loss
from lploss.terminal import text

if TYPE_CHECKING:
    from rich.table import Table

    from lploss.factory import LossFactory


@dataclass(frozen=True, slots=True)
class LossShare:
    """How much one loss contributes.

    Attributes:
        loss: name of the loss.
        kind: ``"supervised"`` or ``"unsupervised"``.
        log_weight: of the loss.
        weighted: the weighted scalar, anneal weight included.
        share: of the sum of the weighted scalars, 0 to 1.
        gradient: norm of the gradient of the weighted scalar.
        gradient_share: of the sum of these norms, 0 to 1.
    """

    loss: str
    kind: Kind
    log_weight: float
    weighted: float
    share: float
    gradient: float
    gradient_share: float


@dataclass(frozen=True, slots=True)
class Balance:
    """What the losses of a training contribute to its sum, and to its gradient.

    Attributes:
        losses: the losses, supervised ones first.
        supervised: norm of the gradient of the sum of the supervised losses.
        unsupervised: norm of the gradient of the sum of the unsupervised losses.
    """

    losses: tuple[LossShare, ...]
    supervised: float
    unsupervised: float

    @classmethod
    def mean(cls, balances: Sequence[Balance]) -> Balance:
        """Return the mean over several batches with the same losses.

        Args:
            balances: at least one.
        """

        def mean(values: Iterable[float]) -> float:
            return sum(values) / len(balances)

        columns = list(zip(*(balance.losses for balance in balances), strict=True))
        return cls(
            _with_shares(
                (
                    column[0].loss,
                    column[0].kind,
                    column[0].log_weight,
                    mean(own.weighted for own in column),
                    mean(own.gradient for own in column),
                )
                for column in columns
            ),
            mean(balance.supervised for balance in balances),
            mean(balance.unsupervised for balance in balances),
        )

    @property
    def ratio(self) -> float:
        """Gradient of the unsupervised losses over that of the supervised ones.

        Infinity where only the unsupervised losses have a gradient.
        """
        if self.supervised == 0.0:
            return math.inf if self.unsupervised else 0.0
        return self.unsupervised / self.supervised

    def suggestions(self) -> dict[str, float]:
        """Return the ``log_weight`` with which unsupervised losses would not outweigh the labels.

        A loss gets one if its gradient is above that of the supervised losses, divided by the
        number of unsupervised losses. With all of these, the gradient of the unsupervised losses
        is at most that of the supervised ones.

        Returns:
            By name, rounded up to one decimal. Empty where the unsupervised losses do not outweigh
            the supervised ones, and where no supervised loss has a gradient.
        """
        # Not `self.ratio <= 1`, which does not hold for NaN.
        if not self.ratio > 1.0 or not 0.0 < self.supervised < math.inf:
            return {}
        unsupervised = [own for own in self.losses if own.kind == "unsupervised"]
        most = self.supervised / len(unsupervised)
        return {
            own.loss: math.ceil(10 * (own.log_weight + math.log(own.gradient / most))) / 10
            for own in unsupervised
            if most < own.gradient < math.inf
        }

    def warning(self) -> str | None:
        """Return what to change where unsupervised losses outweigh the labels; else ``None``."""
        suggestions = self.suggestions()
        if not suggestions:
            return None
        now = {own.loss: own.log_weight for own in self.losses}
        changes = ", ".join(
            f"{name} from {now[name]:.4g} to {value:.4g}" for name, value in suggestions.items()
        )
        return (
            "the unsupervised losses outweigh the supervised ones: their gradient is "
            f"{self.ratio:.2g} times as large, so the network learns to be smooth or consistent "
            f"rather than right. Raise log_weight at least: {changes}."
        )

    def summary(self) -> str:
        """Return the shares of all losses in one line."""
        shares = "; ".join(
            f"{own.loss} {100 * own.share:.1f} % and {100 * own.gradient_share:.1f} %"
            for own in self.losses
        )
        return f"shares of the weighted sum and of the gradient: {shares}"

    def table(self) -> Table:
        """Return the losses as a table for `rich`."""
        from rich import box
        from rich.table import Table

        table = Table(title="shares", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("loss", no_wrap=True)
        table.add_column("kind", no_wrap=True)
        for heading in ("log_weight", "weighted", "share", "gradient", "share"):
            table.add_column(heading, justify="right", no_wrap=True)
        for own in self.losses:
            table.add_row(
                text(own.loss),
                own.kind,
                f"{own.log_weight:.4g}",
                f"{own.weighted:.4g}",
                f"{100 * own.share:.1f} %",
                f"{own.gradient:.4g}",
                f"{100 * own.gradient_share:.1f} %",
            )
        return table


def balance_of(
    parts: Iterable[tuple[LossFactory, Mapping[str, Any]]],
    at: Tensor | Iterable[Tensor] | None = None,
    *,
    anneal_weight: float | Tensor | None = None,
    scale: float = 1.0,
) -> Balance:
    """Compare the losses of a training by their values and gradients; nothing else changes.

    Labelled frames and those of a video have different predictions, so gradients are compared
    where all losses meet: at the parameters of the network. For many losses and large networks,
    those of its last layer tell as much, and only this layer is computed backwards.

    Args:
        parts: factories of losses, each with its batch.
        at: the tensors at which gradients are compared; unless given, all leaves that the losses
            depend on and that require a gradient.
        anneal_weight: multiplies the losses that are annealed; 1 unless given.
        scale: multiplies losses before gradients are computed, which are divided by it: so that
            those in half precision do not underflow.

    Raises:
        ArgumentValueError: no loss depends on a tensor that requires a gradient.
        MissingInputError: a required input is absent and cannot be derived.

    Example:
        >>> from lploss import LossFactory
        >>> network = torch.nn.Linear(3, 4)
        >>> supervised, unsupervised = LossFactory({"rmse": {}}), LossFactory({"temporal": {}})
        >>> labelled = {"keypoints_targ": torch.ones(2, 4)}
        >>> labelled["keypoints_pred"] = network(torch.rand(2, 3))
        >>> video = {"keypoints_pred": network(torch.rand(6, 3))}
        >>> balance = balance_of([(supervised, labelled), (unsupervised, video)])
        >>> [(own.loss, own.kind) for own in balance.losses]
        [('rmse', 'supervised'), ('temporal', 'unsupervised')]
    """
    losses: list[tuple[Loss, Tensor]] = []
    for factory, batch in parts:
        inputs = factory.resolve(**batch)
        for loss in factory.losses.values():
            weighted = loss.weigh(loss.evaluate(inputs).scalar).loss
            if loss.annealed and anneal_weight is not None:
                weighted = weighted * anneal_weight
            losses.append((loss, weighted))
    places = [at] if isinstance(at, Tensor) else list(at or _leaves(value for _, value in losses))
    if not places or not any(value.requires_grad for _, value in losses):
        raise ArgumentValueError(
            "the balance of losses needs gradients: no loss depends on a tensor that requires one. "
            "Give predictions as the network returned them, outside of torch.no_grad()."
        )
    sums: dict[Kind, Tensor] = {}
    found: list[tuple[str, Kind, float, float, float]] = []
    for loss, weighted in sorted(losses, key=lambda own: own[0].kind):
        gradient = _gradient(weighted, places, scale)
        sums[loss.kind] = sums[loss.kind] + gradient if loss.kind in sums else gradient
        log_weight, value = float(loss.log_weight), float(weighted.detach())
        found.append((loss.loss_name, loss.kind, log_weight, value, float(gradient.norm())))
    norms = {kind: float(gradient.norm()) for kind, gradient in sums.items()}
    return Balance(
        _with_shares(found), norms.get("supervised", 0.0), norms.get("unsupervised", 0.0)
    )


def _with_shares(
    found: Iterable[tuple[str, Kind, float, float, float]],
) -> tuple[LossShare, ...]:
    rows = list(found)
    total, gradient = sum(row[3] for row in rows), sum(row[4] for row in rows)
    return tuple(
        LossShare(*row[:4], row[3] / (total or 1.0), row[4], row[4] / (gradient or 1.0))
        for row in rows
    )


def _gradient(value: Tensor, places: Sequence[Tensor], scale: float) -> Tensor:
    """Return the gradient at all places, as one vector; the graph stays as it is."""
    found: Sequence[Tensor | None] = [None] * len(places)
    if value.requires_grad:
        found = torch.autograd.grad(value * scale, places, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(place) if own is None else own).flatten().float() / scale
            for place, own in zip(places, found, strict=True)
        ]
    )


def _leaves(values: Iterable[Tensor]) -> list[Tensor]:
    """Return the leaves that values depend on."""
    leaves: dict[int, Tensor] = {}
    nodes: list[Any] = [value.grad_fn for value in values if value.grad_fn is not None]
    seen = set(nodes)
    for node in nodes:  # grows while it is walked
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return list(leaves.values())
