"""Options that all benchmarks share, and their results as tables and as JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Quartiles

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Options:
    """What every benchmark may be told."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int = 2
    rounds: int = 40
    out: Path = RESULTS

    @property
    def suffix(self) -> str:
        """What tells the files of a device apart."""
        return "" if self.device.type == "cpu" else f"-{self.device.type}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is asked for, and what was measured.

    Attributes:
        what: what is measured.
        required: the least ratio, or the most.
        measured: the median ratio.
        is_least: whether ``required`` is the least; else it is the most.
    """

    what: str
    required: float
    measured: float
    is_least: bool = True

    @property
    def reached(self) -> bool:
        """Whether the figure is reached."""
        if self.is_least:
            return self.measured >= self.required
        return self.measured <= self.required


def options(description: str | None, names: Sequence[str] = ()) -> tuple[Options, list[str]]:
    """Read the options off the command line, and which benchmarks to run."""
    parser = argparse.ArgumentParser(description=description)
    if names:
        parser.add_argument("names", nargs="*", help=f"of {', '.join(names)}; all unless given")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    parser.add_argument("--rounds", type=int, default=40, help="how often each call is timed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    given = vars(parser.parse_args())
    chosen = given.pop("names", [])
    if unknown := set(chosen) - set(names):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return Options(**given), chosen or list(names)


def publish(
    name: str,
    options: Options,
    table: Mapping[str, Sequence[str]],
    rows: Sequence[Any],
    figures: Sequence[Figure] = (),
    note: str = "",
) -> None:
    """Print the results of a benchmark, and write them as JSON and as Markdown.

    Args:
        name: name of the benchmark, and of the files.
        options: what it was told.
        table: for each heading the cells below it; the first column is text.
        rows: all that was measured, for the JSON file.
        figures: what is asked for.
        note: a line below the tables.
    """
    tables = [table, _table_of(figures)] if figures else [table]
    console = Console()
    if not console.is_terminal:
        console.width = 200
    for columns in tables:
        printed = Table(title=name, title_justify="left")
        for number, heading in enumerate(columns):
            printed.add_column(heading, justify="right" if number else "left")
        for cells in zip(*columns.values(), strict=True):
            printed.add_row(*cells)
        console.print(printed)
    if note:
        console.print(note)

    about = environment(options)
    result = {
        "benchmark": name,
        "environment": about,
        "figures": [{**asdict(figure), "reached": figure.reached} for figure in figures],
        "rows": [asdict(row) for row in rows],
    }
    sections = [
        f"# {name}",
        ", ".join(f"{key} {value}" for key, value in about.items() if value is not None),
        *map(_markdown, tables),
        *([note] if note else []),
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{name}{options.suffix}"
    path.with_suffix(".json").write_text(
        json.dumps(_rounded(result), indent=2) + "\n", encoding="utf-8"
    )
    path.with_suffix(".md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _table_of(figures: Sequence[Figure]) -> dict[str, list[str]]:
    return {
        "figure": [figure.what for figure in figures],
        "required": [f"at {'least' if f.is_least else 'most'} {f.required:g}" for f in figures],
        "measured": [f"{figure.measured:.2f}" for figure in figures],
        "": ["reached" if figure.reached else "MISSED" for figure in figures],
    }


def _markdown(table: Mapping[str, Sequence[str]]) -> str:
    lines = [list(table), ["---", *["--:"] * (len(table) - 1)], *zip(*table.values(), strict=True)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def environment(options: Options) -> dict[str, Any]:
    """Return what the numbers depend on, besides the machine."""
    is_cuda = options.device.type == "cuda"
    return {
        "lploss": _version("lploss"),
        "lightning-pose": _version("lightning-pose"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(options.device) if is_cuda else "cpu",
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
    }


def milliseconds(seconds: Quartiles | None) -> str:
    """Return a time for a table: the median, and between which quartiles it lies."""
    if seconds is None:
        return ""
    low, median, high = (_digits(1e3 * s) for s in (seconds.low, seconds.median, seconds.high))
    return f"{median} ({low} - {high})"


def times(ratio: Quartiles | None) -> str:
    """Return a ratio for a table: the median, and between which quartiles it lies."""
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} - {ratio.high:.2f})"


def mebibytes(number: int | None) -> str:
    """Return an amount of memory for a table."""
    return "" if number is None else f"{number / 2**20:.2f}"


def _digits(value: float) -> str:
    """Return three digits of a number, or all before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def run(name: str, description: str | None, benchmark: Callable[[Options], None]) -> None:
    """Run one benchmark with the options of the command line."""
    given, _ = options(f"{name}: {description}")
    benchmark(given)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _rounded(value: Any) -> Any:
    """Return the value with four digits of each fraction: more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
