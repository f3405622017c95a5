"""Small labelled projects for tests, with images whose pixels tell where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from PIL import Image

from lploss.config import load_config
from tests.lploss_builtin.data.keypoint_tables import csv_text

NAMES = ("nose", "tail")
HEIGHT, WIDTH = 48, 64

CAMERA = """
[cam_{number}]
name = "{name}"
size = [{width}, {height}]
matrix = [[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]]
distortions = {distortions}
rotation = [0.0, 0.0, 0.0]
translation = [{number}.0, 0.0, 9.0]
"""


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return an image: red grows along x, green along y, blue is its number."""
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x, 4 * y, np.full_like(x, number)], axis=-1).astype(np.uint8)


def write_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def calibration(
    names: Sequence[str],
    size: tuple[int, int] = (WIDTH, HEIGHT),
    distortions: Sequence[float] = (0.1, 0.0, 0.0, 0.0, 0.0),
) -> str:
    width, height = size
    return "".join(
        CAMERA.format(
            number=number, name=name, width=width, height=height, distortions=list(distortions)
        )
        for number, name in enumerate(names)
    )


def image_names(view: str, sessions: Sequence[str], frames: int) -> list[str]:
    return [
        f"labeled-data/{session}_{view}/img{frame:02d}.png"
        for session in sessions
        for frame in range(frames)
    ]


def write_project(
    folder: Path,
    views: Sequence[str] = ("left", "right"),
    sessions: Sequence[str] = ("mo", "tu"),
    frames: int = 3,
    calibrated: bool = True,
) -> DictConfig:
    """Write a project of several views; return its config.

    Keypoint k of frame f in view v lies at x = 10 v + 5 k + f, y = 20 + f.
    """
    for v, view in enumerate(views):
        images = image_names(view, sessions, frames)
        rows = []
        for f, image in enumerate(images):
            write_image(folder / image, picture(10 * v + f))
            rows.append(f"{image},{10 * v + f},{20 + f},2,{10 * v + 5 + f},{20 + f},1")
        write_labels(folder, view, rows)
    if calibrated:
        for session in sessions:
            # The order of the cameras is not that of the views.
            write_text(folder / "calibrations" / f"{session}.toml", calibration(views[::-1]))
    return config_of(views)


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_labels(
    folder: Path, view: str, rows: Sequence[str], names: Sequence[str] = NAMES, coords: str = "xyv"
) -> Path:
    return write_text(folder / f"CollectedData_{view}.csv", csv_text(rows, names, coords))


def write_boxes(folder: Path, view: str, boxes: Mapping[str, Sequence[Any]]) -> Path:
    rows = [f"{image},{','.join(map(str, box))}" for image, box in boxes.items()]
    return write_text(folder / f"bboxes_{view}.csv", "\n".join([",x,y,h,w", *rows]) + "\n")


def config_of(views: Sequence[str], **data: Any) -> DictConfig:
    section = {
        "csv_file": [f"CollectedData_{view}.csv" for view in views],
        "view_names": list(views),
        "num_keypoints": len(NAMES),
        "keypoint_names": list(NAMES),
        **data,
    }
    return load_config({"data": section})
