"""Writing the calibration of a rig, as Anipose does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from lploss_builtin.ops.geometry import Cameras


def write_calibration(
    path: Path, cameras: Cameras, rotations: Float64[np.ndarray, "views 3"]
) -> None:
    """Write cameras to a TOML file; what is read from it again is the same to the last bit.

    Args:
        path: the file.
        cameras: with names, image sizes and distortions.
        rotations: of the cameras, as Rodrigues vectors.
    """
    sizes, names, distortions = cameras.image_sizes, cameras.names, cameras.distortions
    values = {
        "name": list(names or ()),
        "size": [[int(side) for side in size] for size in sizes or ()],
        "matrix": cameras.intrinsics.tolist(),
        "distortions": [] if distortions is None else distortions.tolist(),
        "rotation": rotations.tolist(),
        "translation": cameras.extrinsics[..., 3].tolist(),
    }
    lines: list[str] = []
    for number in range(cameras.num_views):
        lines.append(f"[cam_{number}]")
        # Texts, numbers and lists of them are written alike in JSON and in TOML.
        lines += [f"{key} = {json.dumps(entries[number])}" for key, entries in values.items()]
        lines.append("")
    lines += ["[metadata]", "adjusted = false", "error = 0.0"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
