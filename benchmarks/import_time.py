"""What it takes to start: the imports and ``lploss list``, each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks import peer, report
from benchmarks.report import Options
from benchmarks.timing import Quartiles

_LIST = "import sys; sys.argv = ['lploss', 'list']; from lploss.cli import main; main()"
_CLASSES = "import torch; import lploss; [lploss.load_loss(n) for n in lploss.list_losses()]"

# Each program, and the one whose time it adds to.
_PROGRAMS = {
    "python": ("", "python"),
    "import lploss": ("import lploss", "python"),
    "lploss.list_losses()": ("import lploss; lploss.list_losses()", "python"),
    "lploss list": (_LIST, "python"),
    "import torch": ("import torch", "python"),
    "all loss classes": (_CLASSES, "import torch"),
}
_OF_PEER = {
    "the peer's losses": ("import torch; import lightning_pose.losses.losses", "import torch")
}


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one program; times in seconds.

    Attributes:
        program: what runs.
        seconds: time from start to end.
        added_to: the program that it is compared with.
        added: what it takes more than that one, in the same round.
    """

    program: str
    seconds: Quartiles
    added_to: str
    added: Quartiles


def main() -> None:
    report.run("import_time", __doc__, run)


def run(options: Options) -> None:
    programs = _PROGRAMS if peer.losses() is None else _PROGRAMS | _OF_PEER
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(1 + max(5, options.rounds // 4)):
        for name, (code, _) in programs.items():
            taken = _time(code)
            if turn:  # the first time compiles, and reads from the disk
                seconds[name].append(taken)
    rows = [
        Row(
            name,
            Quartiles.of(seconds[name]),
            base,
            Quartiles.of([a - b for a, b in zip(seconds[name], seconds[base], strict=True)]),
        )
        for name, (_, base) in programs.items()
    ]
    table = {
        "program": [row.program for row in rows],
        "ms": [report.milliseconds(row.seconds) for row in rows],
        "more than": [row.added_to for row in rows],
        "by ms": [report.milliseconds(row.added) for row in rows],
    }
    report.publish("import_time", options, table, rows)


def _time(code: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
