"""From the images of several calibrated cameras to points in space, and back.

All of it is computed in float64, whatever comes (in float32 on devices that have no float64), and
returned in the precision of the points, at least float32.
"""

from __future__ import annotations

from lploss_builtin.ops.geometry.cameras import Cameras as Cameras
from lploss_builtin.ops.geometry.distortion import distort_points as distort_points
from lploss_builtin.ops.geometry.distortion import undistort_points as undistort_points
from lploss_builtin.ops.geometry.projection import project_points as project_points
from lploss_builtin.ops.geometry.triangulation import camera_pairs as camera_pairs
from lploss_builtin.ops.geometry.triangulation import triangulate_pairs as triangulate_pairs
from lploss_builtin.ops.geometry.triangulation import triangulate_views as triangulate_views
