"""Keypoints in space, from predictions in several calibrated views."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_views


class PointsInSpace(NamedTuple):
    """Where keypoints are in space.

    Attributes:
        points: in the unit of the calibration; NaN where nothing is known.
        errors: how far the predictions are from there, mean of the views, px.
    """

    points: Float64[Tensor, "frames num_keypoints 3"]
    errors: Float64[Tensor, "frames num_keypoints"]


def points_in_space(
    keypoints: Float64[Tensor, "frames views num_keypoints 2"],
    confidences: Float64[Tensor, "frames views num_keypoints"],
    sessions: Sequence[str],
    cameras: Mapping[str, Cameras],
) -> PointsInSpace:
    """Return where all views together put the keypoints, each weighted by its confidence.

    Args:
        keypoints: px in the images of the cameras.
        confidences: 0 to 1; of a model that cannot tell, whose are NaN, all views count alike.
        sessions: session of each frame.
        cameras: those of each session that is calibrated.

    Example:
        >>> pinhole = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> poses = torch.eye(3, 4).repeat(2, 1, 1)
        >>> poses[1, 0, 3] = -1.0
        >>> cameras = Cameras(pinhole.expand(2, 3, 3), poses).to(torch.float64)
        >>> keypoints = torch.tensor([[[[320.0, 240.0]], [[220.0, 240.0]]]]).double()
        >>> found = points_in_space(keypoints, torch.ones(1, 2, 1).double(), ["a"], {"a": cameras})
        >>> found.points.round(decimals=3).abs()
        tensor([[[0., 0., 5.]]], dtype=torch.float64)
    """
    frames, _, num_keypoints, _ = keypoints.shape
    points = keypoints.new_full((frames, num_keypoints, 3), math.nan)
    errors = keypoints.new_full((frames, num_keypoints), math.nan)
    cannot_tell = confidences.isnan() & keypoints.isfinite().all(dim=-1)
    weights = torch.where(cannot_tell, 1.0, confidences)
    for session in dict.fromkeys(sessions):
        if session not in cameras:
            continue
        own = torch.tensor([other == session for other in sessions])
        found = triangulate_views(keypoints[own], cameras[session], weights[own])
        seen = project_points(found, cameras[session])
        distances = torch.linalg.vector_norm(seen - keypoints[own], dim=-1)
        points[own], errors[own] = found, distances.nanmean(dim=1)
    return PointsInSpace(points, errors)
