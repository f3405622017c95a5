"""A function in several processes that form one group, as in a distributed training."""

from __future__ import annotations

import faulthandler
import os
import pickle
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any, NamedTuple

from lploss.errors import ArgumentValueError, ProcessError

_PAUSE_S = 0.01
# So long may the cause of a failure take to show after its consequence in another process.
_GRACE_S = 0.1
# So long before they are ended, processes that hang write down where.
_LAST_WORDS_S = 0.5
_MOST_LINES = 40
# It is the caller's that ends processes which wait in vain.
_NO_LIMIT = timedelta(days=1)


class _Outcome(NamedTuple):
    """How the function ended in one process: with a value, or with a traceback."""

    value: Any
    traceback: str | None
    time: float


def run_in_processes(target: str, payloads: Sequence[Any], *, timeout: float = 60.0) -> list[Any]:
    """Call a function in as many processes as there are payloads.

    They are fresh interpreters with this one's ``sys.path``, of one thread each, and form a group
    of ``torch.distributed`` with the backend gloo. When one fails, the others are ended.

    Args:
        target: the function, as ``"module:function"``; it is called with one payload.
        payloads: for each process what it gets; must be picklable, as must be what it returns.
        timeout: all processes must finish in this time, their start included; s.

    Returns:
        What the processes returned, in the order of the payloads.

    Raises:
        ArgumentValueError: ``target`` is no such text, or there are no payloads.
        ProcessError: a process failed, with its traceback; or some did not finish in time.

    Example:
        >>> run_in_processes("math:sqrt", [4.0, 9.0])
        [2.0, 3.0]
    """
    module, _, function = target.partition(":")
    if not module or not function:
        raise ArgumentValueError(f"target must be 'module:function', got {target!r}")
    if not payloads:
        raise ArgumentValueError("payloads must hold one payload for each process, got none")
    deadline = time.time() + timeout
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory(prefix="lploss-processes-") as name:
        folder = Path(name)
        (folder / "packages.pickle").write_bytes(pickle.dumps(_namespace_packages()))
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank, payload in enumerate(payloads):
                _payload(folder, rank).write_bytes(pickle.dumps(payload))
                arguments = [str(folder), str(rank), str(len(payloads)), target, str(deadline)]
                with _log(folder, rank).open("wb") as log:
                    processes.append(
                        subprocess.Popen(
                            # As a script, for the package around it takes long to import.
                            [sys.executable, "-P", __file__, *arguments],
                            env=environment,
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=subprocess.STDOUT,
                        )
                    )
            outcomes = _outcomes(folder, processes, deadline)
            _raise_failure(folder, processes, outcomes, target, timeout)
            return [outcomes[rank].value for rank in range(len(payloads))]
        finally:
            # All that finished have handed over what they found: their own end needs no waiting.
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def _outcomes(
    folder: Path, processes: Sequence[subprocess.Popen[bytes]], deadline: float
) -> dict[int, _Outcome]:
    """Wait until all processes have finished, one has failed, or the time is up."""
    while True:
        have_ended = [process.poll() is not None for process in processes]
        outcomes = _outcomes_so_far(folder, len(processes))
        have_failed = [outcome.traceback is not None for outcome in outcomes.values()]
        died = any(ended and rank not in outcomes for rank, ended in enumerate(have_ended))
        if died or any(have_failed):
            time.sleep(_GRACE_S)
            return _outcomes_so_far(folder, len(processes))
        if len(outcomes) == len(processes) or time.time() > deadline:
            return outcomes
        time.sleep(_PAUSE_S)


def _outcomes_so_far(folder: Path, num_processes: int) -> dict[int, _Outcome]:
    paths = {rank: _outcome(folder, rank) for rank in range(num_processes)}
    # The processes hand over plain tuples: to them, this module's classes are those of a script.
    return {r: _Outcome(*pickle.loads(p.read_bytes())) for r, p in paths.items() if p.exists()}


def _raise_failure(
    folder: Path,
    processes: Sequence[subprocess.Popen[bytes]],
    outcomes: dict[int, _Outcome],
    target: str,
    timeout: float,
) -> None:
    """Raise for the first process that failed, for others may have failed only because of it."""
    for rank, process in enumerate(processes):
        if rank not in outcomes and process.poll() is not None:
            raise ProcessError(
                f"process {rank} of {len(processes)} ended with status {process.returncode} before "
                f"{target!r} returned. It wrote:\n{_last_lines(folder, rank)}"
            )
    failed = {r: o for r, o in outcomes.items() if o.traceback is not None}
    if failed:
        rank = min(failed, key=lambda r: failed[r].time)
        # It leaves the group then, which is why a collective call of the others fails.
        done = [str(r) for r, outcome in outcomes.items() if outcome.traceback is None]
        after = f", after {', '.join(done)} had returned" if done else ""
        raise ProcessError(
            f"process {rank} of {len(processes)} failed in {target!r}{after}:\n"
            f"{failed[rank].traceback}"
        )
    late = [rank for rank in range(len(processes)) if rank not in outcomes]
    if late:
        raise ProcessError(
            f"of {len(processes)} processes, {', '.join(map(str, late))} did not finish {target!r} "
            f"in {timeout:g} s. Either this needs more time (timeout=...), or they wait for a "
            f"process that does not make the same calls. Process {late[0]} was here:\n"
            f"{_last_lines(folder, late[0])}"
        )


def _last_lines(folder: Path, rank: int) -> str:
    lines = _log(folder, rank).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_MOST_LINES:])


def _namespace_packages() -> dict[str, list[str]]:
    """Return the packages without a file of their own, and the folders that they consist of.

    A folder of tests is such a package. Others find it only where nothing else has its name, which
    is not so for ``tests``: now and then a distribution installs one by mistake.
    """
    return {
        name: list(module.__path__)
        for name, module in list(sys.modules.items())
        if getattr(module, "__file__", None) is None and hasattr(module, "__path__")
    }


def _import_namespace_packages(packages: dict[str, list[str]]) -> None:
    for name, folders in packages.items():
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = folders
        sys.modules.setdefault(name, module_from_spec(spec))


def _payload(folder: Path, rank: int) -> Path:
    return folder / f"payload-{rank}.pickle"


def _outcome(folder: Path, rank: int) -> Path:
    return folder / f"outcome-{rank}.pickle"


def _log(folder: Path, rank: int) -> Path:
    return folder / f"log-{rank}.txt"


def _main(folder: Path, rank: int, num_processes: int, target: str, deadline: float) -> None:
    """Call the function in this process, and write down how it ended."""
    import torch.distributed as dist

    faulthandler.dump_traceback_later(max(deadline - time.time() - _LAST_WORDS_S, 0.0))
    try:
        outcome = pickle.dumps((_called(folder, rank, num_processes, target), None, time.time()))
    except BaseException:
        outcome = pickle.dumps((None, traceback.format_exc(), time.time()))
    faulthandler.cancel_dump_traceback_later()
    written = folder / f"written-{rank}"
    written.write_bytes(outcome)
    written.replace(_outcome(folder, rank))  # at once, so that nobody reads half of it
    # Last, for it makes others fail that still count on this process.
    if dist.is_initialized():
        dist.destroy_process_group()


def _called(folder: Path, rank: int, num_processes: int, target: str) -> Any:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "group").as_uri(),
        rank=rank,
        world_size=num_processes,
        timeout=_NO_LIMIT,
    )
    _import_namespace_packages(pickle.loads((folder / "packages.pickle").read_bytes()))
    module, _, function = target.partition(":")
    payload = pickle.loads(_payload(folder, rank).read_bytes())
    return getattr(import_module(module), function)(payload)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
