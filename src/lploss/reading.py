"""What every reader of files shares: which files may be opened, and one boundary for errors."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lploss.errors import DataError, LplossError, first_line

_KINDS = (
    (stat.S_ISDIR, "is a folder, not a file"),
    (stat.S_ISFIFO, "is a pipe, not a file; write its content into a file first"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


def check_file(path: Path, what: str = "", error: type[LplossError] = DataError) -> None:
    """Check that a path leads to a regular file, without opening it.

    Opening a pipe waits for a writer, and reading a device may never end; links to them are
    refused as well.

    Args:
        path: the file.
        what: what the file is, for the message, such as ``"the video"``.
        error: the error to raise.

    Raises:
        LplossError: of the type ``error``, if there is no such file, or it is something else.

    Example:
        >>> check_file(Path("no-such-file.csv"), "the table")
        Traceback (most recent call last):
        lploss.errors.DataError: the table no-such-file.csv does not exist
    """
    name = f"{what} {path}".lstrip()
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as cause:
        raise error(
            f"{name}: its name is not valid Unicode, so that no table could name it. Rename it."
        ) from cause
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as cause:
        target = f": it is a link to {path.readlink()}" if path.is_symlink() else ""
        raise error(f"{name} does not exist{target}") from cause
    except (OSError, ValueError) as cause:  # ValueError: a NUL character in the path
        raise error(f"{name} cannot be read: {reason(cause)}") from cause
    for is_kind, message in _KINDS:
        if is_kind(mode):
            link = f" ({path.resolve()})" if path.is_symlink() else ""
            raise error(f"{name} {message}{link}")


@contextmanager
def reading(path: object, what: str = "", error: type[LplossError] = DataError) -> Iterator[None]:
    """Turn any exception that is raised while a file is read into one that names the file.

    Errors of lploss pass unchanged. What else the libraries raise for damaged files, they do not
    document, so everything is caught, except for `KeyboardInterrupt` and the like.

    Args:
        path: the file, for the message.
        what: what the file should be, such as ``"as Parquet"``.
        error: the error to raise.

    Raises:
        LplossError: of the type ``error``.

    Example:
        >>> with reading("walk.h5"):
        ...     raise KeyError("tracks")
        Traceback (most recent call last):
        lploss.errors.DataError: walk.h5 cannot be read: KeyError: 'tracks'. It may be damaged.
    """
    try:
        yield
    except LplossError:
        raise
    except OSError as cause:
        raise error(f"{path} cannot be read{_before(what)}: {reason(cause)}") from cause
    except Exception as cause:
        raise error(
            f"{path} cannot be read{_before(what)}: {first_line(cause)}. It may be damaged."
        ) from cause


def reason(error: Exception) -> str:
    """Return why the system refused a file, without its name, which the message has already."""
    return getattr(error, "strerror", None) or first_line(error)


def _before(what: str) -> str:
    return f" {what}" if what else ""
