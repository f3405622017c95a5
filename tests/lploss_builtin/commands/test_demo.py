from __future__ import annotations

import sys

import pytest
import typer
from typer.testing import CliRunner

from lploss.errors import ArgumentValueError, MissingDependencyError
from lploss_builtin.commands.demo import demo


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(demo)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_scoring_has_no_epochs(run):
    error = run("score", "--epochs", "3").exception
    assert isinstance(error, ArgumentValueError)
    assert str(error) == "--epochs goes with lploss demo train: to score is no training"


def test_there_are_two_demos(run):
    result = run("predict")
    assert result.exit_code == 2
    words = " ".join(result.output.replace("│", " ").split())
    assert "'predict' is not one of 'train', 'score'" in words


@pytest.mark.parametrize(
    ("arguments", "module", "extra", "purpose"),
    [
        ([], "lightning", "train", "to train a model"),
        (["train"], "timm", "train", "to train a model"),
        (["score"], "pyarrow", "score", "to score and to draw"),
    ],
)
def test_what_is_not_installed_is_named(run, monkeypatch, arguments, module, extra, purpose):
    monkeypatch.setitem(sys.modules, module, None)
    error = run(*arguments).exception
    assert isinstance(error, MissingDependencyError)
    assert f'{module} is needed {purpose}: pip install "lploss[{extra}]"' in str(error)
