"""Files and folders that are written to: who may write, and what others see of it."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lploss.errors import ArgumentValueError, FolderInUseError
from lploss_builtin.data.dependencies import require

if TYPE_CHECKING:
    from filelock import FileLock

_LOCK, _HOLDER = ".lploss.lock", ".lploss.lock.json"
_GRACE_S = 20.0
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)

# The folders that each thread of this process holds.
_held: set[tuple[Path, int]] = set()


def write_text(path: Path, text: str) -> None:
    """Write a file that other processes never see half-written.

    Args:
        path: the file; it is replaced where it exists.
        text: its content.

    Raises:
        OSError: the file cannot be written; an existing one stays as it was.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_text(Path(folder) / "note.txt", "hello")
        ...     [path.name for path in Path(folder).iterdir()]
        ['note.txt']
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def lock_folder(folder: Path, task: str) -> Iterator[None]:
    """Keep other processes from writing to a folder, as long as they lock it, too.

    The operating system holds the lock, so it ends with its process, however that ends. A thread
    that holds a folder may lock it again. Where the file system has no locks, a warning says so.

    Args:
        folder: the folder. It is created where it does not exist, and removed at the end where
            nothing was written to it.
        task: what this process does with the folder, for the message that others get, such as
            ``"lploss train"``.

    Raises:
        FolderInUseError: another process holds the folder; the message says which.
        ArgumentValueError: the folder cannot be created or written to.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as out:
        ...     with lock_folder(Path(out) / "run", "lploss train"):
        ...         (Path(out) / "run").is_dir()
        ...     (Path(out) / "run").exists()
        True
        False
    """
    key = (folder.resolve(), threading.get_ident())
    if key in _held:
        yield
        return
    path = folder.absolute()
    created = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        lock = _acquired(folder)
        _held.add(key)
        try:
            if lock is not None:
                write_text(folder / _HOLDER, json.dumps(_this_process(task)) + "\n")
            yield
        finally:
            _held.discard(key)
            if lock is not None:
                # Before the lock is released: the next holder makes files of its own.
                for name in (_HOLDER, _LOCK):
                    with suppress(OSError):
                        (folder / name).unlink()
                lock.release()
    finally:
        for parent in created:
            with suppress(OSError):  # it is not empty
                parent.rmdir()


def _acquired(folder: Path) -> FileLock | None:
    """Return the lock of a folder; ``None`` where the file system has none."""
    path, filelock = folder / _LOCK, require("filelock", "train", "to lock a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            lock: FileLock = filelock.FileLock(path)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                if not _has_died(_holder(folder)):
                    raise
                # Processes that it has forked may hold the lock until they notice.
                lock.acquire(timeout=_GRACE_S)
            if path.exists():
                return lock
            # Its last holder removed the file after it was opened here.
            lock.release()
    except filelock.Timeout:
        raise _in_use(folder) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise ArgumentValueError(
                f"the folder {folder} cannot be written to: {error.strerror or error}"
            ) from error
        logging.getLogger(__name__).warning(
            "the file system of %s has no locks: make sure that no other process writes to it",
            folder,
        )
        return None


def _this_process(task: str) -> dict[str, object]:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"task": task, "pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(folder: Path) -> dict[str, object]:
    """Return what the holder of a folder has written about itself; nothing if it has not yet."""
    with suppress(OSError, ValueError):
        holder = json.loads((folder / _HOLDER).read_text(encoding="utf-8"))
        if isinstance(holder, dict):
            return holder
    return {}


def _has_died(holder: dict[str, object]) -> bool:
    pid = holder.get("pid")
    # On Windows a signal of 0 would end the process; it forks none either.
    if os.name == "nt" or holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _in_use(folder: Path) -> FolderInUseError:
    holder = _holder(folder)
    who = "another process"
    if {"task", "pid", "host", "since"} <= holder.keys():
        who = "{task}, process {pid} on {host}, since {since}".format_map(holder)
    return FolderInUseError(
        f"the folder {folder} is in use by {who}. Wait until that has ended, or name another "
        "folder."
    )
