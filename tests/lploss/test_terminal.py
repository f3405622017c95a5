from __future__ import annotations

import io
import json
import logging
import re
import warnings
from pathlib import Path

import pytest
import typer
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from lploss import cli, terminal
from lploss.errors import DataError
from lploss.terminal import console, echo, printable, printable_log, text

SOURCE = Path(terminal.__file__).parents[1]
#: Colour, title of the window, backspace, C1, right-to-left override, isolate, line separator, and
#: a byte that is no Unicode in a file name.
NASTY = "a\x1b[31m\x1b]0;x\x07b\x08\x9b\u202ec\u2066\u2028\udcff\r.csv"
SHOWN = "a\\u001b[31m\\u001b]0;x\\u0007b\\u0008\\u009b\\u202ec\\u2066\\u2028\\udcff\\u000d.csv"
NAMES = ["[/red]", "mouse[left].csv", ":smile:", "[link=x]y[/link]", "[bold]", "\\[x]"]


def test_what_is_printable():
    assert printable(NASTY) == SHOWN
    assert printable(SHOWN) == SHOWN
    ordinary = "Maus_ä 左 🐁\u200d \t[x]\n−1"
    assert printable(ordinary) == ordinary


def test_json_stays_the_same():
    content = {"file": NASTY}
    assert json.loads(printable(json.dumps(content, ensure_ascii=False))) == content


def test_a_message(capsys):
    echo(NASTY, err=True)
    echo(Path("x[1].csv"), nl=False)
    assert capsys.readouterr() == ("x[1].csv", f"{SHOWN}\n")


def shown_on(width, *renderables):
    file = io.StringIO()
    printer = console(file=file)
    printer.width = width
    for own in renderables:
        printer.print(own, soft_wrap=isinstance(own, Text))
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup(name):
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    table.add_row(text(name))
    printed = shown_on(80, table, name, Text(name), text(name, "bold red"))
    assert printed.count(name) == 7


def test_no_name_controls_the_terminal():
    table = Table("file")
    for cell in (NASTY, text(NASTY), Text(NASTY)):
        table.add_row(cell)
    printed = shown_on(200, table, NASTY, Text(NASTY), text(NASTY))
    assert re.findall(r"[^\n -~\u2500-\u257f]", printed) == []
    assert printed.count(SHOWN) == 4


def test_a_bar_shows_names_as_they_are(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    from rich.progress import TimeElapsedColumn

    from lploss_builtin.progress import terminal_bar

    file = io.StringIO()
    printer = console(file=file)
    with terminal_bar(printer, TimeElapsedColumn()) as bar:
        bar.add_task("[/red]\x1b]0;x\x07", total=1)
    assert "[/red]\\u001b]0;x" in file.getvalue()
    assert "\x1b]" not in file.getvalue()


def test_log_messages_are_escaped_in_the_meantime(caplog):
    log = logging.getLogger("lploss.somewhere")
    with printable_log():
        log.warning("cannot read %s", NASTY)
        log.warning(NASTY)
    log.warning("%s", "a\x1b[31m")
    assert caplog.messages == [f"cannot read {SHOWN}", SHOWN, "a\x1b[31m"]


def test_errors_warnings_and_logs_of_commands(capsys, caplog):
    app = typer.Typer(cls=cli._Group)

    @app.callback()
    def _options(debug: bool = False) -> None:
        pass

    @app.command()
    def fail() -> None:
        warnings.warn(NASTY, UserWarning, stacklevel=1)
        logging.getLogger("lploss").warning("cannot use %s", NASTY)
        raise DataError(f"{NASTY} cannot be read")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = CliRunner().invoke(app, ["fail"])
    assert result.exit_code == 1
    printed = result.output + capsys.readouterr().err
    assert f"error: {SHOWN} cannot be read" in printed
    assert not re.search("[\x1b\x9b\u202e\udcff]", printed)
    assert caplog.messages == [f"cannot use {SHOWN}"]


def test_nothing_is_printed_elsewhere():
    """Neither raw nor as markup: all of it goes through one module."""
    elsewhere = {
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        if path != Path(terminal.__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"(?<![\w.])Console\(|typer\.s?echo\b|sys\.std(out|err)\.write", line)
        and ">>>" not in line
    }
    assert elsewhere == set()
