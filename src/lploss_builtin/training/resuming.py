"""Resuming a training: from which checkpoint, with what state, and with which batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from omegaconf import DictConfig
from torch import Tensor

from lploss import Loss, load_config
from lploss.building import build_losses
from lploss.config import value_at
from lploss.errors import ConfigError, LplossError
from lploss.registry import default_registry

_LOSSES = "losses."
# The buffers of every loss that hold arguments of its constructor.
_ARGUMENTS = ("epsilon", "log_weight")


@dataclass(frozen=True, slots=True)
class ResumedLosses:
    """The losses of a training that is resumed.

    Attributes:
        state: their part of the module's state.
        changes: for each loss that is another one than in the checkpoint, what has changed.
    """

    state: Mapping[str, Tensor]
    changes: Mapping[str, str]


def resumed_losses(
    module: Any, checkpoint: Mapping[str, Any], path: Path, data_module: Any
) -> ResumedLosses:
    """Return the state of the losses, once it is clear that the module fits a checkpoint.

    Arguments come from the config; fitted and learned state comes from the checkpoint. A loss whose
    arguments are unchanged takes all of its state from the checkpoint. If arguments have changed,
    the buffers that depend on them are new. If that concerns more than ``epsilon`` and
    ``log_weight``, the loss is fitted again.

    Args:
        module: the module that is trained.
        checkpoint: one of Lightning's, which holds the config of its training.
        path: the file of the checkpoint, for messages.
        data_module: labelled keypoints for the losses that are fitted to them.

    Raises:
        ConfigError: the model, the optimizer or the parameters of a loss are not those of the
            checkpoint.
    """
    saved, earlier = checkpoint["state_dict"], load_config(checkpoint["config"])
    _check_tensors(saved, module.state_dict(), path)
    _check_optimizer(module, checkpoint, earlier, path)
    # Such as losses.supervised.losses.heatmap_mse.epsilon.
    gone = {name.split(".")[3] for name in saved if name.startswith(_LOSSES)}
    merged: dict[str, Tensor] = {}
    changes = {}
    for kind, factory in module.factories.items():
        for name, loss in factory.losses.items():
            start = f"{_LOSSES}{kind}.losses.{name}."
            state = loss.state_dict()
            old = {key: saved[start + key] for key in state if start + key in saved}
            if name not in gone:
                changes[name] = "is new"
            elif _arguments(loss, name, earlier) == _arguments(loss, name, module.config):
                state |= old
            else:
                changes[name] = "has other arguments"
                state = _merged(loss, state, old, _built(name, earlier, data_module))
            gone.discard(name)
            try:
                loss.load_state_dict(state)
            except RuntimeError as error:
                raise ConfigError(
                    f"the training cannot be resumed: the state of the loss {name!r} in {path} "
                    f"does not fit the config. {error}"
                ) from error
            merged |= {start + key: value for key, value in state.items()}
    return ResumedLosses(merged, changes | dict.fromkeys(sorted(gone), "is gone"))


def _check_tensors(saved: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    """Check that all that was trained is there, in its shape."""
    wrong = list(_wrong_tensors(saved, state))
    if wrong:
        more = f" (and {len(wrong) - 3} others)" if len(wrong) > 3 else ""
        raise ConfigError(
            f"the training cannot be resumed with this config: its model is not that of {path}. "
            f"{'; '.join(wrong[:3])}{more}. Leave out what has changed since, which is most likely "
            "in section model or data; or start a new training from these weights by "
            f"model.checkpoint={path}."
        )


def _wrong_tensors(saved: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterator[str]:
    for name in dict.fromkeys((*saved, *state)):
        if name.startswith(_LOSSES):
            continue
        came, expected = (
            f"shape {tuple(where[name].shape)}" if name in where else "nothing"
            for where in (saved, state)
        )
        if came != expected:
            yield f"{name}: the checkpoint has {came}, the config asks for {expected}"


def _check_optimizer(
    module: Any, checkpoint: Mapping[str, Any], earlier: DictConfig, path: Path
) -> None:
    before, now = (config.training.optimizer for config in (earlier, module.config))
    if before != now:
        raise ConfigError(
            f"training.optimizer is {now!r}, and the state of the optimizer in {path} is that of "
            f"{before!r}: another optimizer cannot use it. Keep {before!r}, or start a new "
            f"training from these weights by model.checkpoint={path}."
        )
    saved, learned = checkpoint["state_dict"], set()
    for name, parameter in module.named_parameters():
        if name.startswith(_LOSSES) and parameter.requires_grad:
            learned.add(name)
    (state,) = checkpoint["optimizer_states"]
    groups = [len(group["params"]) for group in state["param_groups"]]
    if groups != [len(group) for group in module.parameter_groups()] or any(
        name not in saved or saved[name].shape != module.get_parameter(name).shape
        for name in learned
    ):
        raise ConfigError(
            "the training cannot be resumed with these losses: a loss with parameters that are "
            f"trained was added, removed or changed, and the optimizer's state in {path} does not "
            f"fit. Keep that loss; or start a new training from these weights by "
            f"model.checkpoint={path}."
        )


def _arguments(loss: Loss, name: str, config: DictConfig) -> dict[str, Any]:
    """Return what a config says of the arguments of a loss."""
    described = value_at(config, "losses")
    params = next((described[key] for key in described if _is(key, name)), None)
    return {
        **{key: value_at(config, path) for key, path in loss.config_paths.items()},
        **(params or {}),
    }


def _is(key: str, name: str) -> bool:
    """Return whether a name in a config, ``distribution/name`` perhaps, is that of a loss."""
    return key.rpartition("/")[2] == name


def _built(name: str, config: DictConfig, data_module: Any) -> Mapping[str, Tensor] | None:
    """Return the state of a loss with the arguments of a config; ``None`` where it has none."""
    described = value_at(config, "losses")
    key = next((key for key in described if _is(key, name)), name)
    try:
        built, _ = build_losses(
            {key: described.get(key)},
            config=config,
            data_module=data_module,
            sync=True,
            registry=default_registry.preferring(value_at(config, "prefer")),
        )
    except (LplossError, OSError):  # a file that it needed has gone
        return None
    return built[key].state_dict()


def _merged(
    loss: Loss,
    new: Mapping[str, Tensor],
    saved: Mapping[str, Tensor],
    earlier: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    """Return the state of a loss whose arguments have changed."""
    learned = {name: saved[name] for name, _ in loss.named_parameters() if name in saved}
    if earlier is None:
        return {**new, **learned}
    changed = {
        name
        for name in new.keys() | earlier.keys()
        if name not in learned
        and not (name in new and name in earlier and torch.equal(new[name], earlier[name]))
    }
    if not changed <= set(_ARGUMENTS):
        return {**new, **learned}
    return {**saved, **{name: new[name] for name in changed}}


def num_whole_epochs(checkpoint: dict[str, Any]) -> int:
    """Return how many epochs were trained from beginning to end.

    Args:
        checkpoint: one of Lightning's.
    """
    loop = checkpoint["loops"]["fit_loop"]
    num_begun: int = loop["epoch_progress"]["current"]["started"]
    return num_begun if loop["epoch_loop.batch_progress"]["is_last_batch"] else num_begun - 1


class GoOnWithTheNextBatch(Callback):
    """Lets a training that is resumed be the one that was never stopped.

    A training that reaches its last step in the middle of an epoch is kept by Lightning as one
    that has done this epoch, and its frames would come twice. Here its state is put back to the
    batch that comes next; the data module leaves out those before.

    Args:
        judges_anew: whether validations from now on cannot be compared with earlier ones.
    """

    def __init__(self, *, judges_anew: bool = False) -> None:
        self._judges_anew = judges_anew

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Count whole epochs only, and take the patience from the config."""
        states = checkpoint["callbacks"]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            judges = isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor
            if judges and self._judges_anew:
                states.pop(callback.state_key, None)
            elif isinstance(callback, EarlyStopping) and callback.state_key in states:
                states[callback.state_key]["patience"] = callback.patience
        num_epochs = num_whole_epochs(checkpoint)
        loop = checkpoint["loops"]["fit_loop"]
        for counts in (loop["epoch_progress"]["current"], loop["epoch_progress"]["total"]):
            counts.update(dict.fromkeys(counts, num_epochs))
        batches = loop["epoch_loop.batch_progress"]
        if batches["is_last_batch"]:
            batches["current"].update(dict.fromkeys(batches["current"], 0))
            batches["is_last_batch"] = False
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint["global_step"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Begin the first epoch with its first batch, or with the next one."""
        loop: Any = trainer.fit_loop
        epoch_loop = loop.epoch_loop
        # Lightning takes any training that is counted in steps for one in the middle of an epoch.
        epoch_loop.restarting = epoch_loop.batch_progress.current.ready > 0
        epoch_loop.update_restart_stage()
        if epoch_loop.restarting and epoch_loop._should_check_val_fx(loop._data_fetcher):
            # It was validated before it stopped, and Lightning counts the step of that once more.
            epoch_loop._batches_that_stepped -= 1
