"""Which of the things to predict are videos, and which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lploss_builtin.data.frames.drawn_videos import without_drawn
from lploss_builtin.data.frames.image_folders import folders_of_images, images_in, natural
from lploss_builtin.data.frames.video_recordings import is_video

_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Inputs:
    """What there is to predict.

    Attributes:
        images: folders of images and lists of images, as they were given.
        videos: the videos, those in folders included.
        notes: what was passed over.
    """

    images: tuple[Path, ...]
    videos: tuple[Path, ...]
    notes: tuple[str, ...]


def inputs_by_kind(paths: Sequence[Path]) -> Inputs:
    """Tell videos, and folders that hold videos, from all others.

    Videos in such a folder in which predicted keypoints are drawn are no videos to predict, unless
    they are named themselves.
    """
    images: list[Path] = []
    videos: list[Path] = []
    notes: list[str] = []
    for path in paths:
        if path.is_dir() and (found := _videos_in(path, _DEPTH, notes)):
            videos += found
            if folders := folders_of_images(path, _DEPTH):
                notes.append(
                    f"{path} holds videos: its images are passed over, the first in "
                    f"{next(iter(folders))}. Name their folder to predict them."
                )
        elif is_video(path.name) and not path.is_dir():
            videos.append(path)
        else:
            images.append(path)
    return Inputs(tuple(images), tuple(videos), tuple(notes))


def _videos_in(folder: Path, depth: int, notes: list[str]) -> list[Path]:
    entries = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    found = [path for path in entries if is_video(path.name) and path.is_file()]
    found, note = without_drawn(found)
    notes += [note] if note else []
    if not found and images_in(folder):
        return []
    if depth:
        for path in entries:
            if path.is_dir() and not path.name.startswith("."):
                found += _videos_in(path, depth - 1, notes)
    return found
