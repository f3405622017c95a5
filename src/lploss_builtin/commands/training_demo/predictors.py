"""The predictions that the demo compares: those of the trained network, and yardsticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from lploss_builtin.commands.predicting import predict_frames
from lploss_builtin.commands.training_demo.held_out import HeldOut
from lploss_builtin.data.labelled_frames import Batch
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_views


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """Where the keypoints are said to be.

    Attributes:
        name: who says so.
        keypoints: px in the original images, of each view by itself.
        points: where these views together put the keypoints in the world, mm.
        reprojected: where all cameras of the rig, used or not, see these, px.
    """

    name: str
    keypoints: Float64[np.ndarray, "frames views num_keypoints 2"]
    points: Float64[np.ndarray, "frames num_keypoints 3"]
    reprojected: Float64[np.ndarray, "frames all_views num_keypoints 2"]


def predicted_by(
    name: str, model: nn.Module, held_out: HeldOut, views: Sequence[int] | None = None
) -> Predicted:
    """Predict the held-out frames with a model.

    Args:
        name: of the model.
        model: the model.
        held_out: the frames.
        views: numbers of the cameras that have not failed; all unless given.
    """
    chosen = list(range(held_out.project.num_views)) if views is None else list(views)
    found = list(predict_frames(model, _Views(held_out, chosen), views=chosen))
    keypoints = torch.cat([batch.keypoints for batch in found])
    confidences = torch.cat([batch.confidences for batch in found])
    return _in_space(name, keypoints, confidences, held_out.cameras, chosen)


def mean_pose(name: str, held_out: HeldOut) -> Predicted:
    """Say in each view what is the mean of the labels, whatever the image shows."""
    pose = torch.from_numpy(held_out.mean_pose)
    keypoints = pose.expand(len(held_out.frames), *pose.shape)
    views = list(range(held_out.project.num_views))
    return _in_space(name, keypoints, None, held_out.cameras, views)


def _in_space(
    name: str,
    keypoints: torch.Tensor,
    confidences: torch.Tensor | None,
    cameras: Cameras,
    views: list[int],
) -> Predicted:
    points = triangulate_views(keypoints, cameras.select(views), confidences)
    reprojected = project_points(points, cameras)
    return Predicted(name, keypoints.numpy(), points.numpy(), reprojected.numpy())


class _Views:
    """The held-out frames as some of the cameras see them."""

    def __init__(self, held_out: HeldOut, views: list[int]) -> None:
        self._frames, self._views = held_out.frames, views

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Batch:
        frame = self._frames[index]
        return {
            "images": frame["images"][self._views],
            "affine": frame["affine"][self._views],
            "image_size": frame["image_size"],
            "index": frame["index"],
        }
