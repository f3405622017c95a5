"""The settings of the training demo: its size and its training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lploss.errors import ArgumentValueError

_FEWEST_FRAMES = 12
_MOST_SESSIONS, _MOST_TEST_FRAMES = 12, 100
_FRAMES_A_TEST_FRAME = 4


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How large the demo is.

    Args:
        num_frames: labelled frames to train with, at least 12.
        num_epochs: how often each of them is seen, at least 1.
        seed: of all that is random.

    Raises:
        ArgumentValueError: there are too few frames or epochs.

    Example:
        >>> DemoSettings(num_frames=40).num_test_frames
        10
    """

    num_frames: int = 480
    num_epochs: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_frames < _FEWEST_FRAMES:
            raise ArgumentValueError(
                f"the demo needs at least {_FEWEST_FRAMES} frames to train with, got "
                f"{self.num_frames}"
            )
        if self.num_epochs < 1:
            raise ArgumentValueError(f"the demo needs at least 1 epoch, got {self.num_epochs}")

    @property
    def num_sessions(self) -> int:
        """How many walks there are to train with, each with a calibration of its own."""
        return min(_MOST_SESSIONS, self.num_frames // 4)

    @property
    def num_test_frames(self) -> int:
        """How many frames there are of the walk that is held out."""
        return min(_MOST_TEST_FRAMES, self.num_frames // _FRAMES_A_TEST_FRAME)

    def config(self) -> dict[str, Any]:
        """Return all sections of the config but ``data``, which the project itself knows."""
        return {
            "training": {
                # Small images of few patches are what a processor can afford.
                "imgaug": "none",
                "imgaug_3d": True,
                "train_batch_size": 8,
                "val_batch_size": 32,
                "train_prob": 0.95,
                "val_prob": 0.05,
                "max_epochs": self.num_epochs,
                # Seldom, and at the end.
                "check_val_every_n_epoch": math.gcd(4, self.num_epochs),
                "unfreezing_epoch": 0,
                # What is hidden in one view is known from the others: it can be learned.
                "uniform_heatmaps_for_occluded_keypoints": False,
                "optimizer_params": {"learning_rate": 0.002},
                "lr_scheduler_params": {
                    "multisteplr": {
                        # Of few epochs, the first one is learned from at the full rate.
                        "milestones": [max(1, self._at(share)) for share in (0.6, 0.8, 0.92)],
                        "gamma": 0.3,
                    }
                },
                "patch_mask": {
                    "init_epoch": self._at(0.4),
                    "final_epoch": self._at(0.8) + 1,
                    "init_ratio": 0.0,
                    "final_ratio": 0.1,
                },
                "rng_seed_data_pt": self.seed,
                "rng_seed_model_pt": self.seed,
                "accelerator": "cpu",
            },
            "model": {
                "model_type": "heatmap_multiview_transformer",
                "backbone": "vit_tiny_patch16_224",
                "backbone_pretrained": False,
                "backbone_params": {
                    "depth": 4,
                    "embed_dim": 192,
                    "num_heads": 4,
                    "mlp_ratio": 2.0,
                },
                "heatmap_loss_type": "kl",
            },
            "losses": {"supervised_reprojection_heatmap_mse": {"log_weight": 3.0}},
            "callbacks": {
                "anneal_weight": {
                    "freeze_until_epoch": self._at(0.25),
                    "increase_factor": 2.0 / self.num_epochs,
                }
            },
            "data": {"image_resize_dims": {"height": 64, "width": 64}, "downsample_factor": 1},
        }

    def _at(self, share: float) -> int:
        """Return the epoch at which a share of the training is over."""
        return int(share * self.num_epochs)
