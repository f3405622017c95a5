"""The image files of the frames, written by several processes at once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from lploss.errors import ProcessError
from lploss_builtin.data.dependencies import require
from lploss_builtin.data.synthetic_rig.renderer import Shot, pictures

#: A shot, the folder of each view, and the number of its first frame.
Roll = tuple[Shot, tuple[Path, ...], int]

# Fewer frames are done before other processes have started.
_FRAMES_WORTH_A_PROCESS = 150
_COMPRESSION = 3


def frame_name(number: int) -> str:
    """Return the name of the image file of a frame.

    Example:
        >>> frame_name(7)
        'img00007.png'
    """
    return f"img{number:05d}.png"


def write_frames(
    rolls: Iterable[Roll],
    num_frames: int,
    num_workers: int | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Write the images of all frames; the files do not depend on the number of processes.

    Args:
        rolls: what to write; the folders must be there.
        num_frames: number of frames of all of them.
        num_workers: number of processes; ``None``: as many as there are cores and as is worth it.
            With 1 no process is started.
        progress: called with the number of frames written so far.

    Raises:
        ProcessError: a process ended before its images were written.
    """
    # Said before processes are started, rather than by one of them.
    require("PIL.Image", "train", "to write images")
    if num_workers is None:
        num_workers = min(num_cores(), max(1, num_frames // _FRAMES_WORTH_A_PROCESS))
    done = 0

    def note(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done)

    if num_workers == 1:
        for roll in rolls:
            note(_write(roll))
        return
    # A fork of a process that has threads, as torch's, may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as executor:
        try:
            for future in as_completed([executor.submit(_write, roll) for roll in rolls]):
                note(future.result())
        except BrokenProcessPool as error:
            raise ProcessError(
                "a process ended before the images that it was to write were there. A script must "
                'make the rig under `if __name__ == "__main__":`, or with num_workers=1.'
            ) from error
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def num_cores() -> int:
    """Return how many cores this process may use.

    Example:
        >>> num_cores() > 0
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write(roll: Roll) -> int:
    """Write the images of a shot, and return how many frames it has."""
    image = require("PIL.Image", "train", "to write images")
    shot, folders, first = roll
    number = first
    for number, views in enumerate(pictures(shot), start=first):
        for folder, picture in zip(folders, views, strict=True):
            path = folder / frame_name(number)
            image.fromarray(picture).save(path, compress_level=_COMPRESSION)
    return number - first + 1
