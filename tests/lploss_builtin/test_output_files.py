from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.output import lock_folder, replaced_files, write_text


def test_files_appear_at_the_end(tmp_path):
    out = tmp_path / "new" / "out"
    with replaced_files(out) as staged:
        folder = staged.folder
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text("a")
        assert list(out.iterdir()) == [folder]
        assert folder.name.startswith(".")
    assert (out / "deep" / "a.txt").read_text() == "a"
    assert list(out.parent.iterdir()) == [out]


def test_files_of_the_same_name_are_replaced_and_others_stay(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b.txt").write_text("mine")
    with replaced_files(tmp_path) as staged:
        folder = staged.folder
        (folder / "a.txt").write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert (tmp_path / "b.txt").read_text() == "mine"


def fail(out, error, beside=None):
    with replaced_files(out) as staged:
        folder = staged.folder
        (folder / "a.txt").write_text("half")
        if beside:
            beside.write_text("mine")
        raise error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("out", ["out", "some/new/out"])
def test_nothing_is_left_of_a_failure(tmp_path, error, out):
    with pytest.raises(type(error)):
        fail(tmp_path / out, error)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_others_use_stay(tmp_path):
    with pytest.raises(OSError, match="no"):
        fail(tmp_path / "new" / "out", OSError("no"), beside=tmp_path / "new" / "other.txt")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["other.txt"]


def test_the_folder_around_may_be_read_only(tmp_path, monkeypatch):
    out = tmp_path / "around" / "out"
    out.mkdir(parents=True)
    made = []
    mkdtemp = tempfile.mkdtemp

    def record(*args, **kwargs):
        made.append(Path(kwargs["dir"]))
        return mkdtemp(*args, **kwargs)

    monkeypatch.setattr(tempfile, "mkdtemp", record)
    monkeypatch.chdir(out)
    with replaced_files(Path()) as staged:
        folder = staged.folder
        (folder / "a.txt").write_text("a")
    assert [path.resolve() for path in made] == [out]
    assert [path.name for path in out.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(ArgumentValueError, match=r"out cannot be written to: Permission denied"):
        fail(tmp_path / "new" / "out", OSError())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("in_the_way", "message"),
    [
        ("summary.json/mine", r"summary\.json is a folder, where a file is to be written"),
        ("pictures", r"pictures is a file, where a folder is to be written\. Move it away"),
    ],
)
def test_nothing_is_moved_where_something_is_in_the_way(tmp_path, in_the_way, message):
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("mine")
    (tmp_path / "a.txt").write_text("old")
    before = sorted(tmp_path.rglob("*"))

    def write():
        with replaced_files(tmp_path) as staged:
            folder = staged.folder
            (folder / "pictures").mkdir()
            for name in ("a.txt", "pictures/a.png", "summary.json"):
                (folder / name).write_text("new")

    with pytest.raises(ArgumentValueError, match=message):
        write()
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("a")
    with pytest.raises(ArgumentValueError, match=r"out is a file; name a folder"):
        fail(tmp_path / "out", OSError())
    with pytest.raises(ArgumentValueError, match=r"inner cannot be made: "):
        fail(tmp_path / "out" / "inner", OSError())


def forged(out, moves, lock=True):
    """A folder as a killed process would have left it."""
    place = out / ".unfinished-abc"
    place.mkdir(parents=True)
    (place / "a.txt").write_text("forged")
    (place / ".lploss.moves.json").write_text(json.dumps(moves))
    if lock:
        (place / ".lploss.lock").touch()
    return place


@pytest.mark.parametrize("name", ["../mine.txt", "{root}/mine.txt", "", 3, "a/../../mine.txt"])
@pytest.mark.parametrize("key", ["files", "outdated"])
def test_a_forged_leftover_touches_nothing_outside(tmp_path, name, key):
    name = name.format(root=tmp_path) if isinstance(name, str) else name
    (tmp_path / "mine.txt").write_text("precious")
    place = forged(tmp_path / "out", {"files": ["a.txt"], "outdated": [], key: [name]})
    with pytest.raises(DataError, match=r"is damaged \(.* is not the name of a file in the folder"):
        write_text(tmp_path / "out" / "b.txt", "b")
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert place.exists()


@pytest.mark.parametrize("side", ["out", "staging"])
def test_links_in_a_forged_leftover_lead_nowhere(tmp_path, side):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.txt").write_text("precious")
    place = forged(tmp_path / "out", {"files": ["deep/a.txt"], "outdated": []})
    ((tmp_path / "out") if side == "out" else place).joinpath("deep").symlink_to(
        tmp_path / "theirs"
    )
    with pytest.raises(ArgumentValueError, match="deep is a link, where a folder is to be written"):
        write_text(tmp_path / "out" / "b.txt", "b")
    assert (tmp_path / "theirs" / "a.txt").read_text() == "precious"


def test_the_lock_of_a_forged_leftover_empties_no_file(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    place = forged(tmp_path / "out", {"files": ["a.txt"], "outdated": []}, lock=False)
    (place / ".lploss.lock").symlink_to(tmp_path / "mine.txt")
    write_text(tmp_path / "out" / "b.txt", "b")
    (tmp_path / "out" / ".lploss.lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(ArgumentValueError, match="link"), lock_folder(tmp_path / "out", "test"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lploss.lock",
        ".unfinished-abc",
        "b.txt",
    ]
