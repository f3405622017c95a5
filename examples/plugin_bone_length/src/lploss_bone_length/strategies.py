"""How the conformance kit draws examples; imported by nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

from lploss.testing import random_arrays


def keypoint_distances(shape: tuple[int, int, int]) -> SearchStrategy[Any]:
    """Return a strategy of the distances between keypoints that lie anywhere in 300 x 300 px."""
    num_frames, num_keypoints, _ = shape

    def distances(random: np.random.Generator) -> Any:
        points = random.uniform(0, 300, size=(num_frames, num_keypoints, 2))
        return np.linalg.norm(points[:, :, None] - points[:, None], axis=3)

    return random_arrays(distances)
