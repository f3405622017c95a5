"""A folder that is there when it is complete, and once, whoever makes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from lploss.errors import ProcessError


@contextmanager
def complete_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``target`` when all went well.

    Whoever is killed meanwhile leaves no ``target``. Several may make the same one, as where a
    machine was taken for lost and is not: the first that is complete stays.

    Args:
        target: the folder to make; the one that it lies in must be there.

    Yields:
        An empty folder beside it.

    Raises:
        ProcessError: the folder that ``target`` lies in was removed: nobody waits for it any
            more. Nothing is left of either.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as out:
        ...     with complete_folder(Path(out) / "monday") as folder:
        ...         (Path(out) / "monday").exists()
        ...     (Path(out) / "monday").exists()
        False
        True
    """
    around = _identity(target.parent)
    place = target.with_name(f".{target.name}-{uuid4().hex}")
    try:
        if around is None:
            raise _given_up(target)
        place.mkdir()
        yield place
        if _identity(target.parent) != around:
            raise _given_up(target)
        try:
            place.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        # What writes a file may have made the folder anew for it.
        is_anew = _identity(target.parent) != around
        shutil.rmtree(target.parent if is_anew else place, ignore_errors=True)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _given_up(target: Path) -> ProcessError:
    return ProcessError(f"{target.parent} was removed while {target.name} was made for it")
