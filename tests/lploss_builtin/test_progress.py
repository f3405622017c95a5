from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import TimeElapsedColumn

from lploss_builtin.progress import terminal_bar


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_shows_it(is_terminal):
    console = Console(file=StringIO(), width=100, force_terminal=is_terminal)
    with terminal_bar(console, TimeElapsedColumn()) as bar:
        bar.add_task("b[x].csv", total=7, completed=3)
    said = console.file.getvalue()
    if is_terminal:
        for text in ("3/7", "b[x].csv", "0:00:00"):
            assert text in said
        # The line is gone at the end.
        assert said.endswith("\x1b[2K")
    else:
        assert said == ""
