"""Options that all benchmarks share, and their results as a table and as JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Quartiles

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Options:
    """What every benchmark may be told."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int = 2
    rounds: int = 40
    out: Path = _RESULTS

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
    parser.add_argument("--out", type=Path, default=_RESULTS, help="folder of the JSON files")
    given = vars(parser.parse_args())
    chosen = given.pop("names", [])
    if unknown := set(chosen) - set(names):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return Options(**given), chosen or list(names)


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 140).print(table)


def show_figures(figures: Sequence[Figure]) -> None:
    """Print what is asked for beside what was measured."""
    show(
        "Figures",
        ["", "required", "measured", ""],
        [
            [
                figure.what,
                f"{'>=' if figure.is_least else '<='} {figure.required:g}",
                f"{figure.measured:.2f}",
                "reached" if figure.reached else "MISSED",
            ]
            for figure in figures
        ],
    )


def save(name: str, options: Options, rows: Sequence[Any], figures: Sequence[Figure]) -> None:
    """Write the results of a benchmark as JSON."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{name}{options.suffix}.json"
    result = {
        "benchmark": name,
        "environment": environment(options),
        "figures": [{**asdict(figure), "reached": figure.reached} for figure in figures],
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(_rounded(result), indent=2) + "\n", encoding="utf-8")


def environment(options: Options) -> dict[str, Any]:
    """Return what the numbers depend on, besides the machine."""
    is_cuda = options.device.type == "cuda"
    return {
        "lploss": _version("lploss"),
        "lightning-pose": _version("lightning-pose"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(options.device) if is_cuda else "cpu",
        "threads": options.threads,
        "rounds": options.rounds,
    }


def milliseconds(seconds: Quartiles | None) -> str:
    """Return a time for a table, with its quartiles."""
    if seconds is None:
        return ""
    return f"{1e3 * seconds.median:.3g} ({1e3 * seconds.low:.3g} to {1e3 * seconds.high:.3g})"


def times(ratio: Quartiles | None) -> str:
    """Return a ratio for a table, with its quartiles."""
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


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
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
