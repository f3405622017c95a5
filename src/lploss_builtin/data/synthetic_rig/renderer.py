"""Pictures of the animal in the scene: rays against its body, with a z-buffer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float32, Float64, Int64, UInt8

from lploss_builtin.data.synthetic_rig.animal import PARTS, Poses
from lploss_builtin.data.synthetic_rig.coat import Surface, coat
from lploss_builtin.data.synthetic_rig.round_cones import RoundCones, first_hit, round_cones
from lploss_builtin.data.synthetic_rig.scenery import SAMPLES, Scenery
from lploss_builtin.data.synthetic_rig.shadow import shadow

_START_RADII, _END_RADII = np.array([*PARTS.values()]).T
_NOISE = 0.014
_GAMMA = 1 / 1.5
# Perspective and the lens stretch what is off the axis.
_STRETCH = 1.35
_MARGIN = 1.5


@dataclass(frozen=True, slots=True)
class Shot:
    """All that is needed to take the pictures of some frames, in whatever process.

    Attributes:
        scenery: the empty scene.
        poses: of the animal.
        starts: where the cameras see the starts of its parts, px.
        ends: likewise.
        focal_lengths: of the cameras, px.
        key: seeds of the noise, with the number of the first frame at the end.
    """

    scenery: Scenery
    poses: Poses
    starts: Float64[np.ndarray, "frames views parts 2"]
    ends: Float64[np.ndarray, "frames views parts 2"]
    focal_lengths: Float64[np.ndarray, "views"]
    key: tuple[int, ...]


def pictures(shot: Shot) -> Iterator[UInt8[np.ndarray, "views height width 3"]]:
    """Yield the pictures of all cameras, frame by frame."""
    *key, first_frame = shot.key
    for frame in range(len(shot.poses.starts)):
        light = _light(shot, frame) * shot.scenery.sensors
        light = np.maximum(light, 0.0) ** np.float32(_GAMMA)
        rng = np.random.default_rng((*key, first_frame + frame))
        light += np.float32(_NOISE) * rng.standard_normal(light.shape, dtype=np.float32)
        bytes_ = (np.clip(light, 0.0, 1.0) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        yield rearrange(bytes_, "rgb views height width -> views height width rgb")


def _light(shot: Shot, frame: int) -> Float32[np.ndarray, "3 views height width"]:
    """Return the light that falls on the pixels in a frame."""
    scenery = shot.scenery
    views, (height, width) = len(scenery.centres), scenery.image_size
    samples, colours = _animal(shot, frame)
    shade = shadow(shot.poses.starts[frame], shot.poses.ends[frame], scenery.ground)
    shade = np.float32(1.0) - scenery.ground_share * shade
    columns = SAMPLES * width
    pixel = samples // (SAMPLES * columns) * width + samples % columns // SAMPLES
    behind = scenery.colours.reshape(3, -1)[:, samples] * shade.reshape(-1)[pixel]
    difference = (colours - behind) * np.float32(1 / SAMPLES**2)
    light = scenery.pixels * shade
    size = views * height * width
    for channel, change in zip(light.reshape(3, -1), difference, strict=True):
        channel += np.bincount(pixel, change, size).astype(np.float32)
    return light


class _Pairs(NamedTuple):
    """Samples of the pictures, each with a part of the body that may be seen there."""

    samples: Int64[np.ndarray, "pairs"]
    views: Int64[np.ndarray, "pairs"]
    parts: Int64[np.ndarray, "pairs"]


def _animal(
    shot: Shot, frame: int
) -> tuple[Int64[np.ndarray, "points"], Float32[np.ndarray, "3 points"]]:
    """Return the samples that show the animal, and its colours there."""
    scenery, poses = shot.scenery, shot.poses
    views, parts = len(scenery.centres), len(PARTS)
    starts, ends = poses.starts[frame], poses.ends[frame]
    pairs = _pairs(shot, frame)
    cones = round_cones(scenery.centres[:, None], starts, ends, _START_RADII, _END_RADII)
    number = pairs.views * parts + pairs.parts
    flat = RoundCones(
        *(
            values.reshape(*values.shape[:-2], views * parts)
            .astype(np.float32)
            .take(number, axis=-1)
            for values in cones
        )
    )
    rays = scenery.rays.reshape(3, -1).take(pairs.samples, axis=1)
    distances = first_hit(flat, rays)
    nearest = scenery.depths.reshape(-1).copy()
    np.minimum.at(nearest, pairs.samples, distances)
    front = np.flatnonzero(distances <= nearest[pairs.samples])
    front = front[np.isfinite(distances[front])]
    # Where two parts touch both are nearest: the last one counts.
    owners = np.full(nearest.shape, -1)
    owners[pairs.samples[front]] = front
    front = front[owners[pairs.samples[front]] == front]
    seen = RoundCones(*(values.take(front, axis=-1) for values in flat))
    colours = _shaded(
        seen, rays.take(front, axis=1), distances[front], pairs, front, poses, frame, scenery
    )
    return pairs.samples[front], colours


def _shaded(
    cones: RoundCones,
    rays: Float32[np.ndarray, "3 points"],
    distances: Float32[np.ndarray, "points"],
    pairs: _Pairs,
    chosen: Int64[np.ndarray, "points"],
    poses: Poses,
    frame: int,
    scenery: Scenery,
) -> Float32[np.ndarray, "3 points"]:
    """Return the colours of the body where rays meet it."""
    views, parts = pairs.views[chosen], pairs.parts[chosen]
    rises = (cones.axis * rays).sum(axis=0)
    at = cones.along - cones.radius * cones.taper + distances * rises
    share = np.clip(at / cones.slant, 0.0, 1.0)
    from_start = cones.offset + distances * rays
    normals = from_start - share * cones.axis
    normals = normals / np.sqrt((normals * normals).sum(axis=0))
    length = np.sqrt((cones.axis * cones.axis).sum(axis=0))
    along = (from_start * cones.axis).sum(axis=0) / length
    heading = poses.headings[frame]
    cos, sin = np.float32(np.cos(heading)), np.float32(np.sin(heading))
    heights = scenery.centres[:, 2].astype(np.float32)[views] + distances * rays[2]
    return coat(
        Surface(
            parts,
            share,
            along,
            heights,
            normals,
            np.abs(cos * normals[1] - sin * normals[0]),
            cos * normals[0] + sin * normals[1],
            -rays,
        )
    )


def _pairs(shot: Shot, frame: int) -> _Pairs:
    """Return the samples within the boxes round the parts of the body."""
    scenery, poses = shot.scenery, shot.poses
    height, width = (SAMPLES * size for size in scenery.image_size)
    low, high = np.full((2, 2, 1, 1), np.inf)
    high = -high
    for centres, at, radii in (
        (poses.starts, shot.starts, _START_RADII),
        (poses.ends, shot.ends, _END_RADII),
    ):
        distance = np.linalg.norm(centres[frame] - scenery.centres[:, None], axis=-1)
        reach = _STRETCH * shot.focal_lengths[:, None] * radii / (distance - radii) + _MARGIN
        middle = rearrange(at[frame], "views parts xy -> xy views parts")
        low, high = np.minimum(low, middle - reach), np.maximum(high, middle + reach)
    limits = np.array([width, height])[:, None, None]
    # A part that no camera can see lies nowhere.
    low, high = (np.nan_to_num(edge, nan=0.0) for edge in (low, high))
    first = np.clip(np.floor(SAMPLES * low), 0, limits).astype(np.int64).reshape(2, -1)
    last = np.clip(np.ceil(SAMPLES * high), 0, limits).astype(np.int64).reshape(2, -1)
    columns, rows = np.maximum(last - first, 0)
    counts = columns * rows
    box = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(box)) - (np.cumsum(counts) - counts)[box]
    row, column = np.divmod(within, columns[box])
    views, parts = np.divmod(box, len(PARTS))
    samples = (views * height + first[1][box] + row) * width + first[0][box] + column
    return _Pairs(samples, views, parts)
