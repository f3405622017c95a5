from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lploss_builtin.data.rig.capsules import first_hits, normals, pillars


def distances_to_segment(points, start, end):
    """Distances of points to a segment, by the nearest of many points on it."""
    nodes = start + np.linspace(0.0, 1.0, 400)[:, None] * (end - start)
    return cKDTree(nodes).query(points)[0]


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((0, 0, -10), (0, 0, 1), 8.0),  # the first ball, along the axis
        ((0, 0, 20), (0, 0, -1), 8.0),  # the second one
        ((0, 10, 5), (0, -1, 0), 8.0),  # the side
        ((0, 10, 5), (0, 1, 0), np.inf),  # away from it
        ((0, 10, -2.5), (0, -1, 0), np.inf),  # past the first ball
        ((0, 10, 11), (0, -1, 0), 10 - np.sqrt(2**2 - 1)),  # the cap of the second one
        ((2.1, 0, -10), (0, 0, 1), np.inf),  # along the side, outside
        ((1.0, 0, -10), (0, 0, 1), 10 - np.sqrt(2**2 - 1)),  # along the side, inside
    ],
)
def test_hits_worked_by_hand(origin, direction, expected):
    hit = first_hits(
        *(np.array(v, dtype=float) for v in (origin, direction, (0, 0, 0), (0, 0, 10))), 2.0
    )
    assert hit == pytest.approx(expected)


def test_rays_end_where_the_capsule_begins():
    rng = np.random.default_rng(1)
    start, end, radius = np.array([3.0, -4.0, 2.0]), np.array([9.0, 1.0, 20.0]), 5.0
    origins = rng.normal(0.0, 1.0, (200, 3))
    origins *= 60.0 / np.linalg.norm(origins, axis=1, keepdims=True)
    targets = np.array([5.0, -1.0, 10.0]) + rng.normal(0.0, 9.0, (200, 3))
    directions = targets - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hits = first_hits(origins, directions, start, end, radius)
    steps = np.linspace(0.0, 120.0, 1201)
    for origin, direction, hit in zip(origins, directions, hits, strict=True):
        away = distances_to_segment(origin + steps[:, None] * direction, start, end)
        if np.isinf(hit):
            assert away.min() > radius - 0.01
            continue
        point = (origin + hit * direction)[None]
        assert distances_to_segment(point, start, end)[0] == pytest.approx(radius, abs=0.01)
        assert (away[steps < hit] > radius - 0.01).all()
        (normal,) = normals(point, start, end)
        assert np.linalg.norm(normal) == pytest.approx(1.0)
        assert normal @ direction < 0
    assert 50 < np.isfinite(hits).sum() < 150


def test_pillars_stand_on_the_ground_and_move_by_up_to_4_degrees_between_sessions():
    first = pillars(0, 0)
    np.testing.assert_array_equal(first.starts, pillars(0, 0).starts)
    np.testing.assert_array_equal(first.starts[:, :2], first.ends[:, :2])
    tops = first.ends[:, 2] + first.radii
    np.testing.assert_allclose(tops, [134, 152, 132, 160, 200, 98, 94, 74, 110])
    x, y, z = np.stack([pillars(0, session).starts for session in range(60)], axis=-1).swapaxes(
        0, 1
    )
    assert (z == 0).all()
    distances = np.array([192, 192, 192, 192, 194, 204, 204, 206, 204])[:, None]
    np.testing.assert_allclose(np.hypot(x, y), np.broadcast_to(distances, x.shape))
    azimuths = np.radians([88, -86, 16, 200, 60, 112, -64, -10, 165])[:, None]
    offsets = np.degrees(np.angle(np.exp(1j * (np.arctan2(y, x) - azimuths))))
    assert np.abs(offsets).max() <= 4
    assert (offsets.min(axis=1) < -3).all()
    assert (offsets.max(axis=1) > 3).all()
