"""A training from its config to its folder, and the way back."""

from __future__ import annotations

import json
import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lploss import LossFactory, load_config
from lploss.config import check_ranges, value_at
from lploss.errors import ConfigError
from lploss.reading import check_file, reading
from lploss_builtin.data.project.labelled_frames import LoadingProgress
from lploss_builtin.data.project.labelled_project import LabelledProject, read_project
from lploss_builtin.models.building import build_model, load_weights
from lploss_builtin.output import lock_folder, write_text
from lploss_builtin.training import history
from lploss_builtin.training.augmentation import BatchAugmentation
from lploss_builtin.training.augmentation_2d import (
    ImageAugmentation,
    check_with_3d,
)
from lploss_builtin.training.callbacks import CallAtStart, FollowCurriculum, StopOnSignal
from lploss_builtin.training.checkpoint_files import MovableCheckpoint, WholeCheckpointIO
from lploss_builtin.training.curriculum import Curriculum
from lploss_builtin.training.data_module import LabelledDataModule
from lploss_builtin.training.defaults import with_defaults
from lploss_builtin.training.environment import environment
from lploss_builtin.training.launching import check_number_of_processes, is_first_process
from lploss_builtin.training.losses import training_losses
from lploss_builtin.training.mirror_partners import mirror_note, mirror_partners
from lploss_builtin.training.module import PoseModule
from lploss_builtin.training.resuming import (
    GoOnWithTheNextBatch,
    num_whole_epochs,
    resumed_losses,
)
from lploss_builtin.training.schedule_plot import plot_schedules
from lploss_builtin.training.unlabelled_videos import unlabelled_videos

_BEST, _LAST = "best", "last"
_PATCH_SIZE = (16, 16)
_PRECISIONS = ("32-true", "64-true", "16-mixed", "bf16-mixed")


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """The folder of a training.

    Attributes:
        folder: holds ``config.yaml``, ``environment.json``, ``schedules.png``, ``checkpoints/``,
            ``metrics.csv``, the logs for TensorBoard, and ``losses.txt``, what the flight
            recorder says of each loss.
    """

    folder: Path

    @property
    def config(self) -> DictConfig:
        """The config with all defaults, as the training used it."""
        return load_config(self.folder / "config.yaml")

    @property
    def has_started(self) -> bool:
        """Whether the folder holds a training."""
        return (self.folder / "checkpoints" / f"{_LAST}.ckpt").exists()

    def checkpoint(self, which: str = _BEST) -> Path:
        """Return the file of weights: ``"best"`` in validation, or ``"last"``.

        Where there was nothing to validate with, the best are the last.

        Raises:
            ConfigError: the folder holds none.
        """
        for name in dict.fromkeys((which, _LAST)):
            path = self.folder / "checkpoints" / f"{name}.ckpt"
            if path.is_file():
                return path
        raise ConfigError(
            f"{self.folder} is no folder of a training: there is no checkpoints/{which}.ckpt"
        )

    def model(self, which: str = _BEST) -> nn.Module:
        """Return the trained model, in evaluation mode.

        Raises:
            ConfigError: the folder is none of a training, or its model is not known here.
        """
        path, config = self.checkpoint(which), self.config
        model = build_model(
            config,
            num_views=max(1, len(config.data.view_names or ())),
            num_keypoints=config.data.num_keypoints,
            pretrained=False,
        )
        load_weights(model, path)
        return model.eval()


@contextmanager
def _without_advertisements() -> Iterator[None]:
    """Drop Lightning's advertisements of its services from the log; all else that it logs stays."""

    def is_no_advertisement(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("\N{ELECTRIC LIGHT BULB} Tip:")

    loggers = [
        logging.getLogger(f"lightning.{part}.utilities.rank_zero") for part in ("pytorch", "fabric")
    ]
    for logger in loggers:
        logger.addFilter(is_no_advertisement)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_no_advertisement)


@_without_advertisements()
def train(
    config: DictConfig,
    out: Path,
    *,
    folder: Path | None = None,
    resume: bool = False,
    shows_progress: bool = False,
    progress: LoadingProgress | None = None,
) -> TrainingRun:
    """Train the model that a config asks for, with the losses that it asks for.

    The folder stays as it is until the model and the checkpoint are loaded and the training starts.
    SIGTERM, SIGINT and SIGHUP, and SIGUSR1 of a SLURM job, end the training after the current step
    with a checkpoint to resume from; then the signal is raised again.

    Args:
        config: what `lploss.load_config` returned.
        out: folder of the training.
        folder: where a relative ``data.data_dir`` starts: the folder of the config's file.
        resume: whether to go on from the last checkpoint in ``out``.
        shows_progress: whether a bar shows how far it is.
        progress: called while the images are read.

    Returns:
        The folder with what was trained.

    Raises:
        ConfigError: the config asks for something that there is not, or that goes not together.
        DataError: something is wrong with the data; the message lists all that is.
        FolderInUseError: another process trains in the folder.
        MissingWeightsError: the pretrained weights cannot be had.
    """
    with lock_training(out):
        return _train(config, out, folder, resume, shows_progress, progress)


def lock_training(folder: Path, task: str = "lploss train") -> AbstractContextManager[None]:
    """Keep others from training in a folder; of several processes, the first one holds the lock.

    Args:
        folder: of the training.
        task: see `lploss_builtin.output.lock_folder`.

    Raises:
        FolderInUseError: another process holds the folder.
    """
    return lock_folder(folder, task) if is_first_process() else nullcontext()


def _train(
    config: DictConfig,
    out: Path,
    folder: Path | None,
    resume: bool,
    shows_progress: bool,
    progress: LoadingProgress | None,
) -> TrainingRun:
    config = _with_paths(with_defaults(config), folder)
    training = config.training
    _check_numbers(config)
    check_number_of_processes(_num_devices(training.devices), training.num_nodes)
    in_3d = bool(training.imgaug_3d)
    imgaug = value_at(config, "training.imgaug")
    if in_3d:
        check_with_3d(imgaug, bool(training.imgaug_hflip))
        if imgaug == "dlc":
            # The folder of the training says what is done: what moves the views apart is not.
            training.imgaug = imgaug = "dlc-mv"
    image_augmentation = ImageAugmentation.from_config(imgaug)
    project = read_project(config, folder=folder)
    partners: tuple[int, ...] | None = None
    if training.imgaug_hflip:
        if project.num_views > 1:
            raise ConfigError(
                "training.imgaug_hflip: true mirrors each view by itself, so that a keypoint of "
                f"the left would be one of the right in others of the {project.num_views} views. "
                "Set it to false."
            )
        image_augmentation = image_augmentation.with_flips()
        names = project.keypoint_names
        partners = mirror_partners(names, value_at(config, "training.imgaug_hflip_pairs"))
        rank_zero_only(logging.getLogger(__name__).warning)(mirror_note(names, partners))
    if in_3d and project.cameras is None:
        raise ConfigError(
            "training.imgaug_3d: true needs calibrated cameras, and the project has none: give "
            "calibrations/<session>.toml or calibration.toml, or set it to false"
        )
    config = _with_calibration(_with_project(config, project))
    lightning.seed_everything(training.rng_seed_model_pt, verbose=False)
    model = build_model(
        config,
        num_views=project.num_views,
        num_keypoints=len(project.keypoint_names),
        # Weights that are loaded anyhow need not be had twice.
        pretrained=False if resume or config.model.checkpoint else None,
    )
    if config.model.checkpoint and not resume:
        load_weights(model, config.model.checkpoint)
    data_module, losses = _data_and_losses(config, project, model, folder)
    if config.model.compile:
        model.compile()
    num_processes = _num_devices(training.devices) * training.num_nodes
    _check_interval(config, -(-len(data_module.train_dataset) // num_processes))
    steps_per_epoch = max(1, -(-data_module.steps_per_epoch // num_processes))
    curriculum = Curriculum.from_config(config, steps_per_epoch)
    module = PoseModule(
        model,
        losses,
        BatchAugmentation(
            image_augmentation,
            in_3d=in_3d,
            patch_size=getattr(getattr(model, "backbone", None), "patch_size", _PATCH_SIZE),
            seed=training.rng_seed_data_pt,
            partners=partners,
        ),
        curriculum,
        config,
        has_videos=data_module.videos is not None,
    )
    run = TrainingRun(out)
    module.check(data_module.example())
    checkpoint = _checked_checkpoint(run, config) if resume else None
    judges_anew = False
    if checkpoint is not None:
        resumed = resumed_losses(module, checkpoint, run.checkpoint(_LAST), data_module)
        module.resumed_losses = resumed.state
        judges_anew = bool(resumed.changes)
        if judges_anew:
            rank_zero_only(logging.getLogger(__name__).warning)(_changed(resumed.changes))
    data_module.load(progress)

    def write_head(trainer: lightning.Trainer) -> None:
        num_steps = None if checkpoint is None else checkpoint["global_step"]
        _write_head(run, config, curriculum, steps_per_epoch, num_steps)
        trainer.loggers = [
            CSVLogger(run.folder, name="", version=""),
            TensorBoardLogger(run.folder, name="", version="tensorboard"),
        ]

    start, stop = CallAtStart(write_head), StopOnSignal()
    callbacks = [start, stop, GoOnWithTheNextBatch(judges_anew=judges_anew)]
    trainer = _trainer(config, run, shows_progress, module.judged_by, callbacks)
    try:
        with warnings.catch_warnings():
            # Advice on numbers of workers and intervals, which are the config's to choose.
            warnings.filterwarnings("ignore", module="lightning")
            trainer.fit(
                module,
                datamodule=data_module,
                ckpt_path=None if checkpoint is None else str(run.checkpoint(_LAST)),
                weights_only=True,
            )
    finally:
        stop.restore()
        if start.has_started:
            _write_tail(run, module, data_module)
    if stop.number:
        _end_by(stop.number, trainer, run)
    return run


def _changed(changes: Mapping[str, str]) -> str:
    listed = ", ".join(f"{name} {what}" for name, what in changes.items())
    return (
        f"the losses are not those of the training so far ({listed}): losses in validation cannot "
        f"be compared with earlier ones, and {_BEST}.ckpt will be the best from here on"
    )


def _end_by(number: int, trainer: lightning.Trainer, run: TrainingRun) -> NoReturn:
    """End the process as the signal would have, now that the checkpoint is written."""
    if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher) and trainer.local_rank:
        # Lightning kills the first process as soon as one that it has started ends otherwise.
        raise SystemExit(0)
    rank_zero_only(logging.getLogger(__name__).warning)(
        "the training was ended by %s after %d steps, which are all in %s. To resume it: "
        "lploss train --resume %s",
        signal.Signals(number).name,
        trainer.global_step,
        run.checkpoint(_LAST),
        run.folder,
    )
    signal.raise_signal(number)
    raise SystemExit(128 + number)  # who handles the signal has not ended the process


def _data_and_losses(
    config: DictConfig, project: LabelledProject, model: nn.Module, folder: Path | None
) -> tuple[LabelledDataModule, dict[str, LossFactory]]:
    """Return what the model learns from: frames, videos where a loss asks for them, and losses."""
    num_context_frames = getattr(model, "num_context_frames", 0)
    data_module = LabelledDataModule(project, config, num_context_frames=num_context_frames)
    losses = training_losses(config, data_module)
    notes = [*project.notes]
    if lacking := data_module.dataset.context_note:
        notes.append(lacking)
    if losses["unsupervised"].losses and config.data.video_dir is not None:
        data_module.videos = unlabelled_videos(
            config,
            project,
            folder=folder,
            num_context_frames=num_context_frames,
            num_previous_frames=max(
                loss.num_previous_frames for loss in losses["unsupervised"].losses.values()
            ),
        )
        notes += data_module.videos.notes
    for note in notes:
        logging.getLogger(__name__).warning(note)
    return data_module, losses


def _check_numbers(config: DictConfig) -> None:
    check_ranges(config, "training")
    most = config.training.max_epochs
    if most < 1 and most != -1:
        raise ConfigError(f"training.max_epochs must be at least 1, or -1 for no end, got {most}")
    if config.training.precision not in _PRECISIONS:
        raise ConfigError(
            f"training.precision must be one of {', '.join(_PRECISIONS)}, got "
            f"{config.training.precision!r}: labels and cameras need float32 at least"
        )


def _check_interval(config: DictConfig, num_frames: int) -> None:
    """Check how often to validate, where a process trains with so many frames an epoch."""
    training = config.training
    interval, num_batches = training.val_check_interval, -(-num_frames // training.train_batch_size)
    if interval is None:
        return
    is_number = isinstance(interval, int | float) and not isinstance(interval, bool)
    if not is_number or not (0.0 < interval <= 1.0 or (interval >= 1 and interval % 1 == 0)):
        raise ConfigError(
            "training.val_check_interval must be a number of batches, or a share of an epoch "
            f"above 0 and up to 1, got {interval!r}"
        )
    if training.check_val_every_n_epoch is not None and interval > max(1, num_batches):
        raise ConfigError(
            f"training.val_check_interval: {interval} batches are more than the {num_batches} of "
            "an epoch. To count on from one epoch to the next, leave out "
            "training.check_val_every_n_epoch."
        )


def _checked_checkpoint(run: TrainingRun, config: DictConfig) -> dict[str, Any]:
    """Return the checkpoint to resume from, unless the training is complete."""
    path = run.checkpoint(_LAST)
    with reading(path, "as a checkpoint", ConfigError):
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    for number, unit, most in (
        (num_whole_epochs(checkpoint), "epochs", config.training.max_epochs),
        (checkpoint["global_step"], "steps", config.training.max_steps),
    ):
        if most is not None and 0 <= most <= number:
            raise ConfigError(
                f"the training in {run.folder} is complete: it has {number} {unit}. To train on, "
                f"give training.max_{unit}=N with more than {number}. To evaluate it, or to finish "
                f"an evaluation that was interrupted: lploss evaluate {run.folder}"
            )
    return checkpoint


def _with_paths(config: DictConfig, folder: Path | None) -> DictConfig:
    """Return the config with files of weights that are the same wherever it is read."""
    for name in ("checkpoint", "backbone_checkpoint"):
        if (path := config.model[name]) is not None:
            config.model[name] = str((folder or Path()).absolute() / path)
    return config


def _with_project(config: DictConfig, project: LabelledProject) -> DictConfig:
    """Return the config with what the files say, so that its folder says all."""
    config = OmegaConf.merge(config, {})  # type: ignore[assignment]
    config.data.data_dir = str(project.folder.absolute())
    config.data.view_names = list(project.view_names) or None
    config.data.keypoint_names = list(project.keypoint_names)
    config.data.num_keypoints = len(project.keypoint_names)
    return config


def _with_calibration(config: DictConfig) -> DictConfig:
    """Return the config with the calibration of a loss where it lies: in the project's folder."""
    for section in (config.losses or {}).values():
        path = section.get("calibration") if OmegaConf.is_dict(section) else None
        if isinstance(path, str) and (inside := Path(config.data.data_dir) / path).is_file():
            section.calibration = str(inside)
    return config


def _num_devices(devices: Any) -> int:
    if isinstance(devices, int) and devices > 0:
        return devices
    if isinstance(devices, str) and devices.isdecimal():
        return int(devices)
    if isinstance(devices, list | tuple) or OmegaConf.is_list(devices):
        return len(devices)
    return max(1, torch.cuda.device_count())


def _trainer(
    config: DictConfig,
    run: TrainingRun,
    shows_progress: bool,
    judged_by: str,
    more_callbacks: Sequence[Callback],
) -> lightning.Trainer:
    training = config.training
    several = _num_devices(training.devices) * training.num_nodes > 1
    # While the backbone is frozen, its parameters take no part.
    strategy: Strategy | str = DDPStrategy(find_unused_parameters=True) if several else "auto"
    callbacks: list[Callback] = [
        *more_callbacks,
        FollowCurriculum(),
        MovableCheckpoint(
            run.folder / "checkpoints",
            filename=_BEST,
            monitor=judged_by,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        ),
        MovableCheckpoint(
            run.folder / "checkpoints",
            filename=_LAST,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
    ]
    if training.ckpt_every_n_epochs:
        callbacks.append(
            _OfSomeEpochs(
                run.folder / "checkpoints",
                filename="{epoch}",
                every_n_epochs=training.ckpt_every_n_epochs,
                save_top_k=-1,
                save_on_train_epoch_end=True,
            )
        )
    if training.early_stopping:
        callbacks.append(
            # At the end of an epoch that a signal has cut short, nothing was validated.
            EarlyStopping(
                judged_by, patience=training.early_stop_patience, check_on_train_epoch_end=False
            )
        )
    if shows_progress:
        callbacks.append(RichProgressBar())
    optional = {
        name: value_at(config, f"training.{name}")
        for name in ("limit_train_batches", "val_check_interval", "profiler", "min_steps")
    }
    settings = {
        "accelerator": training.accelerator,
        "devices": training.devices,
        "num_nodes": training.num_nodes,
        "precision": training.precision,
        "min_epochs": training.min_epochs,
        "max_epochs": training.max_epochs,
        "max_steps": -1 if training.max_steps is None else training.max_steps,
        "check_val_every_n_epoch": training.check_val_every_n_epoch,
        "log_every_n_steps": training.log_every_n_steps,
        "accumulate_grad_batches": training.accumulate_grad_batches,
        "gradient_clip_val": training.gradient_clip_val,
        **{name: value for name, value in optional.items() if value is not None},
    }
    try:
        return lightning.Trainer(
            strategy=strategy,
            callbacks=callbacks,
            logger=False,  # until the training starts
            plugins=[WholeCheckpointIO()],
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=shows_progress,
            enable_model_summary=False,
            default_root_dir=run.folder,
            **settings,
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"section training cannot be followed: {error}") from error


class _OfSomeEpochs(MovableCheckpoint):
    """Is told apart, by its name, from that which keeps the last one."""


@rank_zero_only
def _write_head(
    run: TrainingRun,
    config: DictConfig,
    curriculum: Curriculum,
    steps_per_epoch: int,
    num_steps: int | None,
) -> None:
    """Write what is known when the training starts, after so many steps if it is resumed."""
    run.folder.mkdir(parents=True, exist_ok=True)
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(config))
    path = run.folder / "environment.json"
    sessions = []
    if num_steps is not None and path.exists():
        check_file(path, error=ConfigError)
        with reading(path, "as JSON", ConfigError):
            sessions = json.loads(path.read_text(encoding="utf-8"))
    write_text(path, json.dumps([*sessions, environment()], indent=2) + "\n")
    plot_schedules(run.folder / "schedules.png", curriculum, config, steps_per_epoch)
    if num_steps is not None:
        history.set_aside(run.folder / "metrics.csv", num_steps)


@rank_zero_only
def _write_tail(run: TrainingRun, module: PoseModule, data_module: LabelledDataModule) -> None:
    """Write what the losses' flight recorders hold, and name losses that never had anything."""
    for factory in module.factories.values():
        for record in factory.records():
            if record.stage == "train" and record.calls and not record.used:
                reasons = ", ".join(f"{n} {why}" for why, n in record.left_out.items() if n)
                logging.getLogger(__name__).warning(
                    "the loss %r counted none of its %d elements in the whole training: %s",
                    record.loss,
                    record.elements,
                    reasons or "there were none",
                )
    text = StringIO()
    text.write(f"up to epoch {module.current_epoch}, step {module.global_step}\n\n")
    for kind, factory in module.factories.items():
        if factory.losses:
            text.write(f"{kind} losses\n\n")
            factory.report(text)
    text.write(module.balance.report())
    text.write(f"\n{module.augmentation.report()}\n")
    for problem in data_module.unreadable:
        text.write(f"left out: {problem}\n")
    for note in () if data_module.videos is None else data_module.videos.notes:
        text.write(f"{note}\n")
    with (run.folder / "losses.txt").open("a", encoding="utf-8") as file:
        file.write(text.getvalue())
    history.join(run.folder / "metrics.csv")
