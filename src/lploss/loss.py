"""The contract of a loss: six steps, each in one place."""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NotRequired,
    TypeAlias,
    TypedDict,
    TypeVar,
    final,
)

import torch
from torch import Tensor, nn

from lploss import reduction
from lploss.axes import Axes, axes_of, check_dtype, dtypes_of
from lploss.errors import (
    ArgumentError,
    ArgumentValueError,
    LossDefinitionError,
    PluginError,
    ShapeError,
    did_you_mean,
)
from lploss.inputs import is_prediction, missing_input
from lploss.properties import Metric, Properties
from lploss.reduction import Denominator, Method, NanPredictions
from lploss.specs import NAME
from lploss.validity import Reason, Validity, left_out_and_valid, masks_of

Kind: TypeAlias = Literal["supervised", "unsupervised"]
Stage: TypeAlias = Literal["train", "val", "test"]

# Not `Self`, which run-time type checks of single methods cannot read.
L = TypeVar("L", bound="Loss")


class LogEntry(TypedDict):
    """One number for the trainer's logger; ``value`` is detached."""

    name: str
    value: Tensor
    prog_bar: NotRequired[bool]


class LossResult(NamedTuple):
    """What a loss, or a factory of losses, returns.

    Attributes:
        loss: the weighted scalar to minimise.
        logs: what to log.
    """

    loss: Tensor
    logs: list[LogEntry]


class Evaluation(NamedTuple):
    """Steps 1 to 4 of a loss on one batch.

    Attributes:
        elementwise: the element-wise loss after steps 1 to 3.
        valid: mask of the elements that count; ``None``: all do.
        left_out: for each reason a mask of the elements left out; where several apply to one,
            the first counts.
        scalar: the unweighted scalar, over the elements of this process, or of all processes where
            a factory has synchronised it; NaN where a prediction is not finite, unless the loss
            leaves these out.
        factor: by what the scalar was multiplied for that: NaN or 1; ``None``: by nothing.
    """

    elementwise: Tensor
    valid: Tensor | None
    left_out: Mapping[str, Tensor]
    scalar: Tensor
    factor: Tensor | None = None


class Loss(nn.Module, ABC):
    """Base of all losses.

    A subclass writes `compute_loss` and, where it needs to, `remove_nans`; their parameters
    name the inputs of the loss, which are taken from the batch. A parameter with a default is
    an optional input. Everything else has one implementation here.

    Args:
        epsilon: element-wise values up to this one cost nothing; in the unit of the
            element-wise loss, at least 0; one number, or one a keypoint.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: ``"propagate"``: the scalar and its gradients are NaN as soon as one
            element is left out for `Reason.NAN_PREDICTION`, so that a diverged network never looks
            like a perfect one. ``"leave_out"``: only the other elements count; for data in which
            NaN means that there is no prediction.

    Raises:
        ArgumentError: the constructor has no argument of the given name.
        ArgumentValueError: an argument's value cannot be used.
        LossDefinitionError: a subclass breaks the contract; raised at its definition.

    Attributes:
        loss_name: the name in configs and logs.
        loss_names: the names that the class serves; stated only where there are several, and
            the constructor then takes ``loss_name``.
        kind: ``"supervised"`` or ``"unsupervised"``.
        denominator: whether a mean divides by the number of ``"valid"`` or of ``"all"`` elements.
        unit: unit of the element-wise loss, and so of epsilon; for people to read.
        metric: how the element-wise loss is written as a metric, before epsilon; ``None``: not at
            all. A class that serves several names may set it in its constructor.
        annealed: whether a trainer's anneal weight applies; unsupervised losses are annealed
            unless they say otherwise, supervised ones are not.
        num_previous_frames: how many frames before its own an element looks at; the
            element-wise loss and its masks are shorter than the batch by that number, so the
            first axis of the result is annotated with a name other than ``batch``, such as
            ``batch_minus_1``. 0: the order of the batch does not matter.
        config_paths: for a constructor's parameter, where a full config holds it.
        properties: what changes of its inputs do to the loss; the conformance kit checks it.
        inputs: for each input, whether it is required; from the signatures.
        nan_predictions: as given to the constructor; it can be set later.

    Example:
        >>> class Distance(Loss):
        ...     loss_name, kind = "distance", "supervised"
        ...
        ...     def compute_loss(self, keypoints_targ, keypoints_pred):
        ...         return (keypoints_targ - keypoints_pred).abs()
        >>> loss, logs = Distance()(
        ...     keypoints_targ=torch.zeros(1, 2), keypoints_pred=torch.ones(1, 2), stage="train"
        ... )
        >>> loss
        tensor(0.5000)
        >>> [(entry["name"], entry["value"].item()) for entry in logs]
        [('train_distance_loss', 1.0), ('distance_weight', 0.5)]
    """

    loss_name: str
    loss_names: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[Kind]
    denominator: ClassVar[Denominator] = "valid"
    unit: ClassVar[str] = ""
    metric: Metric | None = Metric()
    annealed: ClassVar[bool] = False
    num_previous_frames: ClassVar[int] = 0
    config_paths: ClassVar[Mapping[str, str]] = {}
    properties: ClassVar[Properties] = Properties()
    inputs: ClassVar[Mapping[str, bool]] = {}
    nan_predictions: NanPredictions = "propagate"

    log_weight: Tensor
    epsilon: Tensor

    _cleaned: ClassVar[tuple[str, ...]] = ()
    _computed: ClassVar[tuple[str, ...]] = ()
    _says_annealed: ClassVar[bool] = False
    __signature__: ClassVar[inspect.Signature]

    def __new__(cls: type[L], *args: Any, **kwargs: Any) -> L:
        """Refuse arguments that the constructor does not have, with the close match."""
        known = parameters_of(cls)
        for name in kwargs:
            if name not in known:
                raise ArgumentError(
                    f"loss {'/'.join(cls.loss_names)!r} has no argument {name!r}."
                    f"{did_you_mean(name, known)} It has: {', '.join(known)}.",
                    argument=name,
                )
        return super().__new__(cls)

    def __init__(
        self,
        *,
        epsilon: float | Sequence[float] | Tensor = 0.0,
        log_weight: float = 0.0,
        nan_predictions: NanPredictions = "propagate",
    ) -> None:
        super().__init__()
        self.nan_predictions = reduction.checked_nan_predictions(
            nan_predictions, f"loss {'/'.join(self.loss_names)!r}: "
        )
        self.register_buffer("epsilon", self._checked_epsilon(epsilon))
        self.register_buffer(
            "log_weight", torch.tensor(float(self._number("log_weight", log_weight)))
        )
        self._axes: Mapping[str, Axes] = {
            **axes_of(self.remove_nans),
            **axes_of(self.compute_loss),
        }
        self._dtypes: Mapping[str, frozenset[torch.dtype]] = {
            # remove_nans takes the batch as it is, compute_loss what remove_nans makes of it.
            **dtypes_of(self.compute_loss),
            **dtypes_of(self.remove_nans),
        }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "annealed" in vars(cls):
            cls._says_annealed = True
        for name in ("forward", "evaluate", "weigh", "elementwise"):
            if getattr(cls, name) is not getattr(Loss, name):
                raise LossDefinitionError(
                    f"{cls.__qualname__}.{name} must not be overridden: the order of the steps "
                    "and the weight belong to Loss. Put the maths into compute_loss and the "
                    "masks into remove_nans."
                )
        if getattr(cls.compute_loss, "__isabstractmethod__", False):
            return
        cls.inputs = _inputs_of(cls)
        if {"loss_name", "loss_names"} & vars(cls).keys():
            # Another loss: the metric of the base is not its metric.
            cls.metric = vars(cls).get("metric", Metric())
        if "loss_names" not in vars(cls) and hasattr(cls, "loss_name"):
            cls.loss_names = (cls.loss_name,)
        _check_names(cls)
        if getattr(cls, "kind", None) not in ("supervised", "unsupervised"):
            raise LossDefinitionError(
                f'{cls.__qualname__}.kind must be "supervised" (needs labels) or '
                f'"unsupervised", got {getattr(cls, "kind", None)!r}'
            )
        if cls.denominator not in ("valid", "all"):
            raise LossDefinitionError(
                f'{cls.__qualname__}.denominator must be "valid" or "all", got {cls.denominator!r}'
            )
        _check_metric(cls)
        for parameter in cls.config_paths:
            if parameter not in parameters_of(cls):
                raise LossDefinitionError(
                    f"{cls.__qualname__}.config_paths must name parameters of the constructor, got "
                    f"{parameter!r}.{did_you_mean(str(parameter), parameters_of(cls))} It has: "
                    f"{', '.join(parameters_of(cls))}."
                )
        if not cls._says_annealed:
            cls.annealed = cls.kind == "unsupervised"
        # Else inspect and help would show the arguments of __new__, which only checks their names.
        cls.__signature__ = inspect.Signature(list(parameters_of(cls).values()))

    @classmethod
    def create(cls: type[L], name: str, /, **params: Any) -> L:
        """Return a new loss; the name is handed on where the class serves several.

        Raises:
            ArgumentError: the constructor has no such argument, or needs one that is not given.
        """
        if "loss_name" in parameters_of(cls):
            params = {"loss_name": name, **params}
        if lacking := missing_arguments(cls, params):
            raise ArgumentError(f"loss {name!r} must be given {' and '.join(map(repr, lacking))}")
        return cls(**params)

    @classmethod
    def example(cls: type[L], name: str, /, **params: Any) -> L:
        """Return a loss to try: how the conformance kit builds it.

        A class whose constructor has arguments that must be given, such as labels to fit, gives
        them here, and hands ``params`` on.

        Args:
            name: one of `loss_names`.
            **params: arguments of the constructor that must be these.
        """
        return cls.create(name, **params)

    @classmethod
    def variants(cls, name: str, /) -> Sequence[Mapping[str, Any]]:
        """Return arguments with which `example` takes other paths through the loss.

        The conformance kit checks the example, and one more for each of these. A class whose
        constructor has options that change what is computed names a value of each here.

        Args:
            name: one of `loss_names`.

        Example:
            >>> import lploss
            >>> lploss.load_loss("temporal").variants("temporal")
            [{'prob_threshold': 0.5}]
        """
        return []

    @property
    def axis_sizes(self) -> Mapping[str, int]:
        """Sizes that the loss demands of axes, by name; batches of another size are refused.

        A loss that was fitted to so many keypoints says it here: ``{"num_keypoints": 17}``.
        """
        return {}

    @property
    def weight(self) -> Tensor:
        """The weight ``1 / (2 * exp(log_weight))``."""
        return torch.exp(-self.log_weight) * 0.5

    def remove_nans(self, *args: Any, **inputs: Any) -> tuple[Mapping[str, Tensor], Validity]:
        """Step 1: replace what is not usable by harmless finite values, before any maths.

        A subclass names its inputs instead of ``*args, **inputs``.

        Returns:
            The inputs to replace, by name; and which elements of the element-wise loss count:
            ``None`` for all, a boolean mask, or for each reason (`lploss.Reason`, or any text)
            a boolean mask of the elements to leave out. Masks have the shape of the
            element-wise loss.
        """
        return inputs, None

    @abstractmethod
    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        """Step 2: return the element-wise loss.

        A subclass names its inputs instead of ``*args, **kwargs``.

        Returns:
            The batch axis first, the keypoint axis last where there is one.
        """

    def rectify_epsilon(self, loss: Tensor) -> Tensor:
        """Step 3: return ``relu(loss - epsilon)``; an epsilon a keypoint is broadcast."""
        if self.epsilon.ndim and self.epsilon.shape[0] != loss.shape[-1]:
            raise ArgumentValueError(
                f"loss {self.loss_name!r}: epsilon holds {self.epsilon.shape[0]} values, the "
                f"element-wise loss has {loss.shape[-1]} along its last axis. Give one number, "
                "or one a keypoint.",
                argument="epsilon",
            )
        return torch.relu(loss - self.epsilon)

    def reduce_loss(
        self, loss: Tensor, valid: Tensor | None = None, method: Method = "mean"
    ) -> Tensor:
        """Step 4: return the sum over valid elements, divided by `denominator` for a mean."""
        if method not in ("mean", "sum"):
            raise ArgumentValueError(
                f"loss {self.loss_name!r}: method must be 'mean' or 'sum', got {method!r}"
            )
        total = reduction.masked_sum(loss, valid)
        if method == "sum":
            return total
        return reduction.mean_of(total, reduction.count(loss, valid, self.denominator))

    def log_loss(self, loss: Tensor, stage: Stage | None = None) -> list[LogEntry]:
        """Step 5: return what to log of the unweighted scalar, and of the weight."""
        prefix = f"{stage}_" if stage else ""
        return [
            {
                "name": f"{prefix}{self.loss_name}_loss",
                "value": loss.detach(),
                "prog_bar": True,
            },
            {"name": f"{self.loss_name}_weight", "value": self.weight.detach()},
        ]

    @final  # type: ignore[misc]  # nn.Module declares it as an attribute
    def forward(self, *, stage: Stage | None = None, **inputs: Any) -> LossResult:
        """Step 6: run steps 1 to 5 and apply the weight, here and nowhere else.

        Args:
            stage: prefix of the names in the log: ``"train"``, ``"val"`` or ``"test"``.
            **inputs: the batch; what the loss does not declare is ignored.

        Returns:
            The weighted scalar, and the log entries. Where the scalar is NaN, so are its gradients
            for all inputs named ``*_pred*``, unless `nan_predictions` is ``"leave_out"``.

        Raises:
            MissingInputError: a required input is absent.
            InputTypeError: an input is not a tensor of a dtype that its annotation accepts.
            ShapeError: an input has other axes than declared.
        """
        weighted, logs = self.weigh(self.evaluate(inputs).scalar, stage)
        if self.nan_predictions == "propagate":
            predictions = [inputs.get(name) for name in self.inputs if is_prediction(name)]
            weighted = reduction.with_nan_gradients(weighted, predictions)
        return LossResult(weighted, logs)

    @final
    def elementwise(self, **inputs: Any) -> Tensor:
        """Return the element-wise loss after steps 1 to 3, with NaN where it does not count.

        Args:
            **inputs: the batch; what the loss does not declare is ignored.
        """
        loss, valid, *_ = self.evaluate(inputs)
        return loss if valid is None else torch.where(valid, loss, math.nan)

    @final
    def count(self, batch: Mapping[str, Any]) -> Tensor | int | None:
        """Return the number of elements that the mean over a batch divides by.

        Predictions may be absent. Then it is the number of labelled elements, up to a factor that
        is the same for all batches: what `LossFactory.batch_weights` needs before a network has
        seen the batches. It is that of the mean unless other elements are left out, too.

        Args:
            batch: the inputs, by name.

        Returns:
            The number; ``None`` where it depends on inputs that are absent: a target is absent,
            `remove_nans` does not give `Reason.NOT_LABELLED`, or no annotation states the axes of
            an absent input.

        Example:
            >>> import lploss
            >>> labels = torch.tensor([[1.0, 2.0, float("nan"), float("nan")]])
            >>> lploss.create_loss("rmse").count({"keypoints_targ": labels})
            tensor(1)
        """
        cls = type(self)
        with torch.no_grad():
            absent = [n for n, required in cls.inputs.items() if required and batch.get(n) is None]
            if not absent:
                loss, valid, *_ = self.evaluate(batch)
                return reduction.count(loss, valid, self.denominator)
            stand_ins = self._stand_ins(batch, absent)
            if stand_ins is None or not cls._cleaned:
                return None
            given = self._declared_inputs({**batch, **stand_ins})
            _, validity = self.remove_nans(**{n: given[n] for n in cls._cleaned if n in given})
            if not isinstance(validity, Mapping) or Reason.NOT_LABELLED not in validity:
                return None
            is_labelled = ~validity[Reason.NOT_LABELLED]
            return reduction.count(is_labelled, is_labelled, self.denominator)

    @final
    def evaluate(self, batch: Mapping[str, Any], spoilt: Tensor | None = None) -> Evaluation:
        """Run steps 1 to 4: what can be done without the other processes of a training.

        Args:
            batch: the inputs, by name.
            spoilt: a scalar that says whether an input was derived from predictions that are not
                finite: all elements are then left out as NaN predictions.
        """
        loss, validity = self._steps_1_to_3(batch)
        left_out, valid = left_out_and_valid(validity)
        scalar = self.reduce_loss(loss, valid)
        if self.nan_predictions == "leave_out":
            return Evaluation(loss, valid, left_out, scalar)
        nan_prediction = left_out.get(Reason.NAN_PREDICTION)
        if spoilt is not None:
            spoilt = spoilt.to(loss.device).expand(loss.shape)
            nan_prediction = spoilt if nan_prediction is None else nan_prediction | spoilt
            left_out = {**left_out, Reason.NAN_PREDICTION: nan_prediction}
            valid = ~spoilt if valid is None else valid & ~spoilt
        if nan_prediction is None:
            return Evaluation(loss, valid, left_out, scalar)
        factor = reduction.nan_or_one(nan_prediction)
        return Evaluation(loss, valid, left_out, scalar * factor, factor)

    @final
    def weigh(self, scalar: Tensor, stage: Stage | None = None) -> LossResult:
        """Run what follows step 4, on the scalar of this process or of all: log and weigh."""
        return LossResult(self.weight * scalar, self.log_loss(scalar, stage))

    def element_names(self, keypoint_names: Sequence[str]) -> list[str]:
        """Return a name for each entry of the element-wise loss's last axis.

        Args:
            keypoint_names: names of the batch's keypoints, in order.
        """
        return list(keypoint_names)

    def extra_repr(self) -> str:
        """Return what stands in the parentheses of the ``repr``."""
        return f"{self.loss_name}, inputs={list(self.inputs)}"

    def _apply(self: L, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> L:
        """Move to where it is told, but keep buffers in float32 or better.

        In half precision an epsilon of some px, or a fitted pose, would be off by 1 px and more.
        """

        def keep(buffer: Tensor) -> Tensor:
            moved = fn(buffer)
            half = moved.dtype in (torch.float16, torch.bfloat16)
            return buffer.to(moved.device) if half else moved

        super()._apply(keep, recurse)  # type: ignore[no-untyped-call]
        return self

    def _steps_1_to_3(self, batch: Mapping[str, Any]) -> tuple[Tensor, Validity]:
        given = self._declared_inputs(batch)
        cls = type(self)
        cleaned, validity = self.remove_nans(**{n: given[n] for n in cls._cleaned if n in given})
        for name in cleaned:
            if name not in cls.inputs:
                raise LossDefinitionError(
                    f"loss {self.loss_name!r}: remove_nans replaces {name!r}, which is no input "
                    f"of the loss.{did_you_mean(name, cls.inputs)}"
                )
        given.update(cleaned)
        loss = self.compute_loss(**{n: given[n] for n in cls._computed if n in given})
        if not isinstance(loss, Tensor) or loss.ndim == 0:
            came = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise LossDefinitionError(
                f"loss {self.loss_name!r}: compute_loss must return the element-wise loss, a "
                f"tensor with the batch axis first, got {came}"
            )
        for mask in masks_of(validity):
            if mask.shape != loss.shape or mask.dtype is not torch.bool:
                self._check_annotation(loss, given)
                raise LossDefinitionError(
                    f"loss {self.loss_name!r}: remove_nans must return boolean masks in the "
                    f"shape of what compute_loss returns, {tuple(loss.shape)}, got {mask.dtype} of "
                    f"shape {tuple(mask.shape)}"
                )
        return self.rectify_epsilon(loss), validity

    def _declared_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        sizes = dict(self.axis_sizes)
        for name, required in self.inputs.items():
            value = batch.get(name)
            if value is None:
                if required:
                    raise missing_input(self.loss_name, name, batch)
                continue
            axes = self._axes.get(name)
            if axes is not None:
                try:
                    axes.check(self.loss_name, name, value, sizes)
                except ShapeError as error:
                    raise self._with_demands(error) from None
            if name in self._dtypes:
                check_dtype(self.loss_name, name, value, self._dtypes[name])
            is_constant = is_target(name) and isinstance(value, Tensor)
            given[name] = value.detach() if is_constant else value
        return given

    def _stand_ins(
        self, batch: Mapping[str, Any], absent: Sequence[str]
    ) -> dict[str, Tensor] | None:
        """Return zeros in the shape of absent inputs.

        ``None`` if a target is absent, or if no annotation states the shape of an absent input.
        """
        if any(is_target(name) or name not in self._axes for name in absent):
            return None
        sizes = dict(self.axis_sizes)
        given: list[Tensor] = []
        for name in self.inputs:
            if (value := batch.get(name)) is not None and (axes := self._axes.get(name)):
                axes.check(self.loss_name, name, value, sizes)
                given.append(value)
        if not given:
            return None
        floating = [value.dtype for value in given if value.is_floating_point()]
        preferred = floating[0] if floating else torch.get_default_dtype()
        stand_ins = {}
        for name in absent:
            accepted = self._dtypes.get(name, {preferred})
            dtype = preferred if preferred in accepted else min(accepted, key=str)
            zero = torch.zeros((), dtype=dtype, device=given[0].device)
            stand_ins[name] = zero.expand(self._axes[name].shape(sizes))
        return stand_ins

    def _check_annotation(self, loss: Tensor, given: Mapping[str, Any]) -> None:
        """Check what compute_loss returned against its annotation."""
        sizes = dict(self.axis_sizes)
        try:
            for name, axes in self._axes.items():
                if name in given:
                    axes.check(self.loss_name, name, given[name], sizes)
            if "return" in self._axes:
                self._axes["return"].check(self.loss_name, "the element-wise loss", loss, sizes)
        except ShapeError as error:
            raise LossDefinitionError(f"compute_loss contradicts its annotation: {error}") from None

    def _with_demands(self, error: ShapeError) -> ShapeError:
        if not self.axis_sizes:
            return error
        demands = ", ".join(f"{name} = {size}" for name, size in self.axis_sizes.items())
        return ShapeError(f"{error}. This loss is made for {demands}.")

    def _number(
        self, argument: str, value: Any, low: float = -math.inf, high: float = math.inf
    ) -> float:
        """Return a constructor's number, or raise an error that names loss and argument."""
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or not math.isfinite(value):
            bounds = f" of at least {low:g}" if math.isfinite(low) else ""
            if math.isfinite(high):
                bounds = f" from {low:g} to {high:g}"
            raise ArgumentValueError(
                f"loss {'/'.join(self.loss_names)!r}: {argument} must be a finite number"
                f"{bounds}, got {value!r}",
                argument=argument,
            )
        return float(value)

    def _checked_epsilon(self, epsilon: Any) -> Tensor:
        if hasattr(epsilon, "tolist"):  # a tensor or an array
            epsilon = epsilon.tolist()
        if isinstance(epsilon, Sequence) and not isinstance(epsilon, str):
            return torch.tensor([self._number("epsilon", value, 0.0) for value in epsilon])
        return torch.tensor(self._number("epsilon", epsilon, 0.0))


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# These arguments of `forward`, here and in the factory, are no inputs.
_RESERVED = ("stage", "anneal_weight", "batch_weights")


def check_target(name: str, loaded: Any) -> None:
    """Check what a `LossSpec` points to.

    Raises:
        PluginError: it is not a loss class, or its name is another one.
    """
    if not (isinstance(loaded, type) and issubclass(loaded, Loss)):
        raise PluginError(f"expected a subclass of lploss.Loss, got {loaded!r}")
    if inspect.isabstract(loaded):
        raise PluginError(
            f"{loaded.__qualname__} does not define compute_loss, which every loss must have"
        )
    if name not in loaded.loss_names:
        raise PluginError(
            f"the class says that its name is {' or '.join(map(repr, loaded.loss_names))}, "
            f"the LossSpec says {name!r}"
        )


def parameters_of(cls: type[Loss]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a loss's constructor, by name.

    A constructor that hands ``**kwargs`` on has those of the next class as well.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        for name, parameter in parameters.items():
            if name != "self" and parameter.kind not in _VARIADIC:
                found.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def is_target(name: str) -> bool:
    """Return whether an input is a target by its name: a constant, which gets no gradient."""
    return "_targ" in name


def missing_arguments(cls: type[Loss], params: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments that a loss's constructor requires and ``params`` lacks."""
    return [
        name
        for name, parameter in parameters_of(cls).items()
        if parameter.default is parameter.empty and name not in params
    ]


def _check_metric(cls: type[Loss]) -> None:
    metric = cls.metric
    if metric is None:
        return
    if not isinstance(metric, Metric):
        raise LossDefinitionError(
            f"{cls.__qualname__}.metric must be a lploss.Metric, or None for no metric; got "
            f"{metric!r}"
        )
    if metric.name is not None and not re.fullmatch(NAME, str(metric.name)):
        raise LossDefinitionError(
            f"{cls.__qualname__}.metric.name must be a plain name such as 'bone_length', for it "
            f"is part of a file's name; got {metric.name!r}. Give metric = None for no metric."
        )
    if not 0 < metric.scale < math.inf:
        raise LossDefinitionError(
            f"{cls.__qualname__}.metric.scale must be a number above 0, got {metric.scale!r}"
        )
    for name in metric.without:
        if cls.inputs.get(name, True):
            raise LossDefinitionError(
                f"{cls.__qualname__}.metric.without must hold names of optional inputs of the "
                f"loss, got {name!r}"
            )


def _check_names(cls: type[Loss]) -> None:
    if not cls.loss_names:
        raise LossDefinitionError(
            f"{cls.__qualname__} must have a name: loss_name = {cls.__name__.lower()!r}"
        )
    for name in cls.loss_names:
        if not re.fullmatch(NAME, str(name)) or hasattr(nn.ModuleDict(), str(name)):
            raise LossDefinitionError(
                f"{cls.__qualname__}: a loss cannot be named {name!r}; expected a plain name such "
                "as 'bone_length', and none that torch.nn.ModuleDict has itself"
            )
    if len(cls.loss_names) > 1 and "loss_name" not in parameters_of(cls):
        raise LossDefinitionError(
            f"{cls.__qualname__} serves several names, {', '.join(cls.loss_names)}: its "
            "constructor must take loss_name"
        )


def _inputs_of(cls: type[Loss]) -> dict[str, bool]:
    """Read the inputs off the signatures, required ones as ``True``."""
    cls._computed = _names(cls, "compute_loss")
    overridden = cls.remove_nans is not Loss.remove_nans
    cls._cleaned = _names(cls, "remove_nans") if overridden else ()
    found: dict[str, bool] = {}
    for method in ("compute_loss", "remove_nans") if overridden else ("compute_loss",):
        for name, parameter in inspect.signature(getattr(cls, method)).parameters.items():
            if name != "self":
                required = parameter.default is inspect.Parameter.empty
                found[name] = found.get(name, False) or required
    if not found:
        raise LossDefinitionError(f"{cls.__qualname__}.compute_loss must name its inputs")
    return found


def _names(cls: type[Loss], method: str) -> tuple[str, ...]:
    parameters = inspect.signature(getattr(cls, method)).parameters
    for parameter in parameters.values():
        if parameter.name in _RESERVED:
            raise LossDefinitionError(
                f"{cls.__qualname__}.{method}: an input cannot be named {parameter.name!r}, "
                "trainers pass something else under this name"
            )
        if parameter.kind in _VARIADIC:
            raise LossDefinitionError(
                f"{cls.__qualname__}.{method} must name its inputs, it has {parameter}: the "
                "names say what the loss takes from the batch. Keys of the batch that it does "
                "not name are ignored anyway."
            )
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name != "self":
            raise LossDefinitionError(
                f"{cls.__qualname__}.{method}: {parameter.name} must not be positional-only, "
                "inputs are passed by name"
            )
    return tuple(name for name in parameters if name != "self")
