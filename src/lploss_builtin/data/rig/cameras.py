"""The cameras round the scene, and what each of their pixels looks at."""

from __future__ import annotations

import math

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64

from lploss_builtin.ops.geometry import Cameras, undistorted_rays

#: Each camera: its azimuth and its elevation seen from the middle of the scene, degrees.
_PLACES = {
    "left": (97.0, 31.0),
    "right": (-78.0, 34.0),
    "top": (205.0, 63.0),
    "front": (8.0, 27.0),
    "back": (184.0, 38.0),
    "corner": (52.0, 50.0),
}
VIEW_NAMES = tuple(_PLACES)

_DISTANCE = 420.0
_TARGET = np.array([0.0, 0.0, 22.0])
# Of the length that the smaller side of an image spans.
_FOCAL_LENGTH = 1.58
# What fits into the cache is undistorted several times as fast.
_POINTS_AT_ONCE = 1024
_DISTORTION = np.array([-0.44, 0.2, 0.0, 0.0, -0.04])
_DISTORTION_SPREAD = np.array([0.03, 0.02, 0.004, 0.004, 0.004])


def rig_cameras(
    num_views: int, image_size: tuple[int, int], seed: int, session: int
) -> tuple[Cameras, Float64[np.ndarray, "views 3"]]:
    """Return the cameras of a session, and their rotations as Rodrigues vectors.

    The lenses are the same in all sessions; where the cameras stand differs a little.

    Example:
        >>> rig_cameras(2, (96, 128), 0, 0)[0].names
        ('left', 'right')
    """
    height, width = image_size
    matrices, rotations, translations, distortions = [], [], [], []
    for view, (azimuth, elevation) in enumerate(list(_PLACES.values())[:num_views]):
        of_lens = np.random.default_rng((seed, 1, view))
        of_place = np.random.default_rng((seed, 2, session, view))
        focal = _FOCAL_LENGTH * min(height, width) * of_lens.uniform(0.98, 1.02)
        centre = 0.5 * np.array([width - 1, height - 1]) + of_lens.uniform(-0.015, 0.015, 2) * focal
        aspect = of_lens.uniform(0.99, 1.01)
        matrices.append(
            [[focal, 0.0, centre[0]], [0.0, focal * aspect, centre[1]], [0.0, 0.0, 1.0]]
        )
        distortions.append(_DISTORTION + _DISTORTION_SPREAD * of_lens.uniform(-1.0, 1.0, 5))
        angles = np.radians(np.array([azimuth, elevation]) + of_place.uniform(-2.5, 2.5, 2))
        away = np.array(
            [
                math.cos(angles[1]) * math.cos(angles[0]),
                math.cos(angles[1]) * math.sin(angles[0]),
                math.sin(angles[1]),
            ]
        )
        place = _TARGET + _DISTANCE * of_place.uniform(0.97, 1.03) * away
        target = _TARGET + of_place.uniform(-5.0, 5.0, 3)
        rotation = _looking_at(place, target, of_place.uniform(-0.05, 0.05))
        rotations.append(_rodrigues_vector(rotation))
        translations.append(-rotation @ place)
    cameras = Cameras.from_opencv(
        matrices,
        rotations,
        translations,
        distortions,
        image_sizes=[(width, height)] * num_views,
        names=VIEW_NAMES[:num_views],
    )
    return cameras, np.array(rotations)


def camera_centres(cameras: Cameras) -> Float64[np.ndarray, "views 3"]:
    """Return where the cameras stand in the world.

    Example:
        >>> poses = torch.tensor([[[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 9.0]]])
        >>> camera_centres(Cameras(torch.eye(3)[None], poses.double()))
        array([[-0., -0., -9.]])
    """
    extrinsics = cameras.extrinsics.numpy()
    return -np.einsum("vji,vj->vi", extrinsics[..., :3], extrinsics[..., 3])


def pixel_rays(
    cameras: Cameras, image_size: tuple[int, int]
) -> Float64[np.ndarray, "views height width 3"]:
    """Return the viewing directions of all pixels in the world, of unit length.

    Args:
        cameras: the cameras.
        image_size: height and width, px.

    Example:
        >>> matrix = torch.tensor([[[50.0, 0, 0], [0, 50.0, 0], [0, 0, 1]]], dtype=torch.float64)
        >>> cameras = Cameras(matrix, torch.eye(3, 4, dtype=torch.float64)[None])
        >>> pixel_rays(cameras, (1, 1))
        array([[[[0., 0., 1.]]]])
    """
    height, width = image_size
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    points = torch.stack([columns, rows], dim=-1).reshape(-1, 2)
    directions = torch.cat(
        [
            undistorted_rays(piece.expand(1, cameras.num_views, -1, 2), cameras).directions
            for piece in points.tensor_split(1 + len(points) // _POINTS_AT_ONCE)
        ],
        dim=-1,
    )
    rays = rearrange(directions.numpy(), "xy 1 views (h w) -> views h w xy", h=height)
    rays = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
    rays = np.einsum("vji,vhwj->vhwi", cameras.extrinsics.numpy()[..., :3], rays)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _looking_at(
    place: Float64[np.ndarray, "3"], target: Float64[np.ndarray, "3"], roll: float
) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation from the world to a camera: right, down, forward."""
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = math.cos(roll), math.sin(roll)
    return np.stack([cos * right + sin * down, cos * down - sin * right, forward])


def _rodrigues_vector(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3"]:
    from kornia.geometry.conversions import rotation_matrix_to_axis_angle

    vector: Float64[np.ndarray, "1 3"] = rotation_matrix_to_axis_angle(
        torch.from_numpy(rotation)[None]
    ).numpy()
    return vector[0]
