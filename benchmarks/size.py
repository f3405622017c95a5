"""How large the code is: lines, files, import circles, long signatures.

``python -m benchmarks.size`` prints them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_SRC = _ROOT / "src"
_FEW_LINES, _MANY_PARAMETERS = 25, 7


def main() -> None:
    """Print the table."""
    modules = {_module_name(path): path for path in sorted(_SRC.rglob("*.py"))}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    small = [
        name
        for name, path in modules.items()
        if path.name not in ("__init__.py", "__main__.py")
        and ".plugins." not in name
        and num_logic_lines(trees[name]) <= _FEW_LINES
    ]
    circles = import_circles(imports(trees))
    many = [
        f"{name}:{function}" for name, tree in trees.items() for function in _long_signatures(tree)
    ]
    rows: list[tuple[str, int, list[str]]] = [
        ("lines in src", _num_lines(_SRC), []),
        ("files in src", len(modules), []),
        ("lines in commands", _num_lines(_SRC / "lploss_builtin" / "commands"), []),
        (f"files with at most {_FEW_LINES} lines of logic", len(small), small),
        ("lines in tests", _num_lines(_ROOT / "tests"), []),
        ("import circles", len(circles), [" <-> ".join(circle) for circle in circles]),
        (f"functions with more than {_MANY_PARAMETERS} parameters", len(many), many),
    ]
    for what, number, _ in rows:
        print(f"{number:>7}  {what}")
    for what, _, names in rows:
        for name in names:
            print(f"{what}: {name}")


def num_logic_lines(tree: ast.Module) -> int:
    """Return the number of lines of code, without docstrings, comments, blanks and imports.

    Example:
        >>> num_logic_lines(ast.parse("import os; number = 1"))
        0
    """
    lines: set[int] = set()
    skipped: set[int] = set()
    for node in ast.walk(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif hasattr(node, "lineno"):
            lines.update((node.lineno, node.end_lineno or node.lineno))
    return len(lines - skipped)


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports, at whatever place in it."""
    graph: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in _running(tree):
            if isinstance(node, ast.Import):
                graph[name].update(alias.name for alias in node.names if alias.name in trees)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    target = inner if inner in trees else node.module
                    if target in trees:
                        graph[name].add(target)
        graph[name].discard(name)
    return graph


def import_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others.

    Example:
        >>> import_circles({"a": {"b"}, "b": {"a"}, "c": {"a"}})
        [['a', 'b']]
    """
    reached = {name: _reachable(graph, name) for name in graph}
    circles = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return [list(circle) for circle in sorted(circles)]


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run, which are all but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _running(node)


def _long_signatures(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name == "__init__":
            continue
        if any("Annotated" in ast.dump(argument) for argument in node.args.args):
            continue  # a command
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
        if len(names) > _MANY_PARAMETERS:
            yield f"{node.name} ({len(names)})"


def _num_lines(folder: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


def _module_name(path: Path) -> str:
    parts = path.relative_to(_SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    main()
