"""The schedules that a config asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from omegaconf import DictConfig

from lploss.config import check_ranges, defaults_of, value_at
from lploss.errors import ConfigError
from lploss_builtin.training import schedules

# Those of Lightning Pose.


class Moment(NamedTuple):
    """How far a training has come.

    Attributes:
        epoch: counted from 0.
        step: of the optimizer, counted from 0.
    """

    epoch: int
    step: int


@dataclass(frozen=True)
class Curriculum:
    """What changes in the course of a training; each of the schedules takes a `Moment`.

    Attributes:
        anneal_weight: factor of the losses that are annealed.
        patch_mask_ratio: share of the patches that are masked.
        head_factor: factor of the learning rate.
        backbone_factor: the same for the backbone; 0: it is frozen.
        changes_by_step: whether a learning rate changes in the middle of an epoch.
    """

    anneal_weight: Callable[[Moment], float]
    patch_mask_ratio: Callable[[Moment], float]
    head_factor: Callable[[Moment], float]
    backbone_factor: Callable[[Moment], float]
    changes_by_step: bool

    @classmethod
    def from_config(cls, config: DictConfig, steps_per_epoch: int) -> Curriculum:
        """Read the schedules of a full config.

        Without ``training.patch_mask`` nothing is masked, and without ``callbacks.anneal_weight``
        nothing is annealed.

        Args:
            config: the full config.
            steps_per_epoch: of the optimizer.

        Raises:
            ConfigError: a schedule is given by epochs and by steps, or by impossible numbers.
        """
        head = _learning_rate(config)
        unfrozen = _epochs_unfrozen(config, steps_per_epoch)

        def backbone(moment: Moment) -> float:
            if unfrozen is None:
                return head(moment)
            return head(moment) * schedules.backbone_factor(unfrozen(moment))

        return cls(
            anneal_weight=_annealing(config),
            patch_mask_ratio=_patch_masking(config),
            head_factor=head,
            backbone_factor=backbone,
            changes_by_step=any(
                value_at(config, key) is not None
                for key in (
                    "training.unfreezing_step",
                    "training.lr_scheduler_params.multisteplr.milestone_steps",
                )
            ),
        )


def _annealing(config: DictConfig) -> Callable[[Moment], float]:
    section = _given(config, "callbacks.anneal_weight")
    attribute = section.pop("attr_name", "total_unsupervised_importance")
    if attribute != "total_unsupervised_importance":
        raise ConfigError(
            "callbacks.anneal_weight.attr_name must be total_unsupervised_importance, the factor "
            f"of the annealed losses; got {attribute!r}"
        )
    if value_at(config, "callbacks.anneal_weight") is None:
        return lambda moment: 1.0
    check_ranges(config, "callbacks.anneal_weight")
    return lambda moment: schedules.anneal_weight(moment.epoch, **section)


def _patch_masking(config: DictConfig) -> Callable[[Moment], float]:
    key = "training.patch_mask"
    section = _given(config, key)
    if value_at(config, key) is None:
        return lambda moment: 0.0
    by_step = _by_step(key, section, ("init_epoch", "final_epoch"), ("init_step", "final_step"))
    if by_step and not {"init_step", "final_step"} <= set(section):
        raise ConfigError(f"{key} must hold both init_step and final_step, or epochs instead")
    unit = "step" if by_step else "epoch"
    check_ranges(config, key)
    section = {**defaults_of(key), **section}
    start, end = section[f"init_{unit}"], section[f"final_{unit}"]
    if not 0 <= start <= end:
        raise ConfigError(
            f"{key}.init_{unit} must be 0 to final_{unit}, which is {end}, got {start}"
        )
    return lambda moment: schedules.patch_mask_ratio(
        moment.step if by_step else moment.epoch,
        start=start,
        end=end,
        init_ratio=section["init_ratio"],
        final_ratio=section["final_ratio"],
    )


def _learning_rate(config: DictConfig) -> Callable[[Moment], float]:
    key = "training.lr_scheduler_params.multisteplr"
    name = value_at(config, "training.lr_scheduler")
    if name not in (None, "multisteplr"):
        raise ConfigError(f"training.lr_scheduler must be multisteplr, got {name!r}")
    section = _given(config, key)
    check_ranges(config, key)
    gamma = section.get("gamma", defaults_of(key)["gamma"])
    by_step = _by_step(key, section, ("milestones",), ("milestone_steps",))
    milestones = section.get("milestone_steps" if by_step else "milestones", [])
    return lambda moment: schedules.multistep_factor(
        moment.step if by_step else moment.epoch, milestones, gamma
    )


def _epochs_unfrozen(config: DictConfig, steps_per_epoch: int) -> Callable[[Moment], int] | None:
    """Return for how many epochs the backbone has learned; ``None``: it is never frozen."""
    section = {
        name: value_at(config, f"training.{name}")
        for name in ("unfreezing_epoch", "unfreezing_step")
    }
    section = {name: value for name, value in section.items() if value is not None}
    if _by_step("training", section, ("unfreezing_epoch",), ("unfreezing_step",)):
        step: int = section["unfreezing_step"]
        if step <= 0:
            return None
        return lambda moment: (moment.step - step) // max(steps_per_epoch, 1)
    epoch = section.get("unfreezing_epoch", 0)
    return None if epoch <= 0 else lambda moment: moment.epoch - epoch


def _given(config: DictConfig, key: str) -> dict[str, Any]:
    section = value_at(config, key) or {}
    return {name: value for name, value in section.items() if value is not None}


def _by_step(
    key: str, section: dict[str, Any], of_epochs: tuple[str, ...], of_steps: tuple[str, ...]
) -> bool:
    epochs, steps = ([n for n in names if n in section] for names in (of_epochs, of_steps))
    if epochs and steps:
        raise ConfigError(
            f"{key} must go by epochs or by steps, not by both: it holds {', '.join(epochs)} and "
            f"{', '.join(steps)}"
        )
    return bool(steps)
