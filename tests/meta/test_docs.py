"""The documentation: its Python runs, its command lines exist, and it leaves nothing out."""

from __future__ import annotations

import importlib
import io
import re
import shlex
import socket
import textwrap
import tomllib
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import torch
import typer
import yaml
from jaxtyping import Float
from torch import Tensor
from torch.distributed.run import get_args_parser

import lploss
from lploss import Loss
from lploss.cli import app
from lploss.discovery import GROUP, HOOKS
from lploss.registry import default_registry
from lploss.specs import CommandSpec, InputSpec, LossSpec
from lploss.testing import Subject, check_loss
from tests.conftest import Site

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LOSSES = [
    entry.spec.name
    for entry in default_registry.entries(LossSpec)
    if entry.plugin.distribution == "lploss"
]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)
_PRINTS = re.compile(r"\s*(?:[^\n]*\bprints:\s*)?\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``before`` is the text since the block before it."""

    language: str
    code: str
    line: int
    before: str


def blocks_of(page: Path) -> list[Block]:
    text, end, found = page.read_text(encoding="utf-8"), 0, []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        code = textwrap.dedent(match["code"])
        found.append(Block(match["language"], code, line, text[end : match.start()]))
        end = match.end()
    return found


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(printed: str) -> list[str]:
    """Return the numbers, words and signs of an output, without the lines of tables."""
    return re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?|\w+|[^\w\s─-╿]", printed)


def assert_prints(printed: str, expected: str, where: str) -> None:
    came, wanted = words(printed), words(expected)
    same = len(came) == len(wanted) and all(
        a == b or _numbers_agree(a, b) for a, b in zip(came, wanted, strict=True)
    )
    assert same, f"{where} shows another output than the block before it prints:\n{printed}"


def _numbers_agree(first: str, second: str) -> bool:
    try:
        return float(first) == pytest.approx(float(second), rel=0.02)
    except ValueError:
        return False


@pytest.mark.parametrize(
    "page",
    # test_add_a_loss.py follows the tutorial, which has files and commands between its Python.
    [
        page
        for page in PAGES
        if page.name != "add_a_loss.md" and any(b.language == "python" for b in blocks_of(page))
    ],
    ids=page_name,
)
def test_python_runs_and_prints_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*args: Any) -> None:
        raise AssertionError("the documentation must run without network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    namespace: dict[str, Any] = {"__name__": "docs"}
    printed = ""
    with torch.random.fork_rng():
        for block in blocks_of(page):
            where = f"{page_name(page)}, line {block.line}"
            if block.language == "python":
                output = io.StringIO()
                with redirect_stdout(output):
                    code = "\n" * (block.line - 1) + block.code
                    exec(compile(code, page_name(page), "exec"), namespace)
                printed = output.getvalue()
            elif block.language == "text" and printed and _PRINTS.match(block.before):
                assert_prints(printed, block.code, where)
                printed = ""


def test_a_wrong_output_is_noticed() -> None:
    assert_prints("│ a │ 0.5000 │", "a 0.5001", "here")
    with pytest.raises(AssertionError, match="here shows another output"):
        assert_prints("a 0.5", "a 0.6", "here")


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_page(name: str) -> None:
    page = DOCS / "losses" / f"{name}.md"
    assert page.is_file(), f"{page_name(page)} is missing"
    text = page.read_text(encoding="utf-8")
    target = default_registry.find(LossSpec, name).spec.target.replace(":", ".")
    assert text.startswith(f"# {name}\n")
    assert f"::: {target}\n" in text
    for heading in ("## Inputs", "## Values to start from", "## What is left out", "## Example"):
        assert f"\n{heading}\n" in text, f"{page_name(page)} has no {heading!r}"
    for declared in lploss.load_loss(name).inputs:
        assert f"`{declared}`" in text, f"{page_name(page)} does not mention {declared}"


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_an_oracle_test(name: str) -> None:
    files = (ROOT / "tests" / "lploss_builtin" / "losses").glob("test_*.py")
    named = [file for file in files if re.search(rf"\b{name}\b", file.read_text(encoding="utf-8"))]
    assert named, f"no test under tests/lploss_builtin/losses names {name}"


def test_the_pages_of_losses_are_those_of_the_losses() -> None:
    pages = {page.stem for page in (DOCS / "losses").glob("*.md")} - {"index"}
    assert pages == set(LOSSES)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_a_complete_plugin(hook: str) -> None:
    page = DOCS / "plugins.md"
    assert f"`{hook}()`" in page.read_text(encoding="utf-8")
    manifests = [b.code for b in blocks_of(page) if b.language == "python"]
    assert any(f"@lploss.hookimpl\ndef {hook}(" in code for code in manifests)


def test_the_plugins_of_the_page_work_as_they_stand(site: Site) -> None:
    page = DOCS / "plugins.md"
    for block in blocks_of(page):
        if block.language == "python" and (path := re.match(r"# (acme\w+/\w+\.py)\n", block.code)):
            target = site.folder / path[1]
            target.parent.mkdir(exist_ok=True)
            target.write_text(block.code, encoding="utf-8")
    stated: dict[str, str] = {}
    for block in blocks_of(page):
        if block.language == "toml":
            stated |= tomllib.loads(block.code)["project"]["entry-points"][GROUP]
    assert {f"{p.parent.name}.manifest" for p in site.folder.glob("*/manifest.py")} == set(
        stated.values()
    )
    site.install("acme", stated)

    registry = site.registry(strict=True)

    specs = [(plugin, spec) for plugin in registry.plugins for spec in plugin.specs]
    assert specs
    for plugin, spec in specs:
        registry.load(type(spec), f"{plugin.distribution}/{spec.name}")
        if isinstance(spec, InputSpec):
            module, _, function = str(spec.strategy).partition(":")
            assert callable(getattr(importlib.import_module(module), function))
    (record,) = check_loss(Subject.of(Speed, registry), checks=["check_derivations"]).records
    assert (record.status, record.message) == ("passed", "")


class Speed(Loss):
    """Uses the input that the page derives."""

    loss_name, kind = "speed", "unsupervised"

    def compute_loss(self, speeds_pred: Float[Tensor, "batch num_keypoints"]) -> Tensor:
        return speeds_pred.nan_to_num()


def test_the_vocabulary_of_inputs_is_complete() -> None:
    rows = (DOCS / "inputs.md").read_text(encoding="utf-8").splitlines()
    for entry in default_registry.entries(InputSpec):
        if entry.plugin.distribution == "lploss":
            spec = entry.spec
            start = f"| `{spec.name}` | `{spec.axes}` | {spec.unit} |"
            assert any(row.startswith(start) for row in rows), f"inputs.md has no row {start}"


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in lploss.__all__:
        assert re.search(rf"^::: lploss(\.\w+)+\.{name}$", text, re.M), f"api.md has no {name}"


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags name Python objects."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def test_the_navigation_lists_every_page() -> None:
    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        children = node.values() if isinstance(node, dict) else node
        return [leaf for child in children for leaf in leaves(child)]

    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    listed = leaves(config["nav"])
    assert sorted(listed) == sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md"))


def command_lines() -> list[tuple[str, list[str]]]:
    """Return the command lines of all pages as words, without what they pipe into."""
    found = []
    for page in PAGES:
        for block in blocks_of(page):
            if block.language not in ("console", "bash", "sh"):
                continue
            text = block.code.replace("\\\n", " ")
            for number, line in enumerate(text.splitlines()):
                if block.language == "console":
                    if not line.startswith("$ "):
                        continue
                    line = line[2:]
                parts = shlex.split(line, comments=True)
                while parts and re.fullmatch(r"[A-Z_]+=.*", parts[0]):
                    del parts[0]
                if parts:
                    found.append((f"{page_name(page)}:{block.line + number}", parts))
    return found


def lploss_command(name: str) -> click.Command | None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    own: click.Command | None = group.commands.get(name)
    if own is None and name in default_registry.names(CommandSpec):
        plugin_app = typer.Typer(add_completion=False)
        plugin_app.command(name)(default_registry.load(CommandSpec, name))
        own = typer.main.get_command(plugin_app)
    return own


def options_of(command: click.Command) -> set[str]:
    return {"--help"} | {
        option for param in command.params for option in (*param.opts, *param.secondary_opts)
    }


@pytest.mark.parametrize(
    ("where", "parts"), [pytest.param(*line, id=line[0]) for line in command_lines()]
)
def test_command_lines_exist(where: str, parts: list[str]) -> None:
    program, *rest = parts
    if program == "torchrun":
        at = rest.index("--no-python")
        known = {
            option for action in get_args_parser()._actions for option in action.option_strings
        }
        assert {part for part in rest[:at] if part.startswith("-")} <= known
        program, *rest = rest[at + 1 :]
    elif program == "srun":
        program, *rest = rest
    if program == "lploss":
        while rest and rest[0].startswith("-"):
            assert rest.pop(0) in options_of(typer.main.get_command(app))
        if rest:
            command = lploss_command(rest[0])
            assert command is not None, f"there is no command {rest[0]}"
            given = {part.partition("=")[0] for part in rest[1:] if part.startswith("-")}
            assert given <= options_of(command)
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert set(rest) <= set(targets)
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        for asked in re.findall(r"lploss\[(.+)\]", " ".join(rest)):
            assert set(asked.split(",")) <= set(extras)
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    elif program == "dask":
        assert rest[0] in ("scheduler", "worker")
    elif program == "export":
        assert "=" in rest[0]
    elif program in ("cd", "pytest"):
        assert page_name(DOCS / "add_a_loss.md") in where  # which is followed to the letter
    else:
        pytest.fail(f"nothing checks the command {program!r}")


def test_environment_variables_exist() -> None:
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("*.py"))
    for page in PAGES:
        for name in re.findall(r"\bLPLOSS_[A-Z_]+\b", page.read_text(encoding="utf-8")):
            assert name in source, f"{page_name(page)} names {name}, which nothing reads"
