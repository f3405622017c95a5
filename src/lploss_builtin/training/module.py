"""A model, its losses and its curriculum, as a Lightning module."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import lightning
import torch
from einops import rearrange
from omegaconf import DictConfig
from torch import Tensor, nn

from lploss import LossFactory
from lploss.config import plain
from lploss.errors import ConfigError, MissingInputError, TrainingError, did_you_mean
from lploss.inputs import is_prediction
from lploss.loss import LogEntry, Stage
from lploss_builtin.training.augmentation import BatchAugmentation
from lploss_builtin.training.balance import BalanceOfTraining
from lploss_builtin.training.curriculum import Curriculum, Moment

Batch = dict[str, Tensor]

#: A labelled batch; or ``labelled`` and ``unlabelled``, where videos are trained with.
TrainingBatch = Batch | dict[str, Batch]

_OCCLUDED, _VISIBLE = 1, 2

_OPTIMIZERS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}


class BatchWeights(NamedTuple):
    """What a batch counts in a step of the optimizer that takes several.

    Attributes:
        supervised: weights of the supervised losses, see `LossFactory.batch_weights`.
        factor: of all losses. The trainer divides by the number of batches of a whole step, also
            where an epoch ends before.
    """

    supervised: Mapping[str, Tensor] = {}
    factor: float = 1.0


_ALONE = BatchWeights()


class PoseModule(lightning.LightningModule):
    """Trains a model with whatever losses the config asks for.

    It knows no loss and no model by name: the model turns a batch into the losses' inputs, and
    the factories do the rest. Where a batch holds consecutive frames of a video, the unsupervised
    losses are taken of these, and validation, which has labelled frames only, leaves them out.
    Else they are taken of the labelled frames.

    Args:
        model: has ``get_loss_inputs_labeled`` and ``get_loss_inputs_unlabeled``.
        losses: the factories ``"supervised"`` and ``"unsupervised"``.
        augmentation: what is done to the images of a training batch.
        curriculum: the schedules.
        config: the full config with defaults; it is kept in checkpoints.
        has_videos: whether batches to train with hold frames of videos.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: Mapping[str, LossFactory],
        augmentation: BatchAugmentation,
        curriculum: Curriculum,
        config: DictConfig,
        *,
        has_videos: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = nn.ModuleDict(losses)
        self.factories = dict(losses)
        self.augmentation = augmentation
        self.curriculum = curriculum
        self.config = config
        self.has_videos = has_videos
        backbone = getattr(model, "backbone", None)
        parameters = [] if backbone is None else list(backbone.parameters())
        #: What is frozen at first: the parameters of the model's ``backbone``, where it has one.
        self.of_backbone = [parameter for parameter in parameters if parameter.requires_grad]
        self.balance = BalanceOfTraining()
        #: The losses' part of the state, where a training is resumed.
        self.resumed_losses: Mapping[str, Tensor] | None = None
        self._random_states: dict[str, Tensor] = {}
        # Of the batches to come of this step of the optimizer.
        self._batch_weights: deque[BatchWeights] = deque()

    @property
    def judged_by(self) -> str:
        """What says in validation which weights are the best: the least of it."""
        is_loss = bool(self.factories["supervised"].losses) or not self.has_videos
        return "val_loss" if is_loss else "val_pixel_error"

    @property
    def moment(self) -> Moment:
        """How far the training has come."""
        return Moment(self.current_epoch, self.global_step)

    def on_after_batch_transfer(self, batch: TrainingBatch, dataloader_idx: int) -> TrainingBatch:
        """Augment the images of a training batch, on the device."""
        if not self.trainer.training:
            return batch
        labelled, unlabelled = _parts(batch)
        if (window := labelled.pop("window", None)) is not None:
            self._batch_weights = self._weights_in(window, labelled["images"].shape[1:])
        ratio = self.curriculum.patch_mask_ratio(self.moment)
        labelled = self.augmentation(labelled, self.current_epoch, ratio)
        if unlabelled is None:
            return labelled
        unlabelled = self.augmentation.of_sequence(unlabelled, self.current_epoch)
        return {"labelled": labelled, "unlabelled": unlabelled}

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Return the sum of all losses."""
        weights = self._batch_weights.popleft() if self._batch_weights else _ALONE
        return self._total(*_parts(batch), "train", weights)

    def _weights_in(self, window: Any, image_shape: Sequence[int]) -> deque[BatchWeights]:
        """Return what each batch counts in a step of the optimizer.

        Args:
            window: all that the batches of the step hold but the images.
            image_shape: ``views 3 height width``.
        """
        factor = self.trainer.accumulate_grad_batches / len(window)
        given = []
        for labels in window:
            moved = self.augmentation.of_labels(labels, self.current_epoch, image_shape)
            # A model of a plugin need not tell its targets by themselves.
            targets = getattr(self.model, "targets", None)
            if targets is not None:
                moved |= targets(self._with_targets(moved))
            del moved["images"]
            given.append(moved)
        weights = self.factories["supervised"].batch_weights(given)
        return deque(BatchWeights(own, factor) for own in weights)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log all losses, and how far predictions are from the labels."""
        self._total(batch, None, "val")

    def check(self, batch: TrainingBatch) -> None:
        """Check that the losses get all that they need.

        Args:
            batch: what the data loader would return.

        Raises:
            MissingInputError: an input of a loss is not there, and cannot be derived.
        """
        self.model.eval()
        with torch.no_grad():
            for kind, inputs in self._inputs(*_parts(batch)).items():
                try:
                    self.factories[kind].check(**inputs)
                except MissingInputError as error:
                    raise MissingInputError(
                        f"the model {self.config.model.model_type!r} cannot be trained with a loss "
                        f"that the config asks for: {error}"
                    ) from error
        self.model.train()

    def _inputs(self, labelled: Batch, unlabelled: Batch | None) -> dict[str, Batch]:
        """Return what the losses of each kind are given."""
        model: Any = self.model
        inputs: Batch = model.get_loss_inputs_labeled(self._with_targets(labelled))
        found = {"supervised": inputs}
        if unlabelled is not None:
            found["unsupervised"] = model.get_loss_inputs_unlabeled(unlabelled)
        elif not self.has_videos:
            found["unsupervised"] = inputs
        return found

    def _total(
        self,
        labelled: Batch,
        unlabelled: Batch | None,
        stage: Stage,
        weights: BatchWeights = _ALONE,
    ) -> Tensor:
        inputs = self._inputs(labelled, unlabelled)
        num_frames = len(labelled["images"])
        # What is validated is compared between epochs, so it has the same weights in all of them.
        anneal_weight = self.curriculum.anneal_weight(self.moment) if stage == "train" else 1.0
        total: Tensor | None = None
        logged: Tensor | float = 0.0
        logs: list[LogEntry] = []
        for kind, of_kind in inputs.items():
            factory = self.factories[kind]
            if factory.losses:
                result = factory(
                    stage=stage,
                    anneal_weight=anneal_weight,
                    batch_weights=weights.supervised if kind == "supervised" else None,
                    **of_kind,
                )
                total = result.loss if total is None else total + result.loss
                logged = logged + result.logs[-1]["value"]
                logs += result.logs
                self._log(result.logs, stage, num_frames)
        error = self._log_error(inputs["supervised"], stage)
        if total is None:
            if stage == "train":
                raise ConfigError("there is no loss to train with")
            # All losses are those of videos.
            total = logged = torch.zeros((), device=self.device)
        # Weights can diverge in the last step before a validation whose losses do not show it.
        if not (total + error if stage == "val" else total).isfinite():
            logs.append({"name": f"{stage}_pixel_error", "value": error})
            self._stop(labelled, unlabelled, inputs, stage, logs)
        self._log([{"name": f"{stage}_loss", "value": torch.as_tensor(logged)}], stage, num_frames)
        if stage == "train":
            self._measure_balance(inputs)
        return total if weights.factor == 1.0 else total * weights.factor

    def _measure_balance(self, inputs: Mapping[str, Batch]) -> None:
        """Measure what each loss contributes, where it is time to; the training stays the same."""
        training = self.config.training
        is_open = training.max_steps is not None or training.max_epochs < 1
        final_epoch = None if is_open else training.max_epochs - 1
        parts = [(self.factories[kind], of_kind) for kind, of_kind in inputs.items()]
        if (
            # Its graph cannot be computed backwards twice.
            self.config.model.compile
            or not self.trainer.is_global_zero
            or sum(len(factory.losses) for factory, _ in parts) < 2
            or not self.balance.is_due(
                self.current_epoch, self.curriculum.anneal_weight(self.moment), final_epoch
            )
        ):
            return
        end = None if final_epoch is None else Moment(final_epoch, self.global_step)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        of_backbone = set(self.of_backbone)
        head = [p for p in self.model.parameters() if p.requires_grad and p not in of_backbone]
        self.balance.measure(
            parts,
            head or of_backbone,
            anneal_weight=1.0 if end is None else self.curriculum.anneal_weight(end),
            scale=1.0 if scaler is None else scaler.get_scale(),
        )

    def on_train_epoch_end(self) -> None:
        """Log what was measured of the balance between the losses."""
        self.balance.end_epoch(self.current_epoch)

    def _stop(
        self,
        labelled: Batch,
        unlabelled: Batch | None,
        inputs: Mapping[str, Batch],
        stage: Stage,
        logs: list[LogEntry],
    ) -> NoReturn:
        """Keep the batch of a network that has diverged for inspection, and stop the training."""
        path = Path(self.trainer.default_root_dir) / f"not_finite_rank{self.global_rank}.pt"
        kept: dict[str, Any] = _on_host({**labelled, **inputs["supervised"]})
        if unlabelled is not None:
            kept["unlabelled"] = _on_host({**unlabelled, **inputs["unsupervised"]})
        torch.save(kept, path)
        losses = [name for own in self.factories.values() for name in own.losses]
        names = {f"{stage}_{name}_loss": name for name in losses}
        names[f"{stage}_pixel_error"] = "pixel_error"
        values = {names[e["name"]]: e["value"] for e in logs if e["name"] in names}
        found = [f"{name} = {value:g}" for name, value in values.items() if not value.isfinite()]
        given = [*inputs.values(), labelled]
        spoilt = sorted({n for own in given for n, v in own.items() if _is_spoilt(n, v)})
        training = self.config.training
        clip = training.gradient_clip_val
        of = "training" if stage == "train" else "validation"
        raise TrainingError(
            f"the training diverged: in epoch {self.current_epoch}, step {self.global_step}, a "
            f"{of} batch gives values that are not finite: {', '.join(found) or 'the sum'}. Inputs "
            f"of the losses that are not finite: {', '.join(spoilt) or 'none'}. Try a lower "
            "training.optimizer_params.learning_rate (it is "
            f"{training.optimizer_params.learning_rate:g}) or a training.gradient_clip_val (it is "
            f"{'not set' if clip is None else clip}). The batch and the inputs of the losses are "
            f"in {path}: load it with torch.load."
        )

    def _with_targets(self, batch: Batch) -> Batch:
        """Give occluded keypoints whose place is known the target of visible ones, if asked to."""
        if self.config.training.uniform_heatmaps_for_occluded_keypoints:
            return batch
        points = rearrange(batch["keypoints_targ"], "b (k xy) -> b k xy", xy=2)
        is_known = points.isfinite().all(dim=2) & (batch["visibility"] == _OCCLUDED)
        return {**batch, "visibility": torch.where(is_known, _VISIBLE, batch["visibility"])}

    def _log(self, entries: list[LogEntry], stage: Stage, weight: int | Tensor) -> None:
        """Log values; means over an epoch and over processes go by the weight."""
        # Of whole numbers, Lightning would round the mean over processes down.
        batch_size: Any = torch.as_tensor(weight, dtype=torch.float32)
        for entry in entries:
            self.log(
                entry["name"],
                entry["value"].float(),
                prog_bar=entry["name"] == f"{stage}_loss",
                on_step=stage == "train",
                on_epoch=True,
                batch_size=batch_size,
                sync_dist=stage == "val",
            )

    def _log_error(self, inputs: Mapping[str, Tensor], stage: Stage) -> Tensor:
        """Log and return the mean distance to the labels, px in the original image.

        It is NaN if a single labelled keypoint is predicted at NaN or infinity.
        """
        targets, found = (
            rearrange(inputs[name].detach(), "b (k xy) -> b k xy", xy=2)
            for name in ("keypoints_targ", "keypoints_pred")
        )
        is_labelled = targets.isfinite().all(dim=-1)
        distances = torch.linalg.vector_norm(found - targets, dim=-1)
        distances = torch.where(found.isfinite().all(dim=-1), distances, torch.nan)
        number = is_labelled.sum()
        mean = torch.where(is_labelled, distances, 0.0).sum() / number.clamp(min=1)
        # Without a label, too: other processes, which have some, would wait for this one.
        self._log([{"name": f"{stage}_pixel_error", "value": mean}], stage, number)
        return mean

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with a rate of its own for the backbone."""
        training = self.config.training
        name = training.optimizer
        if name not in _OPTIMIZERS:
            raise ConfigError(
                f"there is no training.optimizer {name!r}.{did_you_mean(name, _OPTIMIZERS)} "
                f"Known: {', '.join(_OPTIMIZERS)}."
            )
        others, of_backbone = self.parameter_groups()
        return _OPTIMIZERS[name](
            [{"params": others}, {"params": of_backbone}],
            lr=training.optimizer_params.learning_rate,
        )

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the parameters that are trained: those of the backbone last."""
        of_backbone = set(self.of_backbone)
        # A loss may learn, too.
        others = [p for p in self.parameters() if p.requires_grad and p not in of_backbone]
        return others, self.of_backbone

    def follow_curriculum(self) -> dict[str, float]:
        """Set the learning rates, and freeze or unfreeze the backbone.

        Returns:
            What holds at this moment, by name.
        """
        moment = self.moment
        head = self.curriculum.head_factor(moment)
        backbone = self.curriculum.backbone_factor(moment)
        for parameter in self.of_backbone:
            parameter.requires_grad_(backbone > 0.0)
        base = self.config.training.optimizer_params.learning_rate
        optimizer: Any = self.optimizers()
        for group, factor in zip(optimizer.param_groups, (head, backbone), strict=True):
            group["lr"] = base * factor
        return {
            "learning_rate": base * head,
            "learning_rate_backbone": base * backbone,
            "patch_mask_ratio": self.curriculum.patch_mask_ratio(moment),
            "anneal_weight": self.curriculum.anneal_weight(moment),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what else it takes to use the model, or to go on with the training."""
        checkpoint["config"] = plain(self.config)
        checkpoint["random_states"] = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            # Of the device in use alone: the next machine may have others.
            checkpoint["random_states"]["cuda"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the random numbers for when the training starts, and the losses' state."""
        if self.resumed_losses is not None:
            state = checkpoint["state_dict"]
            for name in [name for name in state if name.startswith("losses.")]:
                del state[name]
            state.update(self.resumed_losses)
        self._random_states = checkpoint["random_states"]

    def on_train_start(self) -> None:
        """Go on with the random numbers where the training stopped."""
        states, self._random_states = self._random_states, {}
        if "cpu" in states:
            torch.set_rng_state(states["cpu"].cpu())
        if "cuda" in states and self.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"].cpu(), self.device)


def _parts(batch: Any) -> tuple[Batch, Batch | None]:
    """Return the labelled batch, and that of a video where there is one."""
    return (batch["labelled"], batch["unlabelled"]) if "labelled" in batch else (batch, None)


def _is_spoilt(name: str, values: Any) -> bool:
    """Return whether an input that may not have gaps holds NaN or infinity."""
    may_not = is_prediction(name) or name == "images"
    return may_not and isinstance(values, Tensor) and not bool(values.isfinite().all())


def _on_host(batch: Batch) -> Batch:
    return {name: values.detach().cpu() for name, values in batch.items()}
