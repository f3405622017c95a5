"""The schema of the config: sections and keys, with types, defaults and ranges of their values.

They are those of Lightning Pose, so that its files work as they are, and some more for training. A
key that a config does not set is ``None``; the default of a training is beside its key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

# OmegaConf reads the annotations at run time and knows only the older spelling of "or None".
# A key is a field of its own, as `_key` returns a new one.
# ruff: noqa: UP045, RUF009


class Range(NamedTuple):
    """The finite numbers that a key may have.

    Attributes:
        words: the range in words, as in "must be ...".
        low: the lowest number.
        high: the highest number.
    """

    words: str
    low: float
    high: float = math.inf

    def holds(self, value: float) -> bool:
        """Return whether a number is in the range."""
        return self.low <= value <= self.high and math.isfinite(value)


_COUNT = Range("at least 1", 1)
_NOT_NEGATIVE = Range("at least 0", 0)
_SHARE = Range("0 to 1", 0, 1)


def _key(default: Any = None, within: Range | None = None) -> Any:
    """Return a key of a section; it is unset at first.

    Args:
        default: what a training takes where the key is unset; for a section, its class or a mapping
            of keys. ``None``: the key has no default, or one that depends on other keys.
        within: the numbers that a training accepts.
    """
    return field(default=None, metadata={"default": default, "within": within})


@dataclass
class Size:
    """Height and width, px."""

    height: Optional[int] = None
    width: Optional[int] = None


@dataclass
class DataSection:
    """Where the data is, and what the keypoints are called."""

    image_orig_dims: Optional[Size] = None
    image_resize_dims: Optional[Size] = _key({"height": 256, "width": 256})
    data_dir: Optional[str] = None
    video_dir: Optional[str] = None
    csv_file: Any = None
    bbox_file: Any = None
    view_names: Optional[list[str]] = None
    camera_params_file: Optional[str] = None
    downsample_factor: Optional[int] = _key(2)
    num_keypoints: Optional[int] = None
    keypoint_names: Optional[list[str]] = None
    mirrored_column_matches: Optional[list[Any]] = None
    columns_for_singleview_pca: Optional[list[int]] = None


@dataclass
class PatchMaskSection:
    """Curriculum of patch masking, by epochs or by steps."""

    init_epoch: Optional[int] = _key(40)
    final_epoch: Optional[int] = _key(300)
    init_step: Optional[int] = None
    final_step: Optional[int] = None
    init_ratio: Optional[float] = _key(0.0, _SHARE)
    final_ratio: Optional[float] = _key(0.5, _SHARE)


@dataclass
class MultiStepSection:
    """When the learning rate falls, and by what factor."""

    milestones: Optional[list[int]] = None
    milestone_steps: Optional[list[int]] = None
    gamma: Optional[float] = _key(0.5, Range("above 0 and at most 1", math.nextafter(0, 1), 1))


@dataclass
class SchedulerSection:
    """Parameters of the learning-rate scheduler."""

    multisteplr: Optional[MultiStepSection] = _key(MultiStepSection)


@dataclass
class OptimizerSection:
    """Parameters of the optimizer."""

    learning_rate: Optional[float] = _key(5e-5, _NOT_NEGATIVE)


@dataclass
class TrainingSection:
    """Batches, epochs, augmentation, optimisation."""

    imgaug: Any = _key("dlc")
    imgaug_3d: Optional[bool] = _key(False)
    imgaug_hflip: Optional[bool] = _key(False)
    imgaug_hflip_pairs: Optional[list[list[str]]] = None
    train_batch_size: Optional[int] = _key(16, _COUNT)
    val_batch_size: Optional[int] = _key(32, _COUNT)
    test_batch_size: Optional[int] = _key(32)
    train_prob: Optional[float] = None
    val_prob: Optional[float] = None
    train_frames: Optional[float] = _key(1.0)
    num_gpus: Optional[int] = None
    num_workers: Optional[int] = _key(within=_NOT_NEGATIVE)
    gpu_id: Any = None
    early_stopping: Optional[bool] = _key(False)
    early_stop_patience: Optional[int] = _key(3, _NOT_NEGATIVE)
    unfreezing_epoch: Optional[int] = None
    unfreezing_step: Optional[int] = None
    min_epochs: Optional[int] = _key(0, _NOT_NEGATIVE)
    max_epochs: Optional[int] = _key(300)
    min_steps: Optional[int] = None
    max_steps: Optional[int] = None
    log_every_n_steps: Optional[int] = _key(10)
    check_val_every_n_epoch: Optional[int] = _key(within=_COUNT)
    val_check_interval: Any = None
    ckpt_every_n_epochs: Optional[int] = None
    accumulate_grad_batches: Optional[int] = _key(1, _COUNT)
    limit_train_batches: Any = None
    profiler: Optional[str] = None
    rng_seed_data_pt: Optional[int] = _key(0)
    rng_seed_model_pt: Optional[int] = _key(0)
    optimizer: Optional[str] = _key("Adam")
    optimizer_params: Optional[OptimizerSection] = _key(OptimizerSection)
    lr_scheduler: Optional[str] = _key("multisteplr")
    lr_scheduler_params: Optional[SchedulerSection] = _key(SchedulerSection)
    uniform_heatmaps_for_nan_keypoints: Optional[bool] = _key(False)
    uniform_heatmaps_for_occluded_keypoints: Optional[bool] = _key(True)
    accelerator: Optional[str] = _key("auto")
    devices: Any = None
    num_nodes: Optional[int] = _key(1, _COUNT)
    precision: Optional[str] = _key("32-true")
    gradient_clip_val: Optional[float] = _key(within=_NOT_NEGATIVE)
    max_unreadable_frames: Optional[int] = _key(5, _NOT_NEGATIVE)
    patch_mask: Optional[PatchMaskSection] = None


@dataclass
class ModelSection:
    """The network, and the unsupervised losses that it is trained with."""

    model_type: Optional[str] = _key("heatmap")
    backbone: Optional[str] = _key("vits_dino")
    backbone_pretrained: Optional[bool] = _key(True)
    backbone_checkpoint: Optional[str] = None
    backbone_params: Optional[dict[str, Any]] = None
    gradient_checkpointing: Optional[bool] = _key(False)
    compile: Optional[bool] = _key(False)
    head: Optional[str] = None
    heatmap_loss_type: Optional[str] = _key("mse")
    losses_to_use: Optional[list[str]] = _key([])
    model_name: Optional[str] = None
    checkpoint: Optional[str] = None
    do_context: Optional[bool] = None
    lightning_pose_version: Optional[str] = None


@dataclass
class DaliGeneralSection:
    """Seed of the video readers, and what decodes."""

    seed: Optional[int] = _key(123456)
    decoder: Optional[str] = _key("cpu")


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

    train: Optional[SequenceSection] = _key({"sequence_length": 16})
    predict: Optional[SequenceSection] = _key({"sequence_length": 96})


@dataclass
class ContextVideoSection:
    """Video for models that see a window of frames."""

    train: Optional[ContextBatchSection] = _key({"batch_size": 16})
    predict: Optional[SequenceSection] = _key({"sequence_length": 96})


@dataclass
class DaliSection:
    """How much video is read at once."""

    general: Optional[DaliGeneralSection] = _key(DaliGeneralSection)
    base: Optional[BaseVideoSection] = _key(BaseVideoSection)
    context: Optional[ContextVideoSection] = _key(ContextVideoSection)


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
    init_val: Optional[float] = _key(within=_NOT_NEGATIVE)
    increase_factor: Optional[float] = _key(within=_NOT_NEGATIVE)
    final_val: Optional[float] = _key(within=_NOT_NEGATIVE)
    freeze_until_epoch: Optional[int] = _key(within=_NOT_NEGATIVE)


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


#: Keys that Lightning Pose once had, and what to do about each.
RETIRED = {
    "data.keypoints": "rename it to data.keypoint_names.",
    "data.num_targets": "give data.num_keypoints, which is half of it.",
    "data.header_rows": "remove it; the header rows are recognised.",
    "data.dynamic_crop": "remove it; to train on crops, give their files in data.bbox_file.",
    "training.dropout_rate": "remove it.",
    "training.unlabeled_sequence_length": "rename it to dali.base.train.sequence_length.",
    "training.rng_seed_data_dali": "rename it to dali.general.seed.",
    "training.multiple_trainloader_mode": "remove it.",
    "model.resnet_version": "give model.backbone, such as resnet50.",
    "eval.model_display_names": "rename it to eval.fiftyone.model_display_names.",
    "eval.fifty_one_dataset_name": "rename it to eval.fiftyone.dataset_name.",
    "eval.path_to_test_videos": "give eval.test_videos_directory.",
    "eval.path_to_save_predictions": "rename it to eval.saved_vid_preds_dir.",
    "eval.path_to_csv_predictions": "rename it to eval.pred_csv_files_to_plot.",
    "eval.dali_parameters": "give dali.base.predict.sequence_length.",
}
