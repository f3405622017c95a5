"""A rig of the synthetic kind that is made in a second."""

from __future__ import annotations

from pathlib import Path

from lploss_builtin.data.rig.project import make_rig_project
from lploss_builtin.demo.measuring import HeldOut, read_held_out


def small_rig(folder: Path) -> HeldOut:
    """Return 3 held-out frames of 3 views, 12 keypoints each."""
    made = make_rig_project(
        folder, num_frames=4, num_views=3, image_size=(32, 32), num_test_frames=3
    )
    return read_held_out(made)
