"""The tutorial, followed from top to bottom in an environment of its own."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.environments import Environment
from tests.meta.test_docs import DOCS, assert_prints, blocks_of

pytestmark = pytest.mark.installs

PAGE = DOCS / "add_a_loss.md"


class Reader:
    """Does what the page says, block by block.

    Python that starts with the path of a file is written there. All other Python runs in this
    process until a distribution has been made, and from then on in the environment.
    """

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment, self.folder = environment, folder
        self.namespace: dict[str, Any] = {"__name__": "tutorial"}
        self.has_made = False

    def python(self, code: str) -> str:
        if path := re.match(r"# (\S+\.py)\n", code):
            target = self.folder / path[1]
            assert target.is_file(), f"{target} was not written by `lploss new`"
            target.write_text(code[path.end() :], encoding="utf-8")
            return ""
        if self.has_made:
            return self.environment.run("-c", code, cwd=self.folder)
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(code, self.namespace)
        return printed.getvalue()

    def console(self, code: str) -> str:
        return "".join(self.command(line.removeprefix("$ ")) for line in code.splitlines())

    def command(self, line: str) -> str:
        program, *args = shlex.split(line)
        if program == "cd":
            self.folder /= args[0]
            self.has_made = True
            return ""
        if program == "pytest":
            # The checks of the kit have just been run by `lploss check`.
            args += ["-k", "not test_conformance"]
        return getattr(self.environment, program)(*args, cwd=self.folder)


def test_every_block_works_and_prints_what_the_page_shows(tmp_path):
    reader = Reader(Environment(tmp_path / "environment"), tmp_path)
    printed, shown = "", 0
    for block in blocks_of(PAGE):
        if block.language == "text":
            assert block.before.strip() == "This prints:"
            assert_prints(printed, block.code, f"add_a_loss.md, line {block.line}")
            shown += 1
        else:
            printed = getattr(reader, block.language)(block.code)
    assert shown == 5
    assert "TODO" not in (reader.folder / "src/lploss_below_floor/loss.py").read_text("utf-8")
