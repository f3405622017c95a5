"""Lightning Pose, where it is installed: its own loss classes, called as its trainer calls them."""

from __future__ import annotations

import warnings
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor


def losses() -> ModuleType | None:
    """Return the peer's module of losses, or ``None`` where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import lightning_pose.losses.losses as module
    except ImportError:
        return None
    return module


def pca_loss(module: ModuleType, labels: Tensor, device: torch.device, **params: Any) -> Any:
    """Return a PCA loss of the peer, fitted to labels that are in memory.

    The peer fits to a data module, which reads files; only that reading is stepped over.
    """

    def take_labels(pca: Any) -> None:
        pca.data_arr = labels

    with mock.patch.object(module.KeypointPCA, "_get_data", take_labels):
        return module.PCALoss(data_module=object(), device=device, **params)


def geometry() -> SimpleNamespace | None:
    """Return the peer's geometry of views, its 3D losses, and its soft-argmax; see `losses`."""
    module = losses()
    if module is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_pose.data import bboxes, cameras
        from lightning_pose.models.heads.heatmap import run_subpixelmaxima
    return SimpleNamespace(
        project_camera_pairs_to_3d=cameras.project_camera_pairs_to_3d,
        project_3d_to_2d=cameras.project_3d_to_2d,
        model_to_frame_batch=bboxes.model_to_frame_batch,
        frame_to_model_batch=bboxes.frame_to_model_batch,
        run_subpixelmaxima=run_subpixelmaxima,
        PairwiseProjectionsLoss=module.PairwiseProjectionsLoss,
        ReprojectionHeatmapLoss=module.ReprojectionHeatmapLoss,
    )
