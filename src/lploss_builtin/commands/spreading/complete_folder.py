"""A folder that is there when it is complete, and once, whoever makes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    place = target.with_name(f".{target.name}-{uuid4().hex}")
    with _opened(target.parent) as around:
        try:
            if not _is(target.parent, around):
                raise _given_up(target)
            place.mkdir()
            yield place
            if not _is(target.parent, around):
                raise _given_up(target)
            try:
                place.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(place, ignore_errors=True)
            if not _is(target.parent, around):
                # What writes a file may have made the folders anew for it.
                for folder in (target.parent, target.parent.parent):
                    with suppress(OSError):
                        folder.rmdir()


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Hold a folder, so that no other one can be taken for it; ``None`` where that cannot be."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except OSError:
        yield None
        return
    try:
        yield opened
    finally:
        os.close(opened)


def _is(folder: Path, opened: int | None) -> bool:
    """Return whether a folder is there, and is the one that was opened."""
    if opened is None:
        return folder.is_dir()
    try:
        return os.path.samestat(folder.stat(), os.fstat(opened))
    except OSError:
        return False


def _given_up(target: Path) -> ProcessError:
    return ProcessError(f"{target.parent} was removed while {target.name} was made for it")
