"""What holds for every module, hook and error, the ones to come included."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import lploss
from lploss import errors, hookspecs
from lploss.discovery import HOOKS

TESTS = Path(__file__).parents[1]
SOURCES = [path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("test_*.py"))]

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(lploss.__path__, "lploss.")
    if not module.name.endswith("__main__")
]

ERRORS = [
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
]
# Never raised themselves.
BASES = {"LplossError"}


def public_definitions():
    for module in MODULES:
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                yield pytest.param(value, id=f"{module.__name__}.{name}")


def public_methods(cls):
    for name, value in vars(cls).items():
        if not name.startswith("_") and callable(inspect.unwrap(getattr(value, "__func__", value))):
            yield name, getattr(value, "__func__", value)


@pytest.mark.parametrize("definition", list(public_definitions()))
def test_everything_public_is_documented(definition):
    assert inspect.getdoc(definition), "no docstring"
    if inspect.isclass(definition):
        bare = [name for name, method in public_methods(definition) if not inspect.getdoc(method)]
        assert bare == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_module_says_what_it_is(module):
    assert module.__doc__


def test_every_hook_has_a_specification_and_a_plugin_in_its_docstring():
    specified = {name for name in vars(hookspecs) if name.startswith("lploss_")}
    assert specified == set(HOOKS)
    for hook in HOOKS:
        docstring = getattr(hookspecs, hook).__doc__
        assert "@lploss.hookimpl" in docstring
        assert f"def {hook}():" in docstring


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_implemented_by_a_plugin_in_the_tests(hook):
    implementation = re.compile(rf"hookimpl\s+def {hook}\(")
    assert any(implementation.search(source) for source in SOURCES)


@pytest.mark.parametrize("error", sorted(set(ERRORS) - BASES))
def test_every_error_and_warning_is_raised_in_a_test(error):
    raised = re.compile(rf"(raises|warns)\(\s*(errors\.|lploss\.)?{error}\b")
    # Where a table of cases says which error is expected, it stands at the start of a line.
    in_table = re.compile(rf"^\s+{error},$|, {error}, ", re.MULTILINE)
    assert any(raised.search(source) or in_table.search(source) for source in SOURCES)
