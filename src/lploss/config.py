"""The config: its schema, strict, and what builds losses from it.

The sections and keys are those of Lightning Pose, so that its files work as they are. A key
that is not known is an error with the close match, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union, cast, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lploss.errors import ConfigError, LplossError, did_you_mean
from lploss.registry import Registry, default_registry
from lploss.specs import LossSpec

if TYPE_CHECKING:
    from lploss.factory import LossFactory
    from lploss.loss import Loss

# OmegaConf reads the annotations at run time and knows only the older spelling of "or None".
# ruff: noqa: UP045


@dataclass
class Size:
    """Height and width, px."""

    height: Optional[int] = None
    width: Optional[int] = None


@dataclass
class DataSection:
    """Where the data is, and what the keypoints are called."""

    image_orig_dims: Optional[Size] = None
    image_resize_dims: Optional[Size] = None
    data_dir: Optional[str] = None
    video_dir: Optional[str] = None
    csv_file: Any = None
    bbox_file: Any = None
    view_names: Optional[list[str]] = None
    camera_params_file: Optional[str] = None
    downsample_factor: Optional[int] = None
    num_keypoints: Optional[int] = None
    keypoint_names: Optional[list[str]] = None
    mirrored_column_matches: Optional[list[Any]] = None
    columns_for_singleview_pca: Optional[list[int]] = None


@dataclass
class PatchMaskSection:
    """Curriculum of patch masking, by epochs or by steps."""

    init_epoch: Optional[int] = None
    final_epoch: Optional[int] = None
    init_step: Optional[int] = None
    final_step: Optional[int] = None
    init_ratio: Optional[float] = None
    final_ratio: Optional[float] = None


@dataclass
class MultiStepSection:
    """When the learning rate falls, and by what factor."""

    milestones: Optional[list[int]] = None
    milestone_steps: Optional[list[int]] = None
    gamma: Optional[float] = None


@dataclass
class SchedulerSection:
    """Parameters of the learning-rate scheduler."""

    multisteplr: Optional[MultiStepSection] = None


@dataclass
class OptimizerSection:
    """Parameters of the optimizer."""

    learning_rate: Optional[float] = None


@dataclass
class TrainingSection:
    """Batches, epochs, augmentation, optimisation."""

    imgaug: Any = None
    imgaug_3d: Optional[bool] = None
    imgaug_hflip: Optional[bool] = None
    train_batch_size: Optional[int] = None
    val_batch_size: Optional[int] = None
    test_batch_size: Optional[int] = None
    train_prob: Optional[float] = None
    val_prob: Optional[float] = None
    train_frames: Optional[float] = None
    num_gpus: Optional[int] = None
    num_workers: Optional[int] = None
    gpu_id: Any = None
    early_stopping: Optional[bool] = None
    early_stop_patience: Optional[int] = None
    unfreezing_epoch: Optional[int] = None
    unfreezing_step: Optional[int] = None
    min_epochs: Optional[int] = None
    max_epochs: Optional[int] = None
    min_steps: Optional[int] = None
    max_steps: Optional[int] = None
    log_every_n_steps: Optional[int] = None
    check_val_every_n_epoch: Optional[int] = None
    val_check_interval: Any = None
    ckpt_every_n_epochs: Optional[int] = None
    accumulate_grad_batches: Optional[int] = None
    limit_train_batches: Any = None
    profiler: Optional[str] = None
    rng_seed_data_pt: Optional[int] = None
    rng_seed_model_pt: Optional[int] = None
    optimizer: Optional[str] = None
    optimizer_params: Optional[OptimizerSection] = None
    lr_scheduler: Optional[str] = None
    lr_scheduler_params: Optional[SchedulerSection] = None
    uniform_heatmaps_for_nan_keypoints: Optional[bool] = None
    patch_mask: Optional[PatchMaskSection] = None


@dataclass
class ModelSection:
    """The network, and the unsupervised losses that it is trained with."""

    model_type: Optional[str] = None
    backbone: Optional[str] = None
    backbone_pretrained: Optional[bool] = None
    backbone_checkpoint: Optional[str] = None
    head: Optional[str] = None
    heatmap_loss_type: Optional[str] = None
    losses_to_use: Optional[list[str]] = None
    model_name: Optional[str] = None
    checkpoint: Optional[str] = None
    do_context: Optional[bool] = None
    lightning_pose_version: Optional[str] = None


@dataclass
class DaliGeneralSection:
    """Seed of the video readers."""

    seed: Optional[int] = None


@dataclass
class SequenceSection:
    """Number of consecutive frames in a batch of video."""

    sequence_length: Optional[int] = None


@dataclass
class ContextBatchSection:
    """Number of frames, each with its context, in a batch of video."""

    batch_size: Optional[int] = None


@dataclass
class BaseVideoSection:
    """Video for models that see single frames."""

    train: Optional[SequenceSection] = None
    predict: Optional[SequenceSection] = None


@dataclass
class ContextVideoSection:
    """Video for models that see a window of frames."""

    train: Optional[ContextBatchSection] = None
    predict: Optional[SequenceSection] = None


@dataclass
class DaliSection:
    """How much video is read at once."""

    general: Optional[DaliGeneralSection] = None
    base: Optional[BaseVideoSection] = None
    context: Optional[ContextVideoSection] = None


@dataclass
class EvalSection:
    """What is predicted, saved and shown after training."""

    hydra_paths: Optional[list[str]] = None
    predict_vids_after_training: Optional[bool] = None
    save_vids_after_training: Optional[bool] = None
    test_videos_directory: Optional[str] = None
    saved_vid_preds_dir: Optional[str] = None
    confidence_thresh_for_vid: Optional[float] = None
    colormap: Optional[str] = None
    video_file_to_plot: Optional[str] = None
    pred_csv_files_to_plot: Optional[list[str]] = None
    fiftyone: Any = None


@dataclass
class AnnealSection:
    """How the weight of the annealed losses grows over the epochs."""

    attr_name: Optional[str] = None
    init_val: Optional[float] = None
    increase_factor: Optional[float] = None
    final_val: Optional[float] = None
    freeze_until_epoch: Optional[int] = None


@dataclass
class CallbacksSection:
    """Schedules that run beside the training."""

    anneal_weight: Optional[AnnealSection] = None


@dataclass
class Config:
    """The whole config.

    ``losses`` holds the arguments of each loss by its name; ``prefer`` says, for a name that
    several distributions provide, which one to take; ``hydra`` is Hydra's and not read here.
    """

    data: DataSection = field(default_factory=DataSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    model: ModelSection = field(default_factory=ModelSection)
    dali: DaliSection = field(default_factory=DaliSection)
    losses: dict[str, Any] = field(default_factory=dict)
    eval: EvalSection = field(default_factory=EvalSection)
    callbacks: CallbacksSection = field(default_factory=CallbacksSection)
    prefer: dict[str, str] = field(default_factory=dict)
    hydra: Any = None


def load_config(
    source: str | PathLike[str] | Mapping[str, Any] | DictConfig | None = None,
    overrides: Sequence[str] = (),
) -> DictConfig:
    """Read a config and check it against the schema.

    Args:
        source: path of a YAML file, or a mapping; ``None`` for the defaults.
        overrides: ``"section.key=value"``, applied last.

    Returns:
        The config; a key that is not set is ``None``.

    Raises:
        ConfigError: the file is missing or no YAML, holds a key twice, an unknown key, or a
            value of the wrong type. The message names file, line and key.

    Example:
        >>> load_config({"model": {"losses_to_use": ["temporal"]}}).model.losses_to_use
        ['temporal']
    """
    if isinstance(source, str | PathLike):
        raw, tree, name = _read(Path(source))
    elif source is None or isinstance(source, Mapping | DictConfig):
        raw, tree, name = _created(source or {}, None, "the config"), None, "the config"
    else:
        raise ConfigError(
            f"a config must be a path or a mapping, got {type(source).__name__}: {source!r}"
        )
    # In YAML a section whose keys are all commented out is null.
    values = cast("dict[str, Any]", OmegaConf.to_container(raw))
    filled = [key for key, value in values.items() if value is not None or key not in _SECTIONS]
    config = _merged(OmegaConf.structured(Config), OmegaConf.masked_copy(raw, filled), tree, name)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"an override must read section.key=value, got {override!r}")
        try:
            update = OmegaConf.from_dotlist([override])
        except yaml.MarkedYAMLError as error:
            raise ConfigError(f"the override {override!r}: {error.problem}") from error
        except OmegaConfBaseException as error:
            raise ConfigError(f"the override {override!r}: {_first_line(error)}") from error
        config = _merged(config, update, None, f"the override {override!r}")
    return config


_SECTIONS = {f.name for f in fields(Config)}


def _created(source: Any, tree: yaml.Node | None, name: str) -> DictConfig:
    try:
        return cast(DictConfig, OmegaConf.create(source))
    except OmegaConfBaseException as error:
        where = f"{name}{_line(tree, error.full_key or '')}"
        raise ConfigError(f"{where}: {error.full_key}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _read(path: Path) -> tuple[DictConfig, yaml.Node | None, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the config {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the config {path} is no text: {error}") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None and not isinstance(tree, yaml.MappingNode):
            came = "a list" if isinstance(tree, yaml.SequenceNode) else repr(tree.value)
            raise ConfigError(
                f"{path} must hold sections such as `data:` and `losses:`, got {came}"
            )
        return _created(text if tree else {}, tree, str(path)), tree, str(path)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error


def _merged(base: DictConfig, update: DictConfig, tree: yaml.Node | None, name: str) -> DictConfig:
    try:
        return cast(DictConfig, OmegaConf.merge(base, update))
    except OmegaConfBaseException as error:
        values = cast("dict[str, Any]", OmegaConf.to_container(update))
        # OmegaConf does not say where a value stands that should be a section.
        key = error.full_key or _misplaced(values, Config)
        where = f"{name}{_line(tree, key)}"
        if error.key is not None and error.object_type is not None and _is_unknown(error):
            known = [f.name for f in fields(error.object_type)]
            section = key.rpartition(".")[0]
            raise ConfigError(
                f"{where}: there is no key {str(error.key)!r}"
                f"{f' in section {section!r}' if section else ''}."
                f"{did_you_mean(str(error.key), known)} Known: {', '.join(known)}."
            ) from error
        expected = _expected(key)
        if expected is None:
            raise ConfigError(f"{where}: {key}: {_first_line(error)}") from error
        raise ConfigError(f"{where}: {key} must be {expected}, got {_at(values, key)!r}") from error


def _parts(key: str) -> list[str]:
    return key.replace("[", ".").replace("]", "").split(".")


def _at(values: Any, key: str) -> Any:
    for part in _parts(key):
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


def _misplaced(values: Mapping[str, Any], section: type) -> str:
    """Return the dotted key of the first plain value that stands where a section belongs."""
    for name, annotation in _hints(section).items():
        value = values.get(name)
        if value is None or not is_dataclass(annotation):
            continue
        if isinstance(value, str) and "${" in value:
            continue
        if not isinstance(value, Mapping):
            return name
        if inner := _misplaced(value, cast(type, annotation)):
            return f"{name}.{inner}"
    return ""


def _hints(section: type) -> dict[str, Any]:
    """Return what the schema says of the keys of a section, without "or None"."""
    hints = get_type_hints(section)
    return {
        name: get_args(hint)[0] if get_origin(hint) is Union else hint
        for name, hint in hints.items()
    }


def _expected(key: str) -> str | None:
    """Return what the schema wants at a dotted key, in words, where it knows."""
    annotation: Any = Config
    for part in _parts(key):
        if is_dataclass(annotation):
            annotation = _hints(cast(type, annotation)).get(part)
        else:
            annotation = (get_args(annotation) or (None,))[-1]
    if is_dataclass(annotation):
        return f"a section with keys such as {fields(annotation)[0].name}"
    return _KINDS.get(get_origin(annotation) or annotation)


_KINDS = {
    bool: "true or false",
    dict: "a mapping",
    float: "a number",
    int: "a whole number",
    list: "a list",
    str: "a text",
}


def _is_unknown(error: OmegaConfBaseException) -> bool:
    if not is_dataclass(error.object_type):
        return False
    return str(error.key) not in {f.name for f in fields(error.object_type)}


def _line(node: yaml.Node | None, key: str) -> str:
    """Return ``, line N`` for a dotted key in the tree of a YAML text."""
    line = None
    for part in _parts(key):
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal():
            node = node.value[int(part)]
            line = node.start_mark.line
        else:
            break
    return "" if line is None else f", line {line + 1}"


def plain(node: Any) -> Any:
    """Return an OmegaConf node as plain dictionaries and lists; anything else as it is.

    Raises:
        ConfigError: an interpolation cannot be resolved.
    """
    if not isinstance(node, DictConfig | ListConfig):
        return node
    try:
        return OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {_first_line(error)}") from error


def _value(config: DictConfig, path: str) -> Any:
    """Return what stands at a dotted path, as plain Python; ``None`` where nothing does."""
    try:
        return plain(OmegaConf.select(config, path))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error


class LossClasses(Mapping[str, "type[Loss]"]):
    """All losses, by name; a class is imported when it is looked up."""

    def __init__(self, registry: Registry = default_registry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> type[Loss]:
        loaded: type[Loss] = self._registry.load(LossSpec, name)
        return loaded

    def __contains__(self, name: object) -> bool:
        return name in self._registry.names(LossSpec)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.names(LossSpec))

    def __len__(self) -> int:
        return len(self._registry.names(LossSpec))


def get_loss_classes() -> Mapping[str, type[Loss]]:
    """Return all losses, by name; a class is imported when it is looked up.

    Example:
        >>> get_loss_classes()["temporal"].__name__
        'TemporalLoss'
    """
    return LossClasses()


def get_loss_factories(
    cfg: str | PathLike[str] | Mapping[str, Any] | DictConfig,
    data_module: Any = None,
    *,
    record: bool = True,
    registry: Registry = default_registry,
) -> dict[str, LossFactory]:
    """Build the factories of supervised and of unsupervised losses that a full config asks for.

    It asks for: the loss of its model (``heatmap_`` and ``model.heatmap_loss_type``, or
    ``regression``), the supervised losses in section ``losses``, and what
    ``model.losses_to_use`` names. A ``log_weight`` of null turns a loss off. Each of these
    runs, or an error says why not.

    Args:
        cfg: the full config, or the path of its file.
        data_module: labelled keypoints for the losses that are fitted to them.
        record: whether the flight recorders run.
        registry: where the losses are looked up.

    Returns:
        The factories ``"supervised"`` and ``"unsupervised"``.

    Raises:
        ConfigError: the config holds an unknown key, or asks for a loss twice.
        UnknownLossError: nobody provides a loss that stands in the config.

    Example:
        >>> factories = get_loss_factories(
        ...     {"model": {"model_type": "heatmap", "losses_to_use": ["temporal"]}}
        ... )
        >>> {kind: list(factory.losses) for kind, factory in factories.items()}
        {'supervised': ['heatmap_mse'], 'unsupervised': ['temporal']}
    """
    from lploss.factory import LossFactory

    config = load_config(cfg)
    prefer: dict[str, str] = _value(config, "prefer")
    described: dict[str, Any] = _value(config, "losses")
    to_use: list[str] = _value(config, "model.losses_to_use") or []
    if doubled := sorted({name for name in to_use if to_use.count(name) > 1}):
        raise ConfigError(f"model.losses_to_use names {', '.join(doubled)} twice")
    asked = {
        name: described.get(name, described.get(name.rpartition("/")[2]))
        for name in [*_of_model(config), *to_use]
    }
    for name, params in described.items():
        if registry.load(LossSpec, name, prefer).kind == "supervised":
            asked.setdefault(name, params)
        elif name not in asked:
            check_params(name, params, registry, prefer)
    built, off = build_losses(
        asked, config=config, data_module=data_module, prefer=prefer, registry=registry
    )
    kinds = {name: registry.load(LossSpec, name, prefer).kind for name in asked}
    return {
        kind: LossFactory(
            {name: loss for name, loss in built.items() if kinds[name] == kind},
            total_name=f"{kind}_loss",
            record=record,
            off={name: why for name, why in off.items() if kinds[name] == kind},
            registry=registry,
            prefer=prefer,
        )
        for kind in ("supervised", "unsupervised")
    }


def _of_model(config: DictConfig) -> list[str]:
    model_type = _value(config, "model.model_type") or ""
    if "heatmap" in model_type:
        return [f"heatmap_{_value(config, 'model.heatmap_loss_type') or 'mse'}"]
    return ["regression"] if "regression" in model_type else []


def build_losses(
    losses: Mapping[str, Any],
    *,
    config: DictConfig | None = None,
    data_module: Any = None,
    prefer: Mapping[str, str] | None = None,
    registry: Registry = default_registry,
) -> tuple[dict[str, Loss], dict[str, str]]:
    """Build losses from their arguments.

    Args:
        losses: for each loss the arguments of its constructor.
        config: the full config, from which a loss's `config_paths` are taken.
        data_module: handed to the losses whose constructor names it.
        prefer: for names that several distributions provide, the one to take.
        registry: where the losses are looked up.

    Returns:
        The losses by the names given; and for each one that is off, why.

    Raises:
        ConfigError: an argument is unknown or cannot be used.
        UnknownLossError: nobody provides a name.
    """
    from lploss.loss import parameters_of

    if not isinstance(losses, Mapping):
        raise ConfigError(
            f"losses must be a mapping from names to arguments, got {type(losses).__name__}: "
            f"{losses!r}"
        )
    built: dict[str, Loss] = {}
    off: dict[str, str] = {}
    for name, given in losses.items():
        params = check_params(name, given, registry, prefer)
        cls: type[Loss] = registry.load(LossSpec, name, prefer)
        if "log_weight" in params and params["log_weight"] is None:
            off[name] = "log_weight is null"
            continue
        for parameter, path in cls.config_paths.items():
            if config is not None and parameter not in params:
                value = _value(config, path)
                if value is not None:
                    params[parameter] = value
        if data_module is not None and "data_module" in parameters_of(cls):
            params.setdefault("data_module", data_module)
        try:
            built[name] = cls.create(name.rpartition("/")[2], **params)
        except (LplossError, TypeError, ValueError) as error:
            raise ConfigError(f"losses.{name}: {error}") from error
    return built, off


def check_params(
    name: str, given: Any, registry: Registry, prefer: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the arguments of one loss, after a check that its constructor has them.

    Raises:
        ConfigError: they are no mapping, or hold a name that the constructor does not have.
    """
    from lploss.loss import parameters_of

    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"losses.{name} must be a mapping of arguments, got {type(given).__name__}: {given!r}"
        )
    known = parameters_of(registry.load(LossSpec, name, prefer))
    for parameter in given:
        if parameter not in known:
            raise ConfigError(
                f"losses.{name}: the loss has no argument {parameter!r}."
                f"{did_you_mean(str(parameter), known)} It has: {', '.join(known)}."
            )
    return dict(given)
