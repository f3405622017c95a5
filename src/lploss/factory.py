"""Many losses as one: weight, anneal, sum, log, record."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOBase
from typing import IO, Any, cast

import torch
from torch import Tensor, nn

from lploss import reduction
from lploss.balance import Balance, balance_of
from lploss.building import build_loss, build_losses
from lploss.config import plain
from lploss.errors import ArgumentValueError, ConfigError, did_you_mean
from lploss.inputs import InputResolver, is_prediction
from lploss.loss import Evaluation, LogEntry, Loss, LossResult, Stage
from lploss.recorder import FlightRecorder, LossRecord
from lploss.reduction import NanPredictions, Sync
from lploss.registry import Registry, default_registry
from lploss.terminal import print_tables


class LossFactory(nn.Module):
    """All losses of a training, as one module that takes the batch as it is.

    Inputs that the batch does not hold and that can be derived are derived once a call.

    Under ``torch.distributed`` each loss is the mean over the elements of all processes: value and
    log entries are the same everywhere, and the gradient is such that its average over the
    processes is that of one process with the whole batch. This takes one small all-reduce a call,
    so all processes must make the same calls; a batch may be empty.

    Args:
        losses: for each loss, by name (or ``distribution/name``), the arguments of its
            constructor, or a loss that exists already.
        prefer: for names that several distributions provide, the one to take.
        total_name: name of the sum in the log, after the stage.
        record: whether the flight recorder runs.
        off: for each loss that was asked for and does not run, why; for the recorder.
        sync: whether losses are shared with the other processes of ``torch.distributed``.
            ``"auto"``: where there are any and gradients are enabled, so that one process can
            validate on its own; ``True``: wherever a process group is initialised; ``False``:
            never. Handed on to the losses whose constructor names it.
        nan_predictions: set on all losses: ``"propagate"``, so that a prediction that is not
            finite makes its losses, the total and their gradients NaN, or ``"leave_out"``; see
            `lploss.Loss`. ``None``: as each loss says, which is ``"propagate"`` by default.
        registry: where the losses are looked up.

    Raises:
        UnknownLossError: nobody provides a name.
        AmbiguousNameError: several distributions provide a name.
        PluginError: a loss cannot be imported.
        ConfigError: a loss is asked for twice, or given under a name that is not its own.
        ArgumentError: a loss has no such argument.
        ArgumentValueError: ``sync`` or ``nan_predictions`` cannot be used.

    Example:
        >>> losses = LossFactory({"temporal": {"log_weight": 5.0}, "rmse": {}})
        >>> total, logs = losses(
        ...     stage="train",
        ...     anneal_weight=0.5,
        ...     keypoints_targ=torch.zeros(2, 4),
        ...     keypoints_pred=torch.ones(2, 4),
        ... )
        >>> total
        tensor(0.5000)
        >>> logs[-1]["name"]
        'train_total_loss'
    """

    def __init__(
        self,
        losses: Mapping[str, Mapping[str, Any] | Loss | None],
        *,
        prefer: Mapping[str, str] | None = None,
        total_name: str = "total_loss",
        record: bool = True,
        off: Mapping[str, str] | None = None,
        sync: Sync = "auto",
        nan_predictions: NanPredictions | None = None,
        registry: Registry = default_registry,
    ) -> None:
        super().__init__()
        self.total_name = total_name
        self.sync = reduction.checked_sync(sync)
        if not isinstance(losses, Mapping):
            raise ConfigError(
                "losses must be a mapping from names to arguments such as {'temporal': {}}, got "
                f"{type(losses).__name__}: {losses!r}"
            )
        if nan_predictions is not None:
            reduction.checked_nan_predictions(nan_predictions)
        registry = registry.preferring(prefer)
        built: dict[str, Loss] = {}
        for name, params in losses.items():
            loss = _built(name, params, sync, registry)
            if loss.loss_name in built:
                raise ConfigError(
                    f"the loss {loss.loss_name!r} is asked for twice, the second time as {name!r}"
                )
            if f"{loss.loss_name}_loss" == total_name:
                raise ConfigError(
                    f"the loss {loss.loss_name!r} would be logged as {total_name!r}, which is the "
                    "name of the sum: give another total_name"
                )
            if nan_predictions is not None:
                loss.nan_predictions = nan_predictions
            built[loss.loss_name] = loss
        self.losses = cast("Mapping[str, Loss]", nn.ModuleDict(built))
        self.recorder = FlightRecorder(self.losses, dict(off or {})) if record else None
        required = {
            name: loss_name
            for loss_name, loss in reversed(built.items())
            for name, is_required in loss.inputs.items()
            if is_required
        }
        self._inputs = InputResolver(required, registry)
        # For each loss, the predictions that it sees only through what is derived from them.
        self._behind = {
            name: frozenset().union(*map(self._inputs.predictions_behind, loss.inputs))
            for name, loss in built.items()
        }
        self._predictions = dict.fromkeys(
            name
            for loss_name, loss in built.items()
            for name in (*loss.inputs, *sorted(self._behind[loss_name]))
            if is_prediction(name)
        )

    @classmethod
    def from_config(
        cls,
        losses: Mapping[str, Any],
        *,
        data_module: Any = None,
        prefer: Mapping[str, str] | None = None,
        record: bool = True,
        sync: Sync = "auto",
        nan_predictions: NanPredictions | None = None,
        registry: Registry = default_registry,
    ) -> LossFactory:
        """Build the losses of a plain mapping or an OmegaConf node.

        Every loss that stands there runs, unless its ``log_weight`` is null, which turns it off.

        Args:
            losses: for each loss the arguments of its constructor.
            data_module: labelled keypoints for the losses that are fitted to them.
            prefer: for names that several distributions provide, the one to take.
            record: whether the flight recorder runs.
            sync: whether losses are shared with the other processes of ``torch.distributed``:
                ``"auto"``, ``True`` or ``False``, see `LossFactory`.
            nan_predictions: ``"propagate"``, ``"leave_out"`` or ``None``, see `LossFactory`.
            registry: where the losses are looked up.

        Raises:
            ConfigError: an entry is no mapping, or holds an argument that the loss does not
                have or whose value it cannot use.
            UnknownLossError: nobody provides a name.

        Example:
            >>> LossFactory.from_config({"rmse": {"log_weight": 0.0}}).losses["rmse"].weight
            tensor(0.5000)
        """
        registry = registry.preferring(prefer)
        built, off = build_losses(
            plain(losses), data_module=data_module, sync=sync, registry=registry
        )
        return cls(
            built,
            record=record,
            off=off,
            sync=sync,
            nan_predictions=nan_predictions,
            registry=registry,
        )

    def forward(
        self,
        *,
        stage: Stage | None = None,
        anneal_weight: float | Tensor | None = None,
        batch_weights: Mapping[str, float | Tensor] | None = None,
        **batch: Any,
    ) -> LossResult:
        """Evaluate all losses on a batch.

        Args:
            stage: prefix of the names in the log: ``"train"``, ``"val"`` or ``"test"``.
            anneal_weight: multiplies the losses that are annealed; 1 unless given.
            batch_weights: for each loss, by name, what multiplies its part of the sum that is
                returned; 1 unless given. Log entries and records are not multiplied. For gradients
                that are accumulated over several batches, see the method `batch_weights`.
            **batch: the inputs, by name; what no loss declares is ignored.

        Returns:
            The sum of the weighted losses, and the log entries of all losses and of the sum. Where
            the sum is NaN, so are its gradients for all predictions that a loss uses, unless
            `nan_predictions` is ``"leave_out"``.

        Raises:
            MissingInputError: a required input is absent and cannot be derived.
            InputTypeError: an input is not a floating-point tensor where it must be.
            ShapeError: an input has other axes than declared.
        """
        if isinstance(anneal_weight, Tensor):
            if anneal_weight.numel() != 1:
                raise ArgumentValueError(
                    f"anneal_weight must be one number, got shape {tuple(anneal_weight.shape)}"
                )
            anneal_weight = anneal_weight.reshape(())
        weights = batch_weights or {}
        for name in weights:
            if name not in self.losses:
                raise ArgumentValueError(
                    f"batch_weights holds {name!r}, which is not a loss of this factory."
                    f"{did_you_mean(name, self.losses)} Its losses: {', '.join(self.losses)}."
                )
        inputs = self._inputs.resolve(batch)
        prefix = f"{stage}_" if stage else ""
        spoilt = self._spoilt(batch)
        evaluations = {n: loss.evaluate(inputs, spoilt.get(n)) for n, loss in self.losses.items()}
        if self._shares():
            evaluations = self._across_processes(evaluations)
        total: Tensor | None = None
        logged_total: Tensor | None = None
        logs: list[LogEntry] = []
        for name, loss in self.losses.items():
            weighted, entries = loss.weigh(evaluations[name].scalar, stage)
            if loss.annealed and anneal_weight is not None:
                weighted = weighted * anneal_weight
            logs += entries
            logged = weighted.detach()
            if weights:
                logged_total = logged if logged_total is None else logged_total + logged
                if (weight := weights.get(name)) is not None:
                    weight = weight.to(weighted) if isinstance(weight, Tensor) else weight
                    weighted = weighted * weight
            # A copy, so that who scales the total in place does not change what was logged.
            total = weighted.clone() if total is None else total + weighted
            logs.append({"name": f"{prefix}{name}_loss_weighted", "value": logged})
            if self.recorder is not None:
                applied = 1.0 if anneal_weight is None or not loss.annealed else anneal_weight
                self.recorder.add(stage, name, evaluations[name], logged, applied)
        if total is None:
            total = torch.zeros(())
        logged_total = total.detach() if logged_total is None else logged_total
        logs.append({"name": f"{prefix}{self.total_name}", "value": logged_total.clone()})
        if any(loss.nan_predictions == "propagate" for loss in self.losses.values()):
            total = reduction.with_nan_gradients(total, map(batch.get, self._predictions))
        return LossResult(total, logs)

    def batch_weights(self, batches: Sequence[Mapping[str, Any]]) -> list[dict[str, Tensor]]:
        """Return how much each of some batches counts beside the others, for each loss.

        Where gradients are accumulated over several batches, the mean of their losses is not the
        loss of one large batch: a keypoint in a batch with few labels counts more than one in a
        batch with many. With these weights, each counts the same.

        Batches need not hold predictions. For a loss that gives `Reason.NOT_LABELLED`, the labels
        tell the weights; a loss for which they cannot be told is left out, and keeps the mean over
        its batches. With predictions, the weights of all losses are exact.

        Where losses are shared with other processes, all of them must call this with as many
        batches; it is one all-reduce. Nothing else waits for the device.

        Args:
            batches: those that one step of the optimizer takes; a mapping of inputs each.

        Returns:
            For each batch what to hand to the call as ``batch_weights``. Divide the total by the
            number of batches, as without weights.

        Example:
            >>> losses = LossFactory({"rmse": {}})
            >>> gap = float("nan")
            >>> labels = torch.tensor([[[0.0, 0.0, 5.0, 5.0]], [[gap, gap, 5.0, 5.0]]])
            >>> weights = losses.batch_weights([{"keypoints_targ": own} for own in labels])
            >>> [round(own["rmse"].item(), 3) for own in weights]
            [1.333, 0.667]
        """
        together = self._shares()
        known: dict[str, list[Tensor | int]] = {name: [] for name in self.losses}
        device = torch.device("cpu")
        for batch in batches:
            with torch.no_grad():
                inputs = self._inputs.resolve(batch, strict=False)
            device = next((v.device for v in inputs.values() if isinstance(v, Tensor)), device)
            for name in list(known):
                number = self.losses[name].count(inputs)
                if number is None:
                    del known[name]
                else:
                    known[name].append(number)
        if not known or not batches:
            return [{} for _ in batches]
        numbers = torch.stack(
            [torch.stack([_on(device, number) for number in column]) for column in known.values()],
            dim=1,
        )
        rows = reduction.shares(numbers, together=together)
        return [dict(zip(known, row.unbind(), strict=True)) for row in rows]

    def balance(
        self,
        at: Tensor | Iterable[Tensor] | None = None,
        /,
        *,
        anneal_weight: float | Tensor | None = None,
        **batch: Any,
    ) -> Balance:
        """Compare the losses by their shares of the weighted sum and of the gradient.

        Call it now and then during a training, with predictions that have a gradient. It changes
        nothing: neither gradients nor the graph, and nothing is logged or recorded. It is computed
        on this process alone, and synchronises with the device. For losses that get different
        batches, see `lploss.balance.balance_of`.

        Args:
            at: the tensors at which gradients are compared; unless given, all leaves that require
                a gradient: the parameters of the network. Those of its last layer are cheaper.
            anneal_weight: multiplies the losses that are annealed; 1 unless given, so that the
                losses are compared at their full weight.
            **batch: the inputs, by name; what no loss declares is ignored.

        Raises:
            MissingInputError: a required input is absent and cannot be derived.
            ArgumentValueError: no loss depends on a tensor that requires a gradient.

        Example:
            >>> losses = LossFactory({"regression": {}, "temporal": {}})
            >>> found = torch.tensor([[0.0, 1.0], [0.0, 9.0]], requires_grad=True)
            >>> balance = losses.balance(keypoints_targ=torch.zeros(2, 2), keypoints_pred=found)
            >>> [(own.loss, own.weighted) for own in balance.losses]
            [('regression', 10.25), ('temporal', 4.0)]
            >>> round(balance.ratio, 3), balance.warning()
            (0.312, None)
        """
        return balance_of([(self, batch)], at, anneal_weight=anneal_weight)

    def resolve(self, **batch: Any) -> Mapping[str, Any]:
        """Return a batch with the inputs that losses need and that can be derived.

        Args:
            **batch: the inputs, by name.

        Raises:
            MissingInputError: a required input is absent and cannot be derived.
        """
        return self._inputs.resolve(batch)

    def check(self, **batch: Any) -> None:
        """Check that a batch holds all that the losses need, or what it is derived from.

        Args:
            **batch: the inputs, by name.

        Raises:
            MissingInputError: a required input is absent and cannot be derived.

        Example:
            >>> LossFactory({"rmse": {}}).check(keypoints_pred=torch.zeros(1, 4))
            Traceback (most recent call last):
            ...
            lploss.errors.MissingInputError: ...
        """
        self._inputs.resolve(batch)

    def _shares(self) -> bool:
        if not reduction.has_processes(self.sync) or not self.losses:
            return False
        return self.sync is True or torch.is_grad_enabled()

    def _spoilt(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Say for each loss with derived inputs whether predictions behind them are not finite.

        Such a loss does not see these predictions, and takes what is derived from them for what
        cannot be derived from finite ones, such as a point on which parallel rays do not agree.
        """
        spoilt: dict[frozenset[str], Tensor] = {}
        for name, behind in self._behind.items():
            if self.losses[name].nan_predictions == "leave_out" or behind in spoilt:
                continue
            masks = [
                ~value.detach().isfinite().all()
                for value in map(batch.get, sorted(behind))
                if isinstance(value, Tensor)
            ]
            if masks:
                spoilt[behind] = functools.reduce(torch.logical_or, masks)
        return {name: spoilt[behind] for name, behind in self._behind.items() if behind in spoilt}

    def _across_processes(self, evaluations: Mapping[str, Evaluation]) -> dict[str, Evaluation]:
        """Return the evaluations with the scalars over the elements of all processes."""
        scalars = reduction.across_processes(
            [own.scalar for own in evaluations.values()],
            [
                reduction.count(own.elementwise, own.valid, self.losses[name].denominator)
                for name, own in evaluations.items()
            ],
            [own.factor for own in evaluations.values()],
        )
        return {
            name: own._replace(scalar=scalar)
            for (name, own), scalar in zip(evaluations.items(), scalars, strict=True)
        }

    def records(self) -> list[LossRecord]:
        """Return what the flight recorder holds; this waits for the device.

        Raises:
            ArgumentValueError: the recorder is off.
        """
        if self.recorder is None:
            raise ArgumentValueError("the flight recorder is off: build it with record=True")
        return self.recorder.records()

    def report(self, file: IO[str] | TextIOBase | None = None) -> None:
        """Print the flight recorder as tables; this waits for the device.

        Args:
            file: where to; standard output unless given.

        Raises:
            ArgumentValueError: the recorder is off.
        """
        if self.recorder is None:
            raise ArgumentValueError("the flight recorder is off: build it with record=True")
        print_tables(self.recorder.tables(), file)


def _on(device: torch.device, number: Tensor | int) -> Tensor:
    if isinstance(number, Tensor):
        return number.to(device)
    return torch.full((), number, dtype=torch.int64, device=device)


def _built(
    name: str,
    params: Mapping[str, Any] | Loss | None,
    sync: Sync,
    registry: Registry,
) -> Loss:
    if isinstance(params, Loss):
        if name.rpartition("/")[2] != params.loss_name:
            raise ConfigError(
                f"the loss given as {name!r} is called {params.loss_name!r}, and so it is logged. "
                f"Give it as {params.loss_name!r}."
            )
        return params
    if params is not None and not isinstance(params, Mapping):
        raise ConfigError(
            f"losses.{name} must be a mapping of arguments or a loss, got "
            f"{type(params).__name__}: {params!r}"
        )
    return build_loss(name, params or {}, sync=sync, registry=registry)
