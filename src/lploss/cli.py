"""The command ``lploss``: what there is, what it takes, and the commands of the plugins."""

from __future__ import annotations

import json
import signal
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from lploss.errors import (
    AmbiguousNameError,
    ArgumentError,
    ArgumentValueError,
    ConfigError,
    LplossError,
    PluginLoadWarning,
    UnknownNameError,
    first_line,
)
from lploss.registry import Entry, default_registry
from lploss.signals import ended_by_signals
from lploss.specs import CommandSpec, InputSpec, LossSpec, ModelSpec
from lploss.terminal import console, echo, printable, printable_log, text

if TYPE_CHECKING:
    from rich.table import Table

# What the user asked for cannot be understood, as against data that cannot be used.
_WRONG_USAGE = (
    AmbiguousNameError,
    ArgumentError,
    ArgumentValueError,
    ConfigError,
    UnknownNameError,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Listed(StrEnum):
    """What can be listed."""

    losses = "losses"
    models = "models"
    inputs = "inputs"
    commands = "commands"


_SPECS = {
    Listed.losses: LossSpec,
    Listed.models: ModelSpec,
    Listed.inputs: InputSpec,
    Listed.commands: CommandSpec,
}


class _PluginCommand(TyperCommand):
    """A plugin's command, imported when it is run: showing its summary imports nothing."""

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(name, help=summary, short_help=summary)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        function = default_registry.load(CommandSpec, str(self.name))
        plugin_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        plugin_app.command(self.name)(function)
        command = typer.main.get_command(plugin_app)
        return command.make_context(info_name, args, *rest, **extra)


class _Group(TyperGroup):
    """The commands of the core and of the plugins; errors of lploss end as one message."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *(n for n in default_registry.names(CommandSpec) if n not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        found = [e.spec for e in default_registry.entries(CommandSpec) if e.spec.name == cmd_name]
        if own is not None or not found:
            return own
        several = "provided by several distributions"
        return _PluginCommand(cmd_name, found[0].summary if len(found) == 1 else several)

    def invoke(self, ctx: Any) -> Any:
        self._debug = ctx.params["debug"]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Typer would only say that the command was aborted.
            sys.exit(128 + signal.SIGINT)

    def main(self, *args: Any, **extra: Any) -> Any:
        self._debug = False
        try:
            with ended_by_signals(), _warnings_as_messages(), printable_log():
                return super().main(*args, **extra)
        except (LplossError, OSError) as error:
            if self._debug:
                raise
            message = str(error) if isinstance(error, LplossError) else first_line(error)
            echo(f"error: {message}", err=True)
            sys.exit(2 if isinstance(error, _WRONG_USAGE) else 1)


app = typer.Typer(
    name="lploss",
    cls=_Group,
    help="Losses for pose estimation that any PyTorch trainer can pick up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@contextmanager
def _warnings_as_messages() -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, PluginLoadWarning):
            echo(f"warning: {message}", err=True)
        else:
            shown(printable(str(message)), category, *where, **more)

    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.showwarning = show
        warnings.simplefilter("always", PluginLoadWarning)
        yield


def _print_version(wanted: bool | None) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            echo(f"lploss {version('lploss')}")
        except PackageNotFoundError:
            echo("lploss, version unknown: its package metadata is missing")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = None,
) -> None:
    pass


@app.command("list")
def list_(
    what: Annotated[Listed, typer.Argument(help="What to list.")] = Listed.losses,
    as_json: JsonOption = False,
) -> None:
    """List the losses that are installed, or the models, inputs or commands."""
    entries: list[Entry[Any]] = default_registry.entries(_SPECS[what])
    rows = [
        {
            "name": entry.spec.name,
            "summary": getattr(entry.spec, "summary", None) or entry.spec.meaning,
            "provider": f"{entry.plugin.distribution} {entry.plugin.version}",
        }
        for entry in entries
    ]
    _print(rows, as_json, what.value)


@app.command()
def plugins(
    as_json: JsonOption = False,
    load: Annotated[
        bool, typer.Option("--load", help="Import everything they provide, to see failures.")
    ] = False,
) -> None:
    """Show the plugins: whose, whether they loaded, how long it took, and what failed."""
    with warnings.catch_warnings():
        # The table tells the same, with the reason.
        warnings.simplefilter("ignore", PluginLoadWarning)
        found = default_registry.plugins
    rows: list[dict[str, Any]] = []
    for plugin in found:
        failures = [str(plugin.failure)] if plugin.failure else []
        for spec in plugin.specs if load else ():
            if isinstance(spec, InputSpec) and spec.derived_by is None:
                continue
            try:
                default_registry.load(type(spec), f"{plugin.distribution}/{spec.name}")
            except LplossError as error:
                failures.append(str(error))
        rows.append(
            {
                "plugin": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "status": "failed" if failures else plugin.status,
                "ms": round(1000 * plugin.seconds, 2),
                "imports": list(plugin.heavy),
                "provides": [f"{spec.noun} {spec.name}" for spec in plugin.specs],
                "failure": "\n".join(failures) or None,
            }
        )
    if as_json:
        _print(rows, as_json, "plugins")
        return
    shown = []
    for row in rows:
        heavy = f" (imports {', '.join(row['imports'])})" if row["imports"] else ""
        number = len(row["provides"])
        shown.append(
            {name: row[name] for name in ("plugin", "distribution", "version", "status")}
            | {"ms": f"{row['ms']}{heavy}", "provides": f"{number} name{'s' * (number != 1)}"}
        )
    _print(shown, as_json, "plugins")
    for row in rows:
        # Below the table, where a message has the width of the terminal.
        if row["failure"]:
            echo(f"{row['distribution']} {row['version']} ({row['plugin']}) failed:")
            echo(textwrap.indent(row["failure"], "  ") + "\n")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A loss, a model or an input.")],
    as_json: JsonOption = False,
) -> None:
    """Show a loss: its parameters and inputs, with units; or a model or an input."""
    for spec_type in (LossSpec, ModelSpec, InputSpec):
        if name.rpartition("/")[2] in default_registry.names(spec_type):
            described = _described(default_registry.find(spec_type, name))
            break
    else:
        # Nobody has it: the error of a loss names the close matches.
        described = _described(default_registry.find(LossSpec, name))
    if as_json:
        _print(described, as_json, name)
        return
    for section, content in described.items():
        if isinstance(content, list):
            _print(content, as_json, section)
        else:
            echo(f"{section + ':':<12} {content}")


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]... [KEY=VALUE]...",
            help="The losses; all unless given. Of one loss, arguments to check it with.",
        ),
    ] = None,
    distribution: Annotated[
        str | None, typer.Option(metavar="D", help="The losses of this distribution only.")
    ] = None,
    examples: Annotated[
        int, typer.Option(min=1, help="How many examples a check tries; some need fewer.")
    ] = 25,
    seed: Annotated[int, typer.Option(help="Of the examples.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CHECK", help="Run this check; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that losses do all that they must to work in any trainer."""
    from lploss.testing.command import check_losses, names_and_arguments, names_to_check

    given, arguments = names_and_arguments(names or ())
    asked = names_to_check(given, distribution, default_registry)
    reports = []
    for report in check_losses(
        asked,
        num_examples=examples,
        seed=seed,
        only=only or (),
        registry=default_registry,
        arguments=arguments,
    ):
        reports.append(report)
        if not as_json:
            if len(asked) == 1:
                report.print_table()
            echo(f"{report}\n" if not report.ok else str(report))
    if as_json:
        _print([report.as_dict() for report in reports], as_json, "checks")
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the loss, such as bone_length.")],
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the folder of the distribution is made.")
    ] = Path(),
) -> None:
    """Write a distribution with a loss of your own: all but the formula is done."""
    import shlex

    from lploss.new import new_distribution

    made = new_distribution(name, into, default_registry)
    echo(f"written to {made.folder}:")
    for path in made.written:
        echo(f"  {path}")
    echo("\nIt works as it is. Next:")
    echo(f"  cd {shlex.quote(str(made.folder))}")
    echo('  pip install -e ".[test]"')
    echo(f"  lploss check {name}")
    echo("  pytest")
    echo(f"Then put your formula into {made.formula}, at TODO.")


def _described(entry: Entry[Any]) -> dict[str, Any]:
    spec, plugin = entry.spec, entry.plugin
    described: dict[str, Any] = {
        spec.noun: spec.name,
        "provider": f"{plugin.distribution} {plugin.version}, plugin {plugin.name}",
    }
    if isinstance(spec, InputSpec):
        return described | {
            "meaning": spec.meaning,
            "axes": spec.axes,
            "unit": spec.unit,
            "derived by": spec.derived_by or "nothing: it is given",
        }
    loaded = default_registry.load(type(spec), entry.qualified_name)
    described |= {"class": spec.target, "summary": spec.summary}
    if isinstance(spec, LossSpec):
        described |= {
            "kind": loaded.kind,
            "unit": loaded.unit,
            "mean over": f"{loaded.denominator} elements",
            "annealed": loaded.annealed,
        }
    described["parameters"] = _parameters(loaded)
    if isinstance(spec, LossSpec):
        described["inputs"] = _inputs(loaded)
    return described


def _parameters(loaded: Any) -> list[dict[str, Any]]:
    import inspect

    from docstring_parser import parse

    meanings = {p.arg_name: p.description for p in parse(loaded.__doc__ or "").params}
    return [
        {
            "name": name,
            "type": parameter.annotation
            if isinstance(parameter.annotation, str)
            else inspect.formatannotation(parameter.annotation),
            "default": "required"
            if parameter.default is inspect.Parameter.empty
            else repr(parameter.default),
            "meaning": " ".join((meanings.get(name) or "").replace("`", "").split()),
        }
        for name, parameter in inspect.signature(loaded).parameters.items()
        if name != "loss_name"  # which goes with the name that was asked for
    ]


def _inputs(loaded: Any) -> list[dict[str, Any]]:
    rows = []
    for name, required in loaded.inputs.items():
        specs = [e.spec for e in default_registry.entries(InputSpec) if e.spec.name == name]
        spec = specs[0] if specs else None
        rows.append(
            {
                "name": name,
                "required": "yes" if required else "no",
                "axes": spec.axes if spec else "",
                "unit": spec.unit if spec else "",
                "meaning": spec.meaning if spec else "",
            }
        )
    return rows


def _print(content: Any, as_json: bool, title: str) -> None:
    if as_json:
        echo(json.dumps(content, indent=2))
        return
    console().print(_table(content, title))


def _table(rows: list[dict[str, Any]], title: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for heading in rows[0] if rows else ("name", "summary", "provider"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading in ("name", "plugin", "distribution")
        )
    for row in rows:
        table.add_row(*map(text, row.values()))
    return table


def main() -> None:
    """Run the command line."""
    app(prog_name="lploss")


if __name__ == "__main__":
    main()
