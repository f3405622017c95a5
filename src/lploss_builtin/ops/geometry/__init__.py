"""From the images of several calibrated cameras to points in space, and back.

All of it is computed in float64, whatever comes (in float32 on devices that have no float64), and
returned in the precision of the points, at least float32.
"""

from __future__ import annotations

from lploss_builtin.ops.geometry.cameras import Cameras
from lploss_builtin.ops.geometry.consistency import (
    left_one_out_error,
    pairwise_reprojection_error,
    reprojection_error,
)
from lploss_builtin.ops.geometry.distortion import (
    distort_points,
    undistort_points,
    undistorted_rays,
)
from lploss_builtin.ops.geometry.projection import project_points
from lploss_builtin.ops.geometry.triangulation import (
    camera_pairs,
    triangulate_pairs,
    triangulate_views,
)

__all__ = [
    "Cameras",
    "camera_pairs",
    "distort_points",
    "left_one_out_error",
    "pairwise_reprojection_error",
    "project_points",
    "reprojection_error",
    "triangulate_pairs",
    "triangulate_views",
    "undistort_points",
    "undistorted_rays",
]
