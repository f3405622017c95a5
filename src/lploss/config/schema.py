"""The schema of the config: sections and keys, with the types of their values.

They are those of Lightning Pose, so that its files work as they are, and some more for training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

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
    imgaug_hflip_pairs: Optional[list[list[str]]] = None
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
    uniform_heatmaps_for_occluded_keypoints: Optional[bool] = None
    accelerator: Optional[str] = None
    devices: Any = None
    num_nodes: Optional[int] = None
    precision: Optional[str] = None
    gradient_clip_val: Optional[float] = None
    max_unreadable_frames: Optional[int] = None
    patch_mask: Optional[PatchMaskSection] = None


@dataclass
class ModelSection:
    """The network, and the unsupervised losses that it is trained with."""

    model_type: Optional[str] = None
    backbone: Optional[str] = None
    backbone_pretrained: Optional[bool] = None
    backbone_checkpoint: Optional[str] = None
    backbone_params: Optional[dict[str, Any]] = None
    gradient_checkpointing: Optional[bool] = None
    compile: Optional[bool] = None
    head: Optional[str] = None
    heatmap_loss_type: Optional[str] = None
    losses_to_use: Optional[list[str]] = None
    model_name: Optional[str] = None
    checkpoint: Optional[str] = None
    do_context: Optional[bool] = None
    lightning_pose_version: Optional[str] = None


@dataclass
class DaliGeneralSection:
    """Seed of the video readers, and what decodes."""

    seed: Optional[int] = None
    decoder: Optional[str] = None


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
