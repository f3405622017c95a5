"""Reads damaged files in a process of its own, so that a crash or a hang has a name.

Usage: python reading_worker.py SECONDS BYTES FILE...

For each file it prints a line when it starts to read and one with the outcome.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from lploss.config import load_config
from lploss.errors import LplossError
from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.data.findings import Findings
from lploss_builtin.data.frames.images import read_image, read_image_sizes
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.poses.reading import read_poses
from lploss_builtin.data.project.bounding_boxes import read_boxes
from lploss_builtin.data.project.label_files import read_labels
from lploss_builtin.models.building import load_weights
from lploss_builtin.predicting.find_recordings import listed_images


class Refused(Exception):
    """The reader reports what is wrong without raising an error."""


def _labels(path: Path) -> None:
    findings = Findings()
    if read_labels(path, findings) is None:
        raise Refused(findings.problems())


def _image(path: Path) -> None:
    [size] = read_image_sizes([path]).values()
    pixels = read_image(path, None, (8, 8))
    if isinstance(size, LplossError) or pixels.shape != (8, 8, 3):
        raise size if isinstance(size, LplossError) else AssertionError(pixels.shape)


def _video(path: Path) -> None:
    with FrameReader(frame_source(path)) as reader:
        reader.read(0, 1)


def _spin(path: Path) -> None:
    while True:
        pass


READERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(("predictions.csv", "table.h5", "fixed.h5", "sleap.h5"), read_poses),
    **dict.fromkeys(("predictions.parquet", "project.slp"), read_poses),
    "labels.csv": _labels,
    "boxes.csv": read_boxes,
    "images.csv": listed_images,
    "calibration.toml": read_calibration,
    "config.yaml": load_config,
    "image.png": _image,
    "image.jpg": _image,
    "video.mp4": _video,
    "model.ckpt": lambda path: load_weights(nn.Linear(2, 2), path),
    # Readers with faults, which the tests of this process use.
    "raises": lambda path: 1 / 0,
    "names no file": lambda path: load_config(["no mapping"]),  # type: ignore[arg-type]
    "aborts": lambda path: os.abort(),
    "exits": lambda path: os._exit(0),
    "spins": _spin,
    "sleeps": lambda path: time.sleep(1000),
    "fills memory": lambda path: np.ones(1 << 40),
    "reads": lambda path: path.read_bytes(),
}


def main(seconds: float, max_bytes: int, files: list[Path]) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    for path in files:
        print("START", path, flush=True)
        # Without a handler, the signal ends even a process that is busy outside Python.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        kind = path.name.partition("-")[2]
        try:
            READERS[kind](path)
            outcome = "read"
        except (LplossError, Refused) as error:
            is_named = str(path) in str(error)
            outcome = "refused" if is_named else f"the file is not named: {error}"
        except Exception as error:
            outcome = f"raised {type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("END", " ".join(outcome.split())[:300], flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
