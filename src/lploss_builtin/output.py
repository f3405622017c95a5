"""Output files and folders: complete or absent, written by one process at a time.

Everything is first written to a hidden folder `.unfinished-...` beside its place, and then renamed.
The process that writes holds a lock in that folder, so the next one that writes to the same place
recognises what a killed process has left: it removes files that were not finished, and completes a
set of files whose replacement had begun.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import filelock
from filelock import FileLock

from lploss.errors import (
    ArgumentValueError,
    DataError,
    FolderInUseError,
    ProcessError,
    first_line,
)

_LOCK, _HOLDER = ".lploss.lock", ".lploss.lock.json"
_GRACE_S = 20.0
_PREFIX, _REMOVED, _MOVES = ".unfinished-", "-removed", ".lploss.moves.json"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)

# The folders that each thread of this process holds.
_held: set[tuple[Path, int]] = set()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write a file to, which becomes ``path`` when the block ends without an error.

    Args:
        path: the file; it is replaced where it exists. Its folder must exist.

    Yields:
        A path of the same name in a hidden folder.

    Raises:
        OSError: the file cannot be written; an existing one stays as it was.
        DataError: a killed process has left files that are damaged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as out:
        ...     with whole_file(Path(out) / "note.txt") as path:
        ...         _ = path.write_text("hello")
        ...         (Path(out) / "note.txt").exists()
        ...     [path.name for path in Path(out).iterdir()]
        False
        ['note.txt']
    """
    with _unfinished(path.parent) as place:
        beside = place / path.name
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)


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
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``target`` when the block ends without an error.

    Several processes may make the same folder; the first one that is complete stays.

    Args:
        target: the folder to make. Its parent must exist.

    Yields:
        An empty folder beside it.

    Raises:
        ProcessError: the parent of ``target`` was removed in the meantime, as the process that
            waits for the folder does when it gives up. Neither is created again.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as out:
        ...     with whole_folder(Path(out) / "monday") as folder:
        ...         (Path(out) / "monday").exists()
        ...     (Path(out) / "monday").exists()
        False
        True
    """
    with _opened(target.parent) as parent:
        try:
            if not _is(target.parent, parent):
                raise _given_up(target)
            with _unfinished(target.parent) as place:
                folder = place / target.name
                folder.mkdir()
                yield folder
                if not _is(target.parent, parent):
                    raise _given_up(target)
                try:
                    folder.rename(target)
                except OSError:
                    if not target.is_dir():
                        raise
        finally:
            if not _is(target.parent, parent):
                # A library that writes a file may have created the folders again.
                for created in (target.parent, target.parent.parent):
                    with suppress(OSError):
                        created.rmdir()


@dataclass(frozen=True, slots=True)
class ReplacedFiles:
    """Files that are being written, to be moved to an output folder together.

    Attributes:
        folder: write them here.
        outdated: names of files in the output folder, relative to it, that are removed when the
            new ones appear.
    """

    folder: Path
    outdated: set[str] = field(default_factory=set)


@contextmanager
def replaced_files(out: Path, *, last: str | None = None) -> Iterator[ReplacedFiles]:
    """Give a folder to write into; its files are moved to ``out`` when the block ends.

    On any error, including an interrupt, ``out`` stays as it was. Old and new files never lie side
    by side: the files that are replaced are removed before the first new one appears. When the
    process is killed while the files are moved, some are missing, ``last`` among them, and the
    next process that writes to ``out`` moves the others.

    Args:
        out: where the files go. It is created where it does not exist. Files of the same name are
            replaced, others stay.
        last: the file that says that all are there, relative to ``out``: it is removed first and
            appears last.

    Yields:
        The folder to write into, and the files of ``out`` to remove.

    Raises:
        ArgumentValueError: ``out`` is a file, cannot be created or written to, or holds a folder
            where a file should go, or a file or a link where a folder should.
        DataError: a killed process has left files that are damaged.
    """
    if out.exists() and not out.is_dir():
        raise ArgumentValueError(f"the output folder {out} is a file; name a folder")
    path = out.absolute()
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentValueError(
                f"the output folder {out} cannot be made: {error.strerror}"
            ) from error
        with ExitStack() as stack:
            try:
                place = stack.enter_context(_unfinished(out))
            except OSError as error:
                raise ArgumentValueError(
                    f"the output folder {out} cannot be written to: {error.strerror}"
                ) from error
            staged = ReplacedFiles(place)
            yield staged
            files = [
                path.relative_to(place).as_posix()
                for path in sorted(place.rglob("*"))
                if path.is_symlink() or not path.is_dir()
            ]
            files = [file for file in files if file not in (_LOCK, last)]
            files += [last] if last is not None and (place / last).exists() else []
            move_files(place, out, files, staged.outdated.difference(files))
    except BaseException:
        for folder in created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def move_files(
    staging: Path, out: Path, files: Sequence[str], outdated: Collection[str] = ()
) -> None:
    """Move files to an output folder, so that a kill leaves no mixture of old and new files.

    What is to be moved is written down first. When the process is killed in between, `finish_moves`
    completes it.

    Args:
        staging: the folder with the files.
        out: where they go, on the same file system.
        files: names of the files, relative to both folders, in the order in which they appear.
            The last one says that all are there.
        outdated: names of files in ``out`` to remove.

    Raises:
        ArgumentValueError: a folder is where a file should go, or a file or a link where a folder
            should, or a file cannot be replaced.
    """
    _check_way(staging, out, files)
    journal = staging / f"{_MOVES}.part"
    journal.write_text(
        json.dumps({"files": list(files), "outdated": sorted(outdated)}), encoding="utf-8"
    )
    journal.replace(staging / _MOVES)
    finish_moves(staging, out)


def finish_moves(staging: Path, out: Path) -> bool:
    """Complete what `move_files` has begun in a process that was killed.

    Args:
        staging: the folder with the files that are left.
        out: where they go.

    Returns:
        Whether anything had been begun.

    Raises:
        DataError: what was written down is damaged, or names files outside of the folders.
        ArgumentValueError: see `move_files`.
    """
    moves = _read_moves(staging)
    if moves is None:
        return False
    files, outdated = moves
    _check_way(staging, out, [*files, *outdated])
    files = [file for file in files if os.path.lexists(staging / file)]
    try:
        for file in [*reversed(files), *outdated]:
            if not (out / file).is_dir():
                (out / file).unlink(missing_ok=True)
        for file in outdated:
            with suppress(OSError):  # it holds other files
                if "/" in file:
                    (out / file).parent.rmdir()
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (staging / file).replace(out / file)
    except OSError as error:
        raise ArgumentValueError(
            f"the files of {out} cannot be replaced: {error.strerror}"
            + (f" ({error.filename})" if error.filename else "")
            + ". Close the programs that use them and run the command again, which moves the "
            "files that are left."
        ) from error
    (staging / _MOVES).unlink()
    return True


def is_inside(name: object) -> bool:
    """Return whether a value is the relative name of a file that lies in a folder or below.

    Example:
        >>> [is_inside(name) for name in ("a.csv", "deep/a.csv", "../a.csv", "/a.csv", "", 3)]
        [True, True, False, False, False, False]
    """
    if not isinstance(name, str) or "\0" in name:
        return False
    path = Path(name)
    return bool(path.name) and not path.anchor and ".." not in path.parts


def _read_moves(staging: Path) -> tuple[list[str], list[str]] | None:
    path = staging / _MOVES
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files, outdated = content["files"], content["outdated"]
        are_lists = isinstance(files, list) and isinstance(outdated, list)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise _damaged(path, first_line(error)) from error
    if not are_lists:
        raise _damaged(path, "it holds no lists of files")
    for name in (*files, *outdated):
        if not is_inside(name):
            raise _damaged(path, f"{name!r} is not the name of a file in the folder")
    return files, outdated


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}, which lists files that are being replaced, is damaged ({why}). Nothing was "
        f"moved. Delete the folder {path.parent} and run the command again."
    )


def _check_way(staging: Path, out: Path, files: Sequence[str]) -> None:
    """Check that files can be moved without leaving the folders, and without replacing folders."""
    for file in map(Path, files):
        for folder in list(file.parents)[:-1]:
            if (out / folder).is_symlink() or (staging / folder).is_symlink():
                raise _in_the_way(out / folder, "link", "folder")
            if (out / folder).exists() and not (out / folder).is_dir():
                raise _in_the_way(out / folder, "file", "folder")
        if (out / file).is_dir() and not (out / file).is_symlink():
            raise _in_the_way(out / file, "folder", "file")


def _in_the_way(path: Path, came: str, expected: str) -> ArgumentValueError:
    return ArgumentValueError(
        f"{path} is a {came}, where a {expected} is to be written. Move it away, or name another "
        "output folder."
    )


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Give a hidden folder in ``folder``, for files that are not finished; removed at the end.

    Before that, leftovers of killed processes are removed or completed.
    """
    _settle_leftovers(folder)
    while True:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        with suppress(filelock.Timeout, FileNotFoundError):
            # Otherwise another process took it for a leftover before it was locked.
            lock = _locked(place)
            break
    try:
        yield place
    finally:
        if not (place / _MOVES).exists():  # which the next process completes
            _remove(place)
        if lock is not None:
            lock.release()


def _settle_leftovers(folder: Path) -> None:
    for place in folder.glob(f"{_PREFIX}*"):
        if place.is_symlink() or not place.is_dir():
            continue
        if place.name.endswith(_REMOVED):
            shutil.rmtree(place, ignore_errors=True)
            continue
        with suppress(OSError):
            if not (place / _LOCK).exists():
                place.rmdir()  # killed before it was locked; not where anything is in it
                continue
        try:
            lock = _locked(place)
        except (filelock.Timeout, OSError):
            continue
        if lock is None:  # who owns it cannot be known
            continue
        try:
            finish_moves(place, folder)
            _remove(place)
        finally:
            lock.release()


def _locked(place: Path) -> FileLock | None:
    """Lock an unfinished folder, without waiting; ``None`` where the file system has no locks."""
    lock = file_lock(place / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        return None
    if not (place / _LOCK).exists():
        lock.release()
        raise FileNotFoundError(place)
    return lock


def _remove(place: Path) -> None:
    # Under another name: a process that still writes into it then fails.
    removed = place.with_name(f"{place.name}{_REMOVED}")
    with suppress(OSError):
        place.rename(removed)
    for folder in (place, removed):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Hold a folder, to tell it from another one of its name; ``None`` where that cannot be."""
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
    """Return whether a folder exists, and is the one that was opened."""
    if opened is None:
        return folder.is_dir()
    try:
        return os.path.samestat(folder.stat(), os.fstat(opened))
    except OSError:
        return False


def _given_up(target: Path) -> ProcessError:
    return ProcessError(f"{target.parent} was removed while {target.name} was made for it")


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


def file_lock(path: Path) -> FileLock:
    """Return the lock of a file, not acquired yet.

    Raises:
        OSError: the file is a link. Locking would empty the file that it leads to.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, f"{path.name} is a link", str(path))
    return FileLock(path)


def _acquired(folder: Path) -> FileLock | None:
    """Return the lock of a folder; ``None`` where the file system has none."""
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            lock = file_lock(path)
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
