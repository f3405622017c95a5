from __future__ import annotations

import numpy as np
import pytest

from lploss_builtin.data.synthetic_rig.round_cones import first_hit, round_cones
from tests.lploss_builtin.data.synthetic_rig.balls import is_inside


def hit(origin, direction, start, end, start_radius, end_radius):
    direction = np.asarray(direction, dtype=float) / np.linalg.norm(direction)
    arrays = (np.array([values], dtype=float) for values in (origin, start, end))
    cones = round_cones(*arrays, np.array([start_radius]), np.array([end_radius]))
    return first_hit(cones, direction[:, None])[0]


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((0, 0, -10), (0, 0, 1), 8.0),  # the first ball, along the axis
        ((0, 0, 20), (0, 0, -1), 9.0),  # the second one
        ((0, 10, 5), (0, -1, 0), 8.5),  # the side: in the middle the radius is about 1.5
        ((0, 10, 5), (0, 1, 0), np.inf),  # away
        ((0, 10, -2.5), (0, -1, 0), np.inf),  # past the first ball
        ((0, 10, 10.9), (0, -1, 0), 10 - np.sqrt(1 - 0.9**2)),  # the cap of the second one
    ],
)
def test_hits_worked_by_hand(origin, direction, expected):
    came = hit(origin, direction, (0, 0, 0), (0, 0, 10), 2.0, 1.0)
    # The side of the hull is a little outside of the line between the radii.
    assert came == pytest.approx(expected, abs=0.02)


def test_rays_enter_where_the_first_ball_begins():
    rng = np.random.default_rng(0)
    num_hits = 0
    for _ in range(150):
        start, end = rng.normal(0.0, 4.0, (2, 3))
        largest = min(6.0, 0.9 * np.linalg.norm(end - start))
        radii = 1.0 + rng.uniform(0.0, 1.0, 2) * largest
        radii = np.clip(radii, None, radii.min() + largest)
        origin = rng.normal(0.0, 1.0, 3)
        origin *= 40.0 / np.linalg.norm(origin)
        direction = rng.normal(0.0, 4.0, 3) - origin
        direction /= np.linalg.norm(direction)
        distances = np.linspace(20.0, 60.0, 801)
        inside = is_inside(
            origin + distances[:, None] * direction, start, end, *radii, num_balls=150
        )
        came = hit(origin, direction, start, end, *radii)
        if inside.any():
            num_hits += 1
            assert came == pytest.approx(distances[inside.argmax()], abs=0.1)
        elif np.isfinite(came):
            # So short a way through it lies between the points.
            deeper = came + np.linspace(-0.05, 0.5, 200)
            points = origin + deeper[:, None] * direction
            assert is_inside(points, start, end, *(radii + 0.02), num_balls=2000).any()
    assert num_hits > 50
