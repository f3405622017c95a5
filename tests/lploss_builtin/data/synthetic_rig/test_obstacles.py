from __future__ import annotations

import numpy as np
import pytest

from lploss_builtin.data.synthetic_rig.obstacles import Box, Pillar, obstacles


def is_inside(obstacle, points):
    x, y = points[:, 0] - obstacle.x, points[:, 1] - obstacle.y
    is_high = (points[:, 2] >= 0) & (points[:, 2] <= obstacle.height)
    if isinstance(obstacle, Pillar):
        return is_high & (np.hypot(x, y) <= obstacle.radius)
    turned = (x + 1j * y) * np.exp(-1j * obstacle.angle)
    return (
        is_high
        & (abs(turned.real) <= obstacle.length / 2)
        & (abs(turned.imag) <= obstacle.width / 2)
    )


@pytest.mark.parametrize(
    "obstacle",
    [Pillar(3.0, -4.0, 20.0, 5.0), Box(3.0, -4.0, 20.0, 12.0, 6.0, 0.7)],
    ids=["pillar", "box"],
)
def test_rays_end_where_the_obstacle_begins(obstacle):
    rng = np.random.default_rng(1)
    origins = rng.normal(0.0, 1.0, (300, 3))
    origins *= 60.0 / np.linalg.norm(origins, axis=1, keepdims=True)
    origins[:, 2] = abs(origins[:, 2]) + 1.0
    targets = np.array([3.0, -4.0, 10.0]) + rng.normal(0.0, 7.0, (300, 3))
    directions = targets - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    came = obstacle.first_hit(origins.T, directions.T)
    distances = np.linspace(0.0, 120.0, 6001)
    num_hits = 0
    for origin, direction, hit in zip(origins, directions, came, strict=True):
        inside = is_inside(obstacle, origin + distances[:, None] * direction)
        if inside.any():
            num_hits += 1
            assert hit == pytest.approx(distances[inside.argmax()], abs=0.03)
            normal = obstacle.normals((origin + hit * direction)[:, None])[:, 0]
            assert np.linalg.norm(normal) == pytest.approx(1.0)
            assert normal @ direction < 0
        else:
            assert hit == np.inf or not inside[abs(distances - hit) < 1.0].any()
    assert num_hits > 80


def test_obstacles_move_a_little_from_session_to_session():
    one, other = obstacles(0, 0), obstacles(0, 1)
    assert one == obstacles(0, 0)
    shifts = [np.hypot(a.x - b.x, a.y - b.y) for a, b in zip(one, other, strict=True)]
    assert min(shifts) > 0
    assert max(shifts) < 30
