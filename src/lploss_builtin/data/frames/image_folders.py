"""The images in a folder, or in the folders that it holds."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: How the names of images end.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jp2", ".tif", ".tiff"),
    *(".bmp", ".gif", ".webp", ".pbm", ".pgm", ".pnm", ".ppm"),
)


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its name; hidden files are none.

    Example:
        >>> is_image("img07.PNG"), is_image("._img07.png"), is_image("notes.txt")
        (True, False, False)
    """
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not Path(name).name.startswith(".")


def natural(name: str) -> list[str | int]:
    """Return a key that sorts names by the numbers in them.

    Example:
        >>> sorted(["img10.png", "img9.png"], key=natural)
        ['img9.png', 'img10.png']
    """
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def images_in(folder: Path) -> tuple[str, ...]:
    """Return the names of the images in a folder, in natural order."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if is_image(entry.name))
    # Of img1 and img01 the same comes first in the folders of all views.
    return tuple(sorted(names, key=natural))


def folders_of_images(folder: Path, depth: int = 1) -> dict[Path, tuple[str, ...]]:
    """Return the folder with its images; where it holds none, those folders in it that do.

    Args:
        folder: where to look; hidden folders in it are passed over.
        depth: how many folders below each other are looked into.
    """
    if images := images_in(folder):
        return {folder: images}
    found: dict[Path, tuple[str, ...]] = {}
    if depth:
        for path in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
            if path.is_dir() and not path.name.startswith("."):
                found |= folders_of_images(path, depth - 1)
    return found
