from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import pytest

from lploss.errors import ArgumentValueError, FolderInUseError
from lploss_builtin.output import lock_folder, write_text

HOLDS = """
import os, sys, time
from pathlib import Path
from lploss_builtin.output import lock_folder

with lock_folder(Path(sys.argv[1]), "lploss train"):
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    print("holds", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder, *arguments):
    """Another process that holds a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_folder_that_another_process_holds(tmp_path):
    with holder(tmp_path) as process:
        with pytest.raises(FolderInUseError) as caught, lock_folder(tmp_path, "lploss train"):
            pass
        assert re.fullmatch(
            re.escape(
                f"the folder {tmp_path} is in use by lploss train, process {process.pid} on "
                f"{socket.gethostname()}, since "
            )
            + r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d\. "
            r"Wait until that has ended, or name another folder\.",
            str(caught.value),
        )
        process.stdin.close()
        process.wait(30)
        with lock_folder(tmp_path, "lploss train"):
            holder_now = json.loads((tmp_path / ".lploss.lock.json").read_text())
        assert holder_now["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("forks", [(), ("forks",)])
def test_a_killed_process_holds_nothing(tmp_path, forks):
    """Not for long either where processes that it has forked, such as data loaders, outlive it."""
    with holder(tmp_path, *forks) as process:
        process.kill()
        process.wait(30)
        assert (tmp_path / ".lploss.lock.json").exists()
        with lock_folder(tmp_path, "lploss train"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_holder_may_lock_it_again(tmp_path):
    with lock_folder(tmp_path, "lploss train"):
        with lock_folder(tmp_path / ".." / tmp_path.name, "lploss predict"):
            pass
        assert json.loads((tmp_path / ".lploss.lock.json").read_text())["task"] == "lploss train"


@pytest.mark.parametrize("written", [False, True])
def test_a_folder_that_nothing_was_written_to_is_not_left(tmp_path, written):
    folder = tmp_path / "runs" / "monday"
    with lock_folder(folder, "lploss train"):
        if written:
            (folder / "config.yaml").touch()
    assert [path.name for path in tmp_path.rglob("*")] == (
        ["runs", "monday", "config.yaml"] if written else []
    )


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    message = f"the folder {tmp_path / 'file' / 'run'} cannot be written to: Not a directory"
    with (
        pytest.raises(ArgumentValueError, match=f"^{re.escape(message)}$"),
        lock_folder(tmp_path / "file" / "run", "lploss train"),
    ):
        pass


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks"), NotImplementedError("none")])
def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with caplog.at_level(logging.WARNING), lock_folder(tmp_path, "lploss train"):
        (tmp_path / "config.yaml").touch()
    assert caplog.messages == [
        f"the file system of {tmp_path} has no locks: make sure that no other process writes to it"
    ]


def test_a_lock_file_that_its_last_holder_removed_is_not_held(tmp_path, monkeypatch):
    """As where it was opened before, and locked after it was removed."""
    acquire, calls = filelock.FileLock.acquire, []

    def acquire_late(self, **options):
        proxy = acquire(self, **options)
        if Path(self.lock_file).parent == tmp_path:
            calls.append(self)
            if len(calls) == 1:
                Path(self.lock_file).unlink()
        return proxy

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire_late)
    with lock_folder(tmp_path, "lploss train"):
        assert (tmp_path / ".lploss.lock").exists()
    assert len(calls) == 2


def test_a_text_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    write_text(path, "first")

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
