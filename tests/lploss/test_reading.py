from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from lploss.errors import ConfigError, DataError, LplossError
from lploss.reading import check_file, reading


def no_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Return what is not a regular file, with what is said of it."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "link to pipe").symlink_to("pipe")
    (folder / "link to zeros").symlink_to("/dev/zero")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "file").touch()
    sock = socket.socket(socket.AF_UNIX)
    working = Path.cwd()
    os.chdir(folder)  # the path of a socket must be short
    try:
        sock.bind("socket")
    finally:
        os.chdir(working)
        sock.close()
    return {
        name: (folder / name, message)
        for name, message in (
            ("pipe", "pipe is a pipe, not a file; write its content into a file first"),
            ("folder", "folder is a folder, not a file"),
            ("link to pipe", "link to pipe is a pipe, not a file"),
            ("link to zeros", "link to zeros is a device, not a file (/dev/zero)"),
            ("loop", "loop cannot be read: Too many levels of symbolic links"),
            ("dangling", "dangling does not exist: it is a link to nowhere"),
            ("socket", "socket is a socket, not a file"),
            ("missing", "missing does not exist"),
            ("file/inside", "file/inside does not exist"),
            ("n\0l", "cannot be read: ValueError: embedded null byte"),
        )
    }


def test_only_regular_files_are_read(tmp_path):
    for path, message in no_files(tmp_path).values():
        with pytest.raises(DataError) as caught:
            check_file(path)
        assert message in str(caught.value)
    check_file(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    check_file(tmp_path / "link")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^the checkpoint .*best\.ckpt does not exist$"):
        check_file(tmp_path / "best.ckpt", "the checkpoint", ConfigError)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (KeyError("tracks"), "a.h5 cannot be read as HDF5: KeyError: 'tracks'. It may be damaged."),
        (RecursionError("too deep"), "a.h5 cannot be read as HDF5: RecursionError: too deep."),
        (MemoryError(), "a.h5 cannot be read as HDF5: MemoryError. It may be damaged."),
        (
            PermissionError(13, "Permission denied"),
            "a.h5 cannot be read as HDF5: Permission denied",
        ),
        (DataError("line 3: it is wrong"), "line 3: it is wrong"),
    ],
    ids=str,
)
def test_any_error_of_a_library_names_the_file(raised, message):
    with pytest.raises(LplossError) as caught, reading("a.h5", "as HDF5"):
        raise raised
    assert str(caught.value).startswith(message)
    assert caught.value is raised or caught.value.__cause__ is raised


def test_interruptions_pass():
    with pytest.raises(KeyboardInterrupt), reading("a.h5"):
        raise KeyboardInterrupt


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_unicode(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/walk\xff.csv"))
    path.touch()
    with pytest.raises(DataError, match=r"walk.\.csv: its name is not valid Unicode, .* Rename it"):
        check_file(path)
