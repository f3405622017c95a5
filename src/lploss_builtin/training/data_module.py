"""Labelled frames, and those of videos, in batches, as a Lightning data module."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from itertools import islice
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import CombinedLoader
from omegaconf import DictConfig
from torch.utils.data import DataLoader, DistributedSampler, Subset

from lploss.errors import ArgumentValueError, ConfigError, DataError
from lploss_builtin.data.project.labelled_frames import (
    Batch,
    LabelledFrames,
    LoadingProgress,
    collate,
)
from lploss_builtin.data.project.labelled_project import LabelledProject
from lploss_builtin.data.project.split import Split, split
from lploss_builtin.training.unlabelled_videos import UnlabelledVideos
from lploss_builtin.training.video_sequences import VideoSequences

_LOGGER = logging.getLogger(__name__)

_GRACE_S = 30

_NOT_LABELS = ("images", "context_images", "is_readable")


class LabelledDataModule(lightning.LightningDataModule):
    """Batches to train with, and to validate with.

    The order of the frames hangs on the seed and the epoch alone.

    Args:
        project: the labelled frames.
        config: the full config with defaults.
        num_context_frames: how many frames before and after each one the model sees.

    Raises:
        ConfigError: the shares of the parts cannot be used.
        DataError: there are too few frames.

    Attributes:
        dataset: all frames.
        train_dataset: those to train with.
        parts: numbers of the frames of each part.
        videos: those to train with beside the labelled frames, a sequence for each batch.
    """

    videos: UnlabelledVideos | None = None

    def __init__(
        self, project: LabelledProject, config: DictConfig, *, num_context_frames: int = 0
    ) -> None:
        super().__init__()
        training, size = config.training, config.data.image_resize_dims
        self._config = config
        try:
            self.parts: Split = split(
                len(project.frames),
                training.train_prob,
                training.val_prob,
                train_frames=training.train_frames,
                seed=training.rng_seed_data_pt,
            )
        except ArgumentValueError as error:
            raise ConfigError(str(error)) from error
        self.dataset = LabelledFrames(
            project,
            (size.height, size.width),
            keep_going=True,
            num_context_frames=num_context_frames,
        )
        self._unreadable: dict[int, str] = {}
        self._unreadable_sequences: list[str] = []
        self.train_dataset = Subset(self.dataset, self.parts.train)
        self._val_dataset = Subset(self.dataset, self.parts.val)

    def load(self, progress: LoadingProgress | None = None) -> None:
        """Read the images into memory, where they fit."""
        self.dataset.load(progress)

    def example(self) -> Batch | dict[str, Batch]:
        """Return a batch of one labelled frame, with the first sequence of the videos."""
        labelled = collate([self.dataset[self.parts.train[0]]])
        if self.videos is None:
            return labelled
        return {"labelled": labelled, "unlabelled": next(iter(self.sequences(1)))}

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Name frames that cannot be read, which have come without images and labels.

        Raises:
            DataError: there are more of them than ``training.max_unreadable_frames``.
        """
        labelled = batch.get("labelled", batch)
        is_readable = labelled.pop("is_readable")
        for index in labelled["index"][~is_readable].tolist():
            if index not in self._unreadable:
                self._unreadable[index] = self.dataset.problem_of(index) or "is readable again"
                _LOGGER.warning("left out: %s", self._unreadable[index])
        most = self._config.training.max_unreadable_frames
        if len(self._unreadable) > most:
            problems = "\n".join(f"- {problem}" for problem in self._unreadable.values())
            raise DataError(
                f"{len(self._unreadable)} frames cannot be read, and at most {most} may be left "
                f"out (training.max_unreadable_frames):\n{problems}"
            )
        return batch

    @property
    def unreadable(self) -> tuple[str, ...]:
        """What is wrong with frames and sequences that could not be read, so far."""
        return (*self._unreadable.values(), *self._unreadable_sequences)

    @property
    def steps_per_epoch(self) -> int:
        """How often the optimizer steps in an epoch of one process."""
        training = self._config.training
        num_batches = -(-len(self.train_dataset) // training.train_batch_size)
        return max(1, -(-num_batches // training.accumulate_grad_batches))

    def train_dataloader(self) -> DataLoader[Batch] | CombinedLoader:
        """Return batches in another order each epoch; with videos, each with a sequence."""
        labelled = self._loader(
            self.train_dataset, self._config.training.train_batch_size, shuffle=True
        )
        if self.videos is None:
            return labelled
        unlabelled = self.sequences(len(labelled))
        return CombinedLoader({"labelled": labelled, "unlabelled": unlabelled}, mode="min_size")

    def sequences(self, num_batches: int) -> VideoSequences:
        """Return the sequences of the videos, those of this process.

        Args:
            num_batches: how many there are in an epoch.
        """
        videos, size, trainer = self.videos, self._config.data.image_resize_dims, self.trainer
        if videos is None:
            raise ArgumentValueError("there are no videos to train with")
        sequences = VideoSequences(
            videos.recordings,
            (size.height, size.width),
            length=videos.length,
            num_batches=num_batches,
            seed=videos.seed,
            cameras=videos.cameras,
            rank=0 if trainer is None else trainer.global_rank,
            num_processes=1 if trainer is None else trainer.world_size,
            decoder=videos.decoder,
            unreadable=self._leave_out,
        )
        if trainer is not None:
            loop: Any = trainer.fit_loop
            sequences.set_epoch(loop.epoch_progress.current.processed)
            sequences.start = loop.epoch_loop.batch_progress.current.ready
        return sequences

    def _leave_out(self, problem: str) -> None:
        if problem not in self._unreadable_sequences:
            self._unreadable_sequences.append(problem)
            _LOGGER.warning("left out: %s", problem)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return batches of the frames to validate with."""
        return self._loader(self._val_dataset, self._config.training.val_batch_size, shuffle=False)

    def _loader(
        self, frames: Subset[Batch], batch_size: int, *, shuffle: bool
    ) -> DataLoader[Batch]:
        # What lies in memory is put together faster than a process could hand it over.
        num_workers = 0 if self.dataset.is_loaded else self._config.training.num_workers
        trainer = self.trainer
        sampler = _EpochOrder(
            frames,
            num_replicas=1 if trainer is None else trainer.world_size,
            rank=0 if trainer is None else trainer.global_rank,
            shuffle=shuffle,
            seed=self._config.training.rng_seed_data_pt,
        )
        if trainer is not None:
            # Processes that read ahead draw from it before the trainer tells the epoch.
            loop: Any = trainer.fit_loop
            sampler.set_epoch(loop.epoch_progress.current.processed)
            if shuffle:
                # A training that is resumed may have done a part of it.
                sampler.start = loop.epoch_loop.batch_progress.current.ready * batch_size
        options: dict[str, Any] = {}
        kind: type[DataLoader[Batch]] = DataLoader
        if shuffle and self._config.training.accumulate_grad_batches > 1 and trainer is not None:
            kind, options["trainer"] = _LoaderOfWindows, trainer
        return kind(
            frames,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            worker_init_fn=_outlive_signals,
            collate_fn=collate,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            persistent_workers=num_workers > 0,
            # A process that is forked while threads decode may wait for a lock of theirs for ever.
            multiprocessing_context="spawn" if num_workers and self.videos is not None else None,
            # Begun once more, it would otherwise change the random numbers of the training.
            generator=torch.Generator(),
            **options,
        )


class _LoaderOfWindows(DataLoader[Batch]):
    """Reads all batches of a step of the optimizer before it returns the first of them.

    That one holds ``window``: for each batch of the step all that it holds but the images.
    """

    def __init__(self, *args: Any, trainer: lightning.Trainer, **options: Any) -> None:
        super().__init__(*args, **options)
        self._trainer = trainer

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        order: Any = self.sampler
        number = order.start // self.batch_size
        end = int(min(self._trainer.num_training_batches, len(self)))
        batches: Iterator[Batch] = super().__iter__()
        while number < end:
            length = self._trainer.accumulate_grad_batches
            window = list(islice(batches, min(length - number % length, end - number)))
            if not window:
                return
            labels: Any = [
                {name: values for name, values in batch.items() if name not in _NOT_LABELS}
                for batch in window
            ]
            yield {**window[0], "window": labels}
            yield from window[1:]
            number += len(window)
        yield from batches


def _outlive_signals(worker: int) -> None:
    """Keep a process that reads ahead alive while the training saves what it has done.

    A terminal or a scheduler sends a signal to all processes. A training that is gone, or that
    ends its workers, need not wait for this.
    """

    def end_later(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(_GRACE_S)

    if hasattr(signal, "alarm"):
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, end_later)


class _EpochOrder(DistributedSampler[Batch]):
    """The frames of an epoch; those of the first one from ``start`` on."""

    start = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch, from its beginning."""
        if epoch != self.epoch:
            self.start = 0
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        return islice(super().__iter__(), self.start, None)
