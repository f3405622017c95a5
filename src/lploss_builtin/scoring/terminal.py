"""The terminal output of scoring: a progress bar and the summary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lploss.terminal import console, text
from lploss_builtin.progress import terminal_bar
from lploss_builtin.scoring.recording_scorer import Progress
from lploss_builtin.scoring.summary import ScoreSummary


def show(summary: ScoreSummary) -> None:
    """Print a summary as tables, and where the files are."""
    printer = console()
    for part in summary.renderables(printer.width):
        printer.print(part)
    files = f"scores.parquet, scores.csv, summary.json, pictures ({len(summary.pictures)})"
    files += f"; metric files ({len(summary.metric_files)})" if summary.metric_files else ""
    printer.print(text(f"{summary.out}: {files}", "green"), soft_wrap=True)


@contextmanager
def progress_bar(num_files: int) -> Iterator[Progress]:
    """Show on the terminal's error stream how far a scoring is; nothing where that is no terminal.

    Args:
        num_files: how many files, or recordings of several views, are scored.

    Yields:
        What to call while it goes on.
    """
    from rich.progress import TimeElapsedColumn

    with terminal_bar(console(stderr=True), TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=num_files)
        begun: list[str] = []

        def progress(file: str, num_frames: int) -> None:
            if file not in begun:
                begun.append(file)
            description = f"{Path(file).name}: {num_frames} frames"
            bar.update(task, completed=len(begun) - 1, description=description)

        yield progress
