from __future__ import annotations

import json

import pytest

from lploss.errors import ArgumentValueError
from lploss_builtin.commands.training_demo.folder import prepare_folder
from lploss_builtin.commands.training_demo.settings import DemoSettings


def test_an_earlier_demo_gives_way_and_nothing_else(tmp_path):
    out = tmp_path / "some" / "demo"
    prepare_folder(out, DemoSettings(seed=1))
    (out / "run").mkdir()
    (out / "run" / "metrics.csv").touch()
    (out / "notes.txt").write_text("mine")
    prepare_folder(out, DemoSettings(seed=2))
    assert sorted(path.name for path in out.iterdir()) == ["demo.json", "notes.txt"]
    assert json.loads((out / "demo.json").read_text())["seed"] == 2


@pytest.mark.parametrize("name", ["project", "run"])
def test_what_no_demo_has_made_stays(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "data").touch()
    with pytest.raises(ArgumentValueError) as raised:
        prepare_folder(tmp_path, DemoSettings())
    assert str(raised.value) == (
        f"{tmp_path / name} is in the way, and no earlier demo has made it. Name another folder "
        "by --out."
    )
    assert (tmp_path / name / "data").exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    prepare_folder(tmp_path / "out", DemoSettings())
    (tmp_path / "out" / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArgumentValueError, match="is in the way"):
        prepare_folder(tmp_path / "out", DemoSettings())
    assert (tmp_path / "elsewhere").is_dir()


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "out"
    path.touch()
    with pytest.raises(ArgumentValueError) as raised:
        prepare_folder(path, DemoSettings())
    assert str(raised.value) == f"the output folder {path} is a file; name a folder"
    with pytest.raises(ArgumentValueError, match="cannot be made or written to: Not a directory"):
        prepare_folder(path / "in", DemoSettings())
