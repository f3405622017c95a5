"""The single place where text reaches a terminal.

Names of files, keypoints and views come from other people's files. They may hold escape sequences
that a terminal follows, and brackets that rich takes for markup. Everything that lploss prints goes
through `echo` or `console`, which show such characters instead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import IO, TYPE_CHECKING, Any, cast

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# Control characters but for tabs and line breaks; marks that change the direction of writing or
# break lines; and halves of characters, which stand for bytes of file names that are no Unicode.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text with the characters escaped that a terminal would follow or cannot show.

    JSON stays the same JSON, because it has the same escapes.

    Example:
        >>> print(printable("mouse\x1b[31m.csv"))
        mouse\u001b[31m.csv
        >>> import json
        >>> json.loads(printable('"left\x9b"')) == "left\x9b"
        True
    """
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a message without letting it control the terminal.

    Args:
        message: what to print.
        err: whether to print it to the error stream.
        nl: whether a line break follows.
    """
    typer.echo(printable(str(message)), err=err, nl=nl)


def text(content: object, style: str = "") -> Text:
    """Return a text for tables of rich that shows its content as it is, without markup.

    Example:
        >>> text("mouse[left].csv").plain
        'mouse[left].csv'
    """
    from rich.text import Text

    return Text(printable(str(content)), style=style)


def console(*, stderr: bool = False, file: IO[str] | TextIOBase | None = None) -> Console:
    """Return a console of rich that takes no text for markup and lets none control the terminal.

    Args:
        stderr: whether it prints to the error stream.
        file: prints to this file instead.
    """
    from rich.console import Console
    from rich.segment import Segment

    class _PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

        def render(self, *args: Any, **options: Any) -> Iterator[Segment]:
            for segment in super().render(*args, **options):
                shown = segment.text if segment.control else printable(segment.text)
                # Last, for texts that were made elsewhere: a table has measured them as they were.
                yield segment if shown == segment.text else Segment(shown, segment.style)

    return _PlainConsole(
        stderr=stderr, file=cast("IO[str] | None", file), markup=False, emoji=False
    )


def print_tables(
    tables: Iterable[Table], file: IO[str] | TextIOBase | None = None, *, width: int = 1000
) -> None:
    """Print tables of rich.

    Args:
        tables: the tables.
        file: prints to this file; standard output unless given.
        width: number of columns, unless the output is a terminal, which has its own.
    """
    printer = console(file=file)
    if not printer.is_terminal:
        printer.width = width
    for table in tables:
        printer.print(table)


@contextmanager
def printable_log() -> Iterator[None]:
    """Escape the messages of all loggers within the block, whichever handler shows them."""
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **options: Any) -> logging.LogRecord:
        record = before(*args, **options)
        try:
            message = printable(record.getMessage())
        except Exception:  # logging itself says what is wrong with its arguments
            return record
        record.msg, record.args = message, ()
        return record

    logging.setLogRecordFactory(factory)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)
