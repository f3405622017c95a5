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

    On any error, an interrupt included, the folder is removed and ``out`` stays as it was.

    Args:
        out: where the files go; made where it does not exist. Files of the same name are
            replaced, others stay.

    Yields:
        An empty folder beside ``out``, so that moving is renaming.

    Raises:
        ArgumentValueError: ``out`` is a file, or no folder can be made there.
    """
    if out.exists() and not out.is_dir():
        raise ArgumentValueError(f"the output folder {out} is a file; name a folder")
    parents = [parent for parent in out.absolute().parents if not parent.exists()]
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    except OSError as error:
        raise ArgumentValueError(
            f"the output folder {out} cannot be made: {error.strerror}"
        ) from error
    try:
        yield staging
        for source in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = out / source.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in parents:
            with suppress(OSError):
                parent.rmdir()
        raise
    shutil.rmtree(staging, ignore_errors=True)
