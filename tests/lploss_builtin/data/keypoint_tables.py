"""Small keypoint files for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from lploss_builtin.data.poses.reading import read_poses
from lploss_builtin.data.poses.table import PoseTable


def csv_text(
    rows: Sequence[str], names: Sequence[str] = ("nose", "tail"), coords: str = "xy"
) -> str:
    """Return a CSV with three header rows; ``coords`` in short: x, y, l(ikelihood), v(isible)."""
    full = {"x": "x", "y": "y", "l": "likelihood", "v": "visible"}
    keys = [full[coord] for coord in coords]
    header = [
        ["scorer", *["rick"] * (len(names) * len(keys))],
        ["bodyparts", *[name for name in names for _ in keys]],
        ["coords", *keys * len(names)],
    ]
    return "\n".join([*(",".join(row) for row in header), *rows]) + "\n"


def frame_of(
    values: np.ndarray,
    names: Sequence[str],
    coords: Sequence[str] = ("x", "y"),
    index: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Return a table as DeepLabCut makes it; values of axes (frames, keypoints, coords)."""
    columns = pd.MultiIndex.from_product(
        [["rick"], names, coords], names=["scorer", "bodyparts", "coords"]
    )
    return pd.DataFrame(values.reshape(len(values), len(columns)), columns=columns, index=index)


def write_predictions(
    path: Path,
    keypoints: np.ndarray,
    names: Sequence[str],
    index: Sequence[object] | None = None,
    likelihood: float | None = 1.0,
) -> Path:
    """Write keypoints of axes (frames, keypoints, 2) by the suffix of the path."""
    coords: tuple[str, ...] = ("x", "y")
    values = keypoints
    if likelihood is not None:
        values = np.concatenate([keypoints, np.full((*keypoints.shape[:2], 1), likelihood)], axis=2)
        coords = ("x", "y", "likelihood")
    table = frame_of(values, names, coords, index)
    if path.suffix == ".csv":
        table.to_csv(path)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_hdf(path, key="df_with_missing", format="table", mode="w")
    return path


def pose_table(
    keypoints: np.ndarray,
    names: Sequence[str],
    frames: np.ndarray | None = None,
    confidences: np.ndarray | None = None,
    path: str = "f",
) -> PoseTable:
    """Return a table of one individual; keypoints in rows ``x0 y0 x1 y1 ...``."""
    return PoseTable(
        points=keypoints.reshape(len(keypoints), 1, -1, 2),
        confidences=None if confidences is None else confidences[:, None],
        visibility=None,
        frames=np.arange(len(keypoints)) if frames is None else frames,
        individuals=("",),
        keypoints=tuple(names),
        path=Path(path),
    )


def read_keypoints(files: object) -> SimpleNamespace:
    """Read the poses of a single individual, without the axis of individuals."""
    table = read_poses(files)
    assert table.individuals == ("",)
    return SimpleNamespace(
        path=table.path,
        keypoint_names=table.keypoints,
        frames=table.frames,
        keypoints=table.rows,
        confidences=None if table.confidences is None else table.confidences[:, 0],
        notes=table.notes,
    )
