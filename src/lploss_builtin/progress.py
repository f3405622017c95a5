"""The bar that says on a terminal how far a command is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lploss.terminal import text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text


def terminal_bar(console: Console, time: ProgressColumn) -> Progress:
    """Return a bar that a terminal shows until it is stopped; elsewhere it shows nothing.

    Args:
        console: where to.
        time: the column at the end: how long it has taken, or will take.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn

    class Description(ProgressColumn):
        def render(self, task: Task) -> Text:
            return text(task.description)

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        Description(),
        time,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
