"""How the conformance kit draws the inputs that the built-in plugins describe.

Each function returns a Hypothesis strategy of arrays; an `InputSpec` names it. Imported by the
kit only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from lploss.testing import random_arrays
from lploss_builtin.ops.geometry import Cameras, project_points

Arrays = st.SearchStrategy[NDArray[np.floating]]

# A scene as small as it can be: all points lie in a ball of this radius, at the origin, and all
# cameras look there. The nearest one sees the ball 500 / sqrt(5^2 - 1^2) = 102 px around.
_RADIUS = 1.0
_DISTANCES = (5.0, 8.0)
_FOCAL_LENGTH = 500.0
_IMAGE_SIZE = 256.0


def keypoints(
    shape: tuple[int, ...],
    sizes: Mapping[str, int],
    intrinsics: NDArray[np.floating] | None = None,
    extrinsics: NDArray[np.floating] | None = None,
    distortions: NDArray[np.floating] | None = None,
) -> Arrays:
    """Draw points in an image; where there are cameras, what they see of points in space, nearly.

    Args:
        shape: ``(batch, two_x_num_keypoints)``, several views one after the other.
        sizes: of the axes.
        intrinsics: of the cameras.
        extrinsics: of the cameras.
        distortions: of the cameras.
    """

    def make(random: np.random.Generator) -> NDArray[np.floating]:
        points = random.uniform(0.0, _IMAGE_SIZE, size=shape)
        if intrinsics is None or extrinsics is None:
            return points
        num_views = intrinsics.shape[-3]
        per_view, rest = divmod(shape[-1], 2 * num_views)
        if rest:
            return points
        cameras = Cameras(
            torch.from_numpy(intrinsics),
            torch.from_numpy(extrinsics),
            None if distortions is None else torch.from_numpy(distortions),
        )
        there = torch.from_numpy(_in_ball(random, (shape[0], per_view, 3)))
        seen = project_points(there, cameras).numpy().reshape(shape)
        noise = random.normal(size=shape)
        return np.where(np.isfinite(seen), seen + noise, points)

    return random_arrays(make)


def keypoints_in_small_image(shape: tuple[int, ...]) -> Arrays:
    """Draw points in and near an image four times as large as the heatmaps of an example."""
    return random_arrays(lambda random: random.uniform(-4.0, 20.0, size=shape))


def points_in_space(shape: tuple[int, ...]) -> Arrays:
    """Draw points in a ball at the origin, where all cameras look."""
    return random_arrays(lambda random: _in_ball(random, shape))


def heatmaps(shape: tuple[int, ...]) -> Arrays:
    """Draw maps that sum to 1: peaks of all widths somewhere in or near the map, and noise."""
    batch, num_keypoints, height, width = shape

    def make(random: np.random.Generator) -> NDArray[np.floating]:
        ys, xs = np.mgrid[:height, :width]
        of_map = (batch, num_keypoints, 1, 1)
        x = random.uniform(-1.0, width, size=of_map)
        y = random.uniform(-1.0, height, size=of_map)
        precision = random.uniform(0.05, 2.0, size=of_map)
        logits = -precision * ((xs - x) ** 2 + (ys - y) ** 2) + 0.3 * random.normal(size=shape)
        # No pixel is so near zero that the slope of its logarithm says nothing.
        weights = np.exp(logits - logits.max(axis=(-2, -1), keepdims=True, initial=-np.inf)) + 1e-3
        return weights / weights.sum(axis=(-2, -1), keepdims=True)

    return random_arrays(make)


def confidences(shape: tuple[int, ...]) -> Arrays:
    """Draw numbers from 0 to 1."""
    return random_arrays(lambda random: random.uniform(size=shape).round(2))


def visibility(shape: tuple[int, ...]) -> Arrays:
    """Draw 0, 1 and 2."""
    return random_arrays(lambda random: random.integers(0, 3, size=shape).astype(float))


def intrinsics(shape: tuple[int, ...]) -> Arrays:
    """Draw camera matrices whose image holds the whole scene."""

    def make(random: np.random.Generator) -> NDArray[np.floating]:
        matrices = np.zeros(shape)
        focal_lengths = _FOCAL_LENGTH * random.uniform(0.9, 1.1, size=(*shape[:-2], 2))
        centres = _IMAGE_SIZE * random.uniform(0.45, 0.55, size=(*shape[:-2], 2))
        for axis in range(2):
            matrices[..., axis, axis] = focal_lengths[..., axis]
            matrices[..., axis, 2] = centres[..., axis]
        matrices[..., 2, 2] = 1.0
        return matrices

    return random_arrays(make)


def extrinsics(shape: tuple[int, ...]) -> Arrays:
    """Draw cameras all around the scene that look at it."""

    def make(random: np.random.Generator) -> NDArray[np.floating]:
        forward = _directions(random, shape[:-2])
        right = np.cross(forward, _directions(random, shape[:-2]))
        right /= np.linalg.norm(right, axis=-1, keepdims=True)
        down = np.cross(forward, right)
        rotations = np.stack([right, down, forward], axis=-2)
        translations = np.zeros((*shape[:-2], 3, 1))
        translations[..., 2, 0] = random.uniform(*_DISTANCES, size=shape[:-2])
        return np.concatenate([rotations, translations], axis=-1)

    return random_arrays(make)


def distortions(shape: tuple[int, ...]) -> Arrays:
    """Draw the coefficients of gentle lenses."""
    return random_arrays(lambda random: random.uniform(-0.02, 0.02, size=shape))


def bbox(shape: tuple[int, ...]) -> Arrays:
    """Draw x, y, height and width of crops in the original image."""

    def make(random: np.random.Generator) -> NDArray[np.floating]:
        crops = random.uniform(0.0, 0.25 * _IMAGE_SIZE, size=(*shape[:-1], shape[-1] // 4, 4))
        crops[..., 2:] += 0.5 * _IMAGE_SIZE
        return crops.reshape(shape).round()

    return random_arrays(make)


def image_size(shape: tuple[int, ...]) -> Arrays:
    """Draw height and width of a model's input image."""
    return random_arrays(lambda random: 8.0 * random.integers(2, 4, size=shape))


def _in_ball(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.floating]:
    radius = _RADIUS * np.cbrt(random.uniform(size=(*shape[:-1], 1)))
    return _directions(random, shape[:-1]) * radius


def _directions(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.floating]:
    vectors = random.normal(size=(*shape, 3))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
