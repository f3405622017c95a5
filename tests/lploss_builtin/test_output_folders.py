from __future__ import annotations

import shutil

import pytest

from lploss.errors import ProcessError
from lploss_builtin.output import whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_is_there_when_it_is_complete(tmp_path):
    with whole_folder(tmp_path / "monday") as folder:
        (folder / "scores.csv").write_text("1")
        assert folder.parent.parent == tmp_path
        assert not (tmp_path / "monday").exists()
    assert names(tmp_path) == ["monday"]
    assert (tmp_path / "monday" / "scores.csv").read_text() == "1"


def write_and_fail(target):
    with whole_folder(target) as folder:
        (folder / "scores.csv").write_text("1")
        raise KeyboardInterrupt


def test_after_an_error_nothing_is_there(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(tmp_path / "monday")
    assert names(tmp_path) == []


def test_the_first_that_is_complete_stays(tmp_path):
    with whole_folder(tmp_path / "monday") as slow:
        (slow / "scores.csv").write_text("slow")
        with whole_folder(tmp_path / "monday") as fast:
            (fast / "scores.csv").write_text("fast")
    assert names(tmp_path) == ["monday"]
    assert (tmp_path / "monday" / "scores.csv").read_text() == "fast"


def test_a_file_in_its_place(tmp_path):
    (tmp_path / "monday").touch()
    with pytest.raises(NotADirectoryError), whole_folder(tmp_path / "monday"):
        pass
    assert names(tmp_path) == ["monday"]


def write_what_nobody_waits_for(target):
    with whole_folder(target) as folder:
        shutil.rmtree(target.parent)
        (folder / "pictures").mkdir(parents=True)  # as what draws does


def test_what_nobody_waits_for_is_not_made_anew(tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "out"
    out.mkdir()
    for _ in range(2):
        with pytest.raises(ProcessError) as raised:
            write_what_nobody_waits_for(out / "monday")
        assert str(raised.value) == f"{out} was removed while monday was made for it"
        assert names(tmp_path) == ["file"]
