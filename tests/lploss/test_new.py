from __future__ import annotations

import ast
import tomllib
from importlib.resources import files

import pytest
from typer.testing import CliRunner

from lploss import Registry, cli, new
from lploss.errors import ArgumentValueError
from lploss.new import new_distribution

LOWER_CASE = (
    "the name of a new loss must be lower-case words with underscores between them, such as "
    "'bone_length'; got"
)


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(cli.app, ["new", *args])


def test_it_writes_a_distribution_and_says_what_to_do_next(run, tmp_path):
    result = run("bone_length")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "written to lploss-bone-length:\n"
        "  pyproject.toml\n"
        "  README.md\n"
        "  src/lploss_bone_length/__init__.py\n"
        "  src/lploss_bone_length/manifest.py\n"
        "  src/lploss_bone_length/loss.py\n"
        "  tests/test_loss.py\n"
        "\n"
        "It works as it is. Next:\n"
        "  cd lploss-bone-length\n"
        '  pip install -e ".[test]"\n'
        "  lploss check bone_length\n"
        "  pytest\n"
        "Then put your formula into src/lploss_bone_length/loss.py, at TODO.\n"
    )
    folder = tmp_path / "lploss-bone-length"
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["name"] == "lploss-bone-length"
    assert project["project"]["entry-points"] == {
        "lploss": {"bone_length": "lploss_bone_length.manifest"}
    }


def test_there_is_one_todo(tmp_path):
    made = new_distribution("bone_length", tmp_path)
    todos = {path: (made.folder / path).read_text("utf-8").count("TODO") for path in made.written}
    assert {path: number for path, number in todos.items() if number} == {made.formula: 1}


def test_every_template_is_used_and_filled_in(tmp_path):
    templates = (files("lploss") / "templates" / "plugin").iterdir()
    assert {template.name for template in templates} == {f"{n}.template" for n in new._FILES}
    made = new_distribution("bone_length", tmp_path)
    for path in made.written:
        text = (made.folder / path).read_text("utf-8")
        assert "${" not in text
        assert "$name" not in text
        if path.suffix == ".py":
            ast.parse(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bone_length", "BoneLengthLoss"),
        ("limb2", "Limb2Loss"),
        ("contact_loss", "ContactLoss"),
        ("loss", "LossLoss"),  # Loss is the base
        ("manifest", "ManifestLoss"),
        ("class", "ClassLoss"),
    ],
)
def test_the_class_is_named_after_the_loss(tmp_path, name, expected):
    made = new_distribution(name, tmp_path)
    module = ast.parse((made.folder / made.formula).read_text("utf-8"))
    (defined,) = [node.name for node in module.body if isinstance(node, ast.ClassDef)]
    assert defined == expected


def test_into_a_folder_that_is_made(run, tmp_path):
    result = run("bone_length", "--into", "a/b c")
    assert result.exit_code == 0
    assert (tmp_path / "a" / "b c" / "lploss-bone-length" / "README.md").is_file()
    assert "  cd 'a/b c/lploss-bone-length'\n" in result.stdout


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "lploss-bone-length").mkdir()
    assert new_distribution("bone_length", tmp_path).written


@pytest.mark.parametrize("what", ["a file in it", "a file"])
def test_nothing_is_overwritten(run, tmp_path, what):
    folder = tmp_path / "lploss-bone-length"
    if what == "a file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    result = run("bone_length")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: lploss-bone-length is there already, and nothing is overwritten. Choose another "
        "name, remove it, or give another folder: --into DIR\n"
    )
    assert [path.name for path in tmp_path.rglob("*")] in (
        ["lploss-bone-length"],
        ["lploss-bone-length", "notes.txt"],
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bone-length", " Did you mean 'bone_length'?"),
        ("BoneLength", " Did you mean 'bone_length'?"),
        ("lploss-bone-length", " Did you mean 'bone_length'?"),
        ("bone length", " Did you mean 'bone_length'?"),
        ("bone__length", " Did you mean 'bone_length'?"),
        ("_bone", " Did you mean 'bone'?"),
        ("../bone", " Did you mean 'bone'?"),
        ("2d", ""),
        ("", ""),
        ("länge", ""),
    ],
)
def test_a_name_that_is_no_plain_name_is_refused(run, tmp_path, name, hint):
    result = run(name)
    assert (result.exit_code, result.stderr) == (2, f"error: {LOWER_CASE} {name!r}.{hint}\n")
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_loss_that_is_there_is_refused(site, tmp_path):
    site.install_loss("acme-losses", "bone_length", version="2.1")
    with pytest.raises(ArgumentValueError) as caught:
        new_distribution("bone_length", tmp_path / "new", site.registry())
    assert str(caught.value) == (
        "there is a loss 'bone_length' already, of acme-losses 2.1. Nobody could ask for yours "
        "without saying whose it is: choose another name."
    )
    assert not (tmp_path / "new").exists()


def test_a_name_that_trainers_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ArgumentValueError) as caught:
        new_distribution("keys", tmp_path)
    assert str(caught.value) == (
        "a loss cannot be named 'keys', because torch.nn.ModuleDict, which holds losses in "
        "trainers, has an attribute of this name. Choose another name."
    )


def test_a_package_that_is_there_is_refused(tmp_path):
    with pytest.raises(ArgumentValueError) as caught:
        new_distribution("builtin", tmp_path, Registry([]))
    assert str(caught.value) == (
        "the package lploss_builtin, in which the loss would stand, is there already. Choose "
        "another name."
    )


def test_a_folder_that_cannot_be_made_is_one_message(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = run("bone_length", "--into", "file")
    assert result.exit_code == 2
    assert result.stderr == "error: file is a file; give a folder: --into DIR\n"
