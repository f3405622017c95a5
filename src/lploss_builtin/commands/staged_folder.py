"""An output folder that shows finished files only."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lploss.errors import ArgumentValueError


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write into; its files are moved to ``out`` when all went well.

    The files are written into a hidden folder inside ``out``, so that moving is renaming and
    ``out`` may be a mount point, or lie in a folder that is read-only. On any error, an interrupt
    included, that folder is removed and ``out`` stays as it was.

    Args:
        out: where the files go; made where it does not exist. Files of the same name are
            replaced, others stay.

    Yields:
        An empty folder.

    Raises:
        ArgumentValueError: ``out`` is a file, cannot be made or written to, or holds a folder
            where a file should go, or a file where a folder should.
    """
    if out.exists() and not out.is_dir():
        raise ArgumentValueError(f"the output folder {out} is a file; name a folder")
    path = out.absolute()
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        with _staging(out) as staging:
            yield staging
            move_files(staging, out)
    except BaseException:
        for folder in made:
            with suppress(OSError):  # others use it
                folder.rmdir()
        raise


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentValueError(
            f"the output folder {out} cannot be made: {error.strerror}"
        ) from error
    try:
        staging = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=out))
    except OSError as error:
        raise ArgumentValueError(
            f"the output folder {out} cannot be written to: {error.strerror}"
        ) from error
    try:
        yield staging
    finally:
        # Whoever may still write into it finds it no more.
        removed = staging.with_name(f"{staging.name}-removed")
        with suppress(OSError):
            staging.rename(removed)
        for folder in (staging, removed):
            shutil.rmtree(folder, ignore_errors=True)


def move_files(staging: Path, out: Path) -> None:
    """Move all files of a folder to another one, once it is sure that nothing is in the way.

    Args:
        staging: the folder.
        out: where its files and folders go, on the same file system.

    Raises:
        ArgumentValueError: a folder is where a file should go, or a file where a folder should.
    """
    files = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if not path.is_dir()]
    for file in files:
        for folder in file.parents:
            if (out / folder).exists() and not (out / folder).is_dir():
                raise _in_the_way(out / folder, "file", "folder")
        if (out / file).is_dir():
            raise _in_the_way(out / file, "folder", "file")
    for file in files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (staging / file).replace(out / file)


def _in_the_way(path: Path, came: str, expected: str) -> ArgumentValueError:
    return ArgumentValueError(
        f"{path} is a {came}, where a {expected} is to be written. Move it away, or name another "
        "output folder."
    )
