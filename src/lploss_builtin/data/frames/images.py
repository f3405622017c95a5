"""Images: those in folders, their sizes, and their pixels, cropped and resized."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from lploss.errors import DataError
from lploss.reading import check_file, reading

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


# More threads than cores do not help: what they wait for is the decoder.
NUM_THREADS = min(16, (os.cpu_count() or 1) + 4)

# Of a box that was computed, its two edges may not add up to the very width of the image.
_TOLERANCE = 1e-3

#: Height and width, px.
ImageSize: TypeAlias = tuple[int, int]

_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image_sizes(paths: Iterable[Path]) -> dict[Path, ImageSize | DataError | None]:
    """Return height and width of images, from the first bytes of their files.

    Returns:
        For each path the size; an error where the file holds no image that can be used; ``None``
        where there is no file.
    """
    unique = list(dict.fromkeys(paths))
    if len(unique) <= NUM_THREADS:
        return {path: _size_or_error(path) for path in unique}
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return dict(zip(unique, pool.map(_size_or_error, unique), strict=True))


def read_image(
    path: Path, box: tuple[float, float, float, float] | None, image_size: ImageSize
) -> UInt8[np.ndarray, "height width 3"]:
    """Read an image in RGB, cropped and resized, with antialiasing where it gets smaller.

    Grey images get three equal channels, 16 bits become the upper 8, transparency is dropped.

    Args:
        path: the file.
        box: x, y, height and width of the crop, px, within the image; ``None``: the whole.
        image_size: height and width of the result, px.

    Returns:
        The pixels.

    Raises:
        DataError: the file is missing or damaged, or the box is not within the image.
    """
    check_file(path, "the image")
    with reading(f"the image {path}"), _opened(path, "the image ") as file:
        image = _in_8_bits(file)
    corners = None if box is None else _corners(path, box, image)
    height, width = image_size
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=corners)
    return np.array(resized.convert("RGB"))


def _size_or_error(path: Path) -> ImageSize | DataError | None:
    if not (path.exists() or path.is_symlink()):
        return None
    try:
        check_file(path)
        with reading(path), _opened(path) as file:
            return file.height, file.width
    except DataError as error:
        return error


def _opened(path: Path, what: str = "") -> Image.Image:
    try:
        file = Image.open(path)
    except UnidentifiedImageError as error:
        raise DataError(f"{what}{path} cannot be read: it holds no image") from error
    if file.mode == "F":
        file.close()
        raise DataError(
            f"{what}{path} cannot be read: its pixels are floating-point numbers, expected 8 or 16 "
            "bits a channel"
        )
    return file


def _in_8_bits(file: Image.Image) -> Image.Image:
    """Decode an image into a mode whose pixels can be mixed."""
    if file.mode in _16_BIT:
        return Image.fromarray((np.clip(np.asarray(file), 0, 65535) >> 8).astype(np.uint8))
    if file.mode in ("L", "RGB"):
        file.load()
        return file
    # A palette can hold transparent colours, which PIL converts in two steps only.
    return (file.convert("RGBA") if "transparency" in file.info else file).convert("RGB")


def _corners(
    path: Path, box: tuple[float, float, float, float], image: Image.Image
) -> tuple[float, float, float, float]:
    x, y, height, width = box
    corners = max(x, 0.0), max(y, 0.0), min(x + width, image.width), min(y + height, image.height)
    wanted = x, y, x + width, y + height
    if max(abs(a - b) for a, b in zip(corners, wanted, strict=True)) > _TOLERANCE:
        raise DataError(
            f"the image {path} has height {image.height} and width {image.width}, its box x {x:g}, "
            f"y {y:g}, height {height:g}, width {width:g} is not within"
        )
    return corners
