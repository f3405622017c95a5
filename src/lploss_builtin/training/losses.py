"""The losses that a training config asks for, and whether they can be trained with."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from lploss import LossFactory, get_loss_factories
from lploss.config import value_at
from lploss.errors import ConfigError


def training_losses(config: DictConfig, data_module: Any) -> dict[str, LossFactory]:
    """Build the factories ``"supervised"`` and ``"unsupervised"``.

    The unsupervised losses see unlabelled videos, where ``data.video_dir`` names some, and else the
    labelled frames, without their labels.

    Args:
        config: the full config.
        data_module: labelled keypoints for the losses that are fitted to them.

    Raises:
        ConfigError: the config asks for no loss, or for one that compares frames of a video where
            there is none, or for one that the augmentation makes meaningless.
    """
    # All processes train and validate in step, so validation is shared, too.
    factories = get_loss_factories(config, data_module, sync=True)
    if not any(factory.losses for factory in factories.values()):
        raise ConfigError(
            "the config asks for no loss: give model.heatmap_loss_type, or name losses in section "
            "losses"
        )
    for name, loss in factories["unsupervised"].losses.items():
        if loss.num_previous_frames and config.data.video_dir is None:
            raise ConfigError(
                f"model.losses_to_use names {name!r}, which compares consecutive frames of a "
                "video: labelled frames are none. Name a folder of videos in data.video_dir, or "
                "take the loss out."
            )
    _check_reprojection(config, factories)
    return factories


def _check_reprojection(config: DictConfig, factories: dict[str, LossFactory]) -> None:
    """Refuse what compares a view's augmented image with where cameras see a point in the crop."""
    from lploss_builtin.training.augmentation_2d import ImageAugmentation

    if value_at(config, "training.imgaug_3d"):
        return
    augmentation = ImageAugmentation.from_config(value_at(config, "training.imgaug"))
    names = ["imgaug"] if augmentation.breaks_geometry else []
    names += ["imgaug_hflip"] if value_at(config, "training.imgaug_hflip") else []
    if not names:
        return
    given = " and ".join(f"training.{n} = {value_at(config, f'training.{n}')!r}" for n in names)
    mend = " and ".join(f"training.{n}: {'none' if n == 'imgaug' else 'false'}" for n in names)
    for factory in factories.values():
        for name, loss in factory.losses.items():
            if "keypoints_pred_2d_reprojected" in loss.inputs:
                raise ConfigError(
                    f"the loss {name!r} needs images that agree with their cameras, and {given} "
                    "turns or moves those of each view by themselves. Set training.imgaug_3d: "
                    f"true, which moves all views of a frame together, or {mend}."
                )
