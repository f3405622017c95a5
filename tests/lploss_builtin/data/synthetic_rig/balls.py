"""An oracle for round cones: many balls, and many points on a line."""

from __future__ import annotations

import numpy as np


def is_inside(points, start, end, start_radius, end_radius, num_balls=400):
    """Whether points are in the hull of two balls, as the union of the balls between them."""
    share = np.linspace(0.0, 1.0, num_balls)[:, None]
    centres = start + share * (end - start)
    radii = (start_radius + share * (end_radius - start_radius))[:, 0]
    distances = np.linalg.norm(points[:, None] - centres, axis=-1)
    return (distances <= radii).any(axis=1)
