"""Which losses are scored, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from omegaconf import DictConfig
from torch import Tensor

from lploss import Loss, LossSpec
from lploss.building import build_losses, check_params
from lploss.config import plain, value_at
from lploss.errors import (
    ArgumentValueError,
    ConfigError,
    LplossError,
    MissingArgumentError,
    MissingInputError,
    NotFittedError,
    first_line,
)
from lploss.inputs import InputResolver
from lploss.loss import parameters_of
from lploss.registry import Registry
from lploss_builtin.data.poses.labels import LabelledKeypoints
from lploss_builtin.data.poses.table import PoseNames, PoseTable
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.scoring.recording import camera_inputs
from lploss_builtin.scoring.scored_loss import ScoredLoss, loss_failed


@dataclass(frozen=True, slots=True)
class Material:
    """What losses can be made of, and be evaluated on.

    Attributes:
        names: names of the predicted keypoints, in the order of the batch.
        config: the full config; its indices of keypoints count along ``names.flat``.
        labels: labels of the same keypoints, for the losses that are fitted to them.
        has_confidences: whether every file has likelihoods.
        has_targets: whether some predictions are of labelled frames.
        registry: where the losses are looked up, with the preferences of the config.
        cameras: of the views, where there are several.
    """

    names: PoseNames
    config: DictConfig
    labels: PoseTable | None
    has_confidences: bool
    has_targets: bool
    registry: Registry
    cameras: Cameras | None = None

    def __post_init__(self) -> None:
        registry = self.registry.preferring(plain(self.config.prefer))
        object.__setattr__(self, "registry", registry)

    def example(self, num_frames: int) -> dict[str, Tensor]:
        """Return a batch with the inputs that the files give."""
        num_keypoints = len(self.names.flat)
        batch = {"keypoints_pred": torch.zeros(num_frames, 2 * num_keypoints)}
        if self.has_confidences:
            batch["confidences"] = torch.ones(num_frames, num_keypoints)
        if self.has_targets:
            batch["keypoints_targ"] = torch.zeros(num_frames, 2 * num_keypoints)
        return batch | camera_inputs(self.cameras, num_frames)


def choose_losses(
    material: Material, names: Sequence[str] | None = None, *, every: bool = False
) -> tuple[list[ScoredLoss], dict[str, str]]:
    """Choose the losses to score and build them.

    Args:
        material: what they are made of.
        names: the losses asked for, which must all run. Without: those in
            ``model.losses_to_use``, which must all run too; else, of those in the config's
            section ``losses``, else of all that are registered, those that can run.
        every: take, instead of these, of all that are registered those that can run.

    Returns:
        The losses; and for each one that is left out of what could have run, why.

    Raises:
        ConfigError: a loss is asked for twice or cannot be built, none can run, or an entry of
            the config's section ``losses`` holds an argument that its loss does not have.
        UnknownLossError: nobody provides a name.
        MissingInputError: a loss asked for needs what prediction files do not hold.
        PluginError: a loss asked for fails.
    """
    config, registry = material.config, material.registry
    described: Mapping[str, object] = plain(config.losses)
    for name, params in described.items():
        # Entries that are not scored too: a misspelled one would be taken for obeyed.
        check_params(name, {} if params is None else params, registry)
    to_use: list[str] = plain(config.model.losses_to_use) or []
    if every:
        own = {_plain_name(name) for name in described}
        others = [name for name in registry.names(LossSpec) if name not in own]
        asked, must_run, named = [*described, *others], False, True
    elif names is not None or to_use:
        asked = list(names if names is not None else to_use)
        must_run, named = True, names is not None
    else:
        asked = list(described) or registry.names(LossSpec)
        must_run = named = False
    plain_names = [_plain_name(name) for name in asked]
    for name in plain_names:
        if plain_names.count(name) > 1:
            raise ConfigError(f"the loss {name!r} is asked for twice. Ask for it once.")
    chosen: list[ScoredLoss] = []
    left_out: dict[str, str] = {}
    for name in asked:
        params = described.get(name, described.get(_plain_name(name)))
        try:
            found = _build(name, params, material, even_if_off=named)
        except Exception as error:
            why = _lacks(name, params, error, material)
            if must_run or (described and not why and not every):
                if why:
                    raise ConfigError(f"the loss {name!r} {why}.\n{error}") from error
                if isinstance(error, LplossError):
                    raise
                cls = registry.load(LossSpec, name)
                raise loss_failed(f"the loss {name!r}", cls, error) from error
            missing = str(error) if isinstance(error, MissingArgumentError) else ""
            left_out[name] = why or missing or first_line(error)
            continue
        if isinstance(found, str):
            left_out[name] = found
        else:
            chosen.append(found)
    if not chosen:
        reasons = "\n".join(f"  {name}: {why}" for name, why in left_out.items())
        raise ConfigError(f"no loss can be scored:\n{reasons}")
    return chosen, left_out


def choose_metrics(
    material: Material, chosen: Sequence[ScoredLoss], left_out: Mapping[str, str], *, written: bool
) -> tuple[list[ScoredLoss], dict[str, str]]:
    """Choose the losses whose metrics are written where nobody has named losses: all that can run.

    What a config asks for narrows what is scored, and hides no metric.

    Args:
        material: what they are made of.
        chosen: the losses that are scored.
        left_out: for each other one that the choice has looked at, why it is not scored.
        written: whether metrics are written; else the others are only named.

    Returns:
        The losses; and for each one that is not scored, why.
    """
    config = material.config
    if not plain(config.losses) and not plain(config.model.losses_to_use):
        return list(chosen), dict(left_out)  # all have been looked at
    scored = {loss.name for loss in chosen}
    every, why = choose_losses(material, every=True)
    reasons = {name: reason for name, reason in why.items() if _plain_name(name) not in scored}
    others = [loss for loss in every if loss.name not in scored]
    for loss in others:
        reasons[loss.name] = left_out.get(loss.name, "the config does not ask for it (--losses)")
        if written and loss.metric is not None:
            reasons[loss.name] += "; there is only its metric file"
    return [*chosen, *(others if written else ())], {**left_out, **reasons}


def _build(name: str, params: object, material: Material, *, even_if_off: bool) -> ScoredLoss | str:
    """Return the loss, or why it is off."""
    given = check_params(name, params, material.registry)
    if even_if_off and given.get("log_weight", 0.0) is None:
        # The weight is for training; a score has none.
        del given["log_weight"]
    cls: type[Loss] = material.registry.load(LossSpec, name)
    resolver = _resolver(
        [needed for needed, required in cls.inputs.items() if required], name, material
    )
    example = material.example(cls.num_previous_frames + 1)
    resolver.resolve(example)
    labels = material.labels
    built, off = build_losses(
        {name: given},
        config=material.config,
        data_module=labels
        and LabelledKeypoints(labels.rows, labels.keypoints, max(1, len(material.names.views))),
        # Whoever scores does so alone, even where other processes have trained with it.
        sync=False,
        registry=material.registry,
    )
    if name in off:
        return f"{off[name]}, the config turns it off"
    return ScoredLoss(built[name], material.names, resolver, example)


def _lacks(name: str, params: object, error: Exception, material: Material) -> str:
    """Return what a loss is not given and would run with; nothing where that is not the cause."""
    try:
        cls: type[Loss] = material.registry.load(LossSpec, name)
    except LplossError:
        return ""
    if isinstance(error, MissingInputError):
        missing = _missing_inputs(cls, name, material)
        even_so = missing
        if material.cameras is None:
            even_so = _missing_inputs(cls, name, _with_two_views(material))
        needs = ["calibrated views (--calibration FILE)"] if len(even_so) < len(missing) else []
        if even_so:
            needs.append(f"{' and '.join(even_so)}, which no file gives")
        return f"needs {', and '.join(needs)}"
    if isinstance(error, MissingArgumentError):
        places = {**cls.config_paths, "data_module": "labels (--labels FILE)"}
        # An argument that only the entry of the loss can hold was forgotten there.
        if set(error.arguments) <= set(places):
            return f"needs {' and '.join(places[argument] for argument in error.arguments)}"
        return ""
    # A value that is refused is a fault of its own, whatever else is lacking.
    refused = [e for e in (error, error.__cause__) if isinstance(e, ArgumentValueError)]
    if not refused:
        is_unfitted = isinstance(error, NotFittedError)
        fits_labels = material.labels is None and "data_module" in parameters_of(cls)
        return "needs labels (--labels FILE)" if is_unfitted and fits_labels else ""
    given = params if isinstance(params, Mapping) else {}
    argument = refused[-1].argument or ""
    path = cls.config_paths.get(argument)
    if path is None or given.get(argument) is not None or value_at(material.config, path):
        return ""
    return f"needs {path}"


def _missing_inputs(cls: type[Loss], name: str, material: Material) -> list[str]:
    missing = []
    for needed, required in cls.inputs.items():
        try:
            _resolver([needed] if required else [], name, material).resolve(material.example(1))
        except MissingInputError:
            missing.append(needed)
    return missing


def _with_two_views(material: Material) -> Material:
    """Return as much of what two calibrated views would give as tells which losses could run."""
    pinhole, pose = torch.eye(3, dtype=torch.float64), torch.eye(3, 4, dtype=torch.float64)
    return replace(
        material,
        names=PoseNames(material.names.keypoints, ("left", "right")),
        cameras=Cameras(pinhole.expand(2, 3, 3), pose.expand(2, 3, 4)),
    )


def _resolver(needed: Iterable[str], name: str, material: Material) -> InputResolver:
    return InputResolver(dict.fromkeys(needed, _plain_name(name)), material.registry)


def _plain_name(name: str) -> str:
    """Return the name of a loss without its distribution."""
    return name.rpartition("/")[2]
