from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from benchmarks.size import import_circles, imports, num_logic_lines

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_drawing_shows_the_layers_that_are_enforced():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    (drawing,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)
    assert drawing.splitlines() == layers


def test_every_package_and_module_of_the_drawing_is_there_and_described():
    described = set(re.findall(r"^\| `(\w+)(?:/|`)", PAGE, flags=re.MULTILINE))
    source = ROOT / "src" / "lploss_builtin"
    there = {
        path.stem
        for path in source.iterdir()
        if path.stem not in ("__init__", "__pycache__", "py", "dependencies")
        and (path.is_dir() or path.suffix == ".py")
    }
    assert there - {"strategies", "progress"} <= described


def test_the_core_is_described_module_by_module():
    core = PAGE.partition("## lploss\n")[2].partition("## lploss_builtin")[0]
    named = set(re.findall(r"`(\w+)/?`", core))
    there = {
        path.stem
        for path in (ROOT / "src" / "lploss").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__", "__main__", "typecheck"} - named == set()


def test_no_modules_import_each_other_in_a_circle():
    source = ROOT / "src"
    trees = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): (
            ast.parse(path.read_text(encoding="utf-8"))
        )
        for path in source.rglob("*.py")
    }
    assert import_circles(imports(trees)) == []


def test_circles_are_found():
    trees = {"a": ast.parse("import b"), "b": ast.parse("def f():\n    from a import x")}
    assert import_circles(imports(trees)) == [["a", "b"]]


def test_lines_of_logic_are_counted():
    source = 'import os\n\n\ndef f():\n    """Doc."""\n    # why\n    return 1\n'
    assert num_logic_lines(ast.parse(source)) == 2
