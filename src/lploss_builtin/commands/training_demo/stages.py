"""Saying what the demo is doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import TimeRemainingColumn
from rich.text import Text

from lploss_builtin.commands.progress import terminal_bar

#: Called with how much of a stage is done, and how much there is.
StageProgress = Callable[[int, int], None]


class Stages:
    """Says on a console which stage has begun, with a bar on a terminal, and how long it took.

    Args:
        console: where to.
        num_stages: how many stages there are.
    """

    def __init__(self, console: Console, num_stages: int) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._num_stages = num_stages

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[StageProgress]:
        """Begin a stage.

        Args:
            name: what its time is filed under.
            what: what is being done.

        Yields:
            What to call while it goes on.
        """
        number = len(self.seconds) + 1
        self.console.print(Text(f"{number}/{self._num_stages} {what}"), soft_wrap=True)
        start = time.perf_counter()
        bar = terminal_bar(self.console, TimeRemainingColumn())
        task = bar.add_task("done", total=None, visible=False)

        def progress(num_done: int, num: int) -> None:
            # Lightning shows a bar of its own, and there can be only one at a time.
            bar.start()
            bar.update(task, completed=num_done, total=num, visible=True)

        try:
            yield progress
        finally:
            bar.stop()
        self.seconds[name] = time.perf_counter() - start
