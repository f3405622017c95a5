"""Tasks on a Dask cluster, any of whose workers may die."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from lploss.errors import ArgumentValueError, ProcessError, first_line
from lploss_builtin.commands.spreading.calls import Ended
from lploss_builtin.commands.spreading.on_a_worker import do
from lploss_builtin.commands.spreading.versions import Versions, differences, reader_of_versions
from lploss_builtin.data.dependencies import require

_PURPOSE = "to spread work over a Dask cluster"
_CONNECT_S = 10.0
_FIRST_WORKER_S = 60.0
# So long may there be no worker at all, as while a batch system starts others.
_NO_WORKER_S = 600.0
_LOOK_S = 1.0
# A file system that machines share may show a new folder late.
_FOLDER_S = 10.0


def on_cluster(
    scheduler: str,
    function: bytes,
    tasks: Sequence[bytes],
    names: Sequence[str],
    folder: Path | None = None,
) -> Generator[Ended]:
    """Call a function on the workers of a Dask cluster; yield how each task ended.

    A task whose worker dies goes to another one, as often as the cluster's setting
    ``distributed.scheduler.allowed-failures`` says. Dask then blames all tasks that the worker
    had, also those that only waited there; so they are tried once more at the end, each by itself.

    Args:
        scheduler: address of the scheduler, or its file ``*.json``.
        function: the function, pickled.
        tasks: its arguments, pickled.
        names: what each task is called in errors.
        folder: one that every worker must see.

    Raises:
        ProcessError: the scheduler cannot be reached, a worker is not fit, or all have gone.
        MissingDependencyError: Dask is not installed.
    """
    distributed = require("distributed", "cluster", _PURPOSE)
    client = _client(distributed, scheduler)
    try:
        versions = _checked_versions(client, scheduler, folder)
        # A task of the cluster: it is done again where the worker that keeps it dies.
        kept = client.submit(bytes, function, pure=False)
        run = _Run(distributed, client, scheduler, (kept, versions), tasks, names)
        suspects = []
        try:
            run.begin(range(len(tasks)))
            for ended in run.ended():
                if isinstance(ended.error, distributed.KilledWorker):
                    suspects.append(ended.number)
                else:
                    yield ended
            for number in suspects:
                run.begin([number])
                for ended in run.ended():
                    killed = isinstance(ended.error, distributed.KilledWorker)
                    yield Ended(number, error=_lost(names[number])) if killed else ended
        finally:
            run.take_back()
    finally:
        client.close()


class _Run:
    """Tasks that were handed to a cluster and have not come back."""

    def __init__(
        self,
        distributed: Any,
        client: Any,
        scheduler: str,
        of_all: tuple[Any, ...],
        tasks: Sequence[bytes],
        names: Sequence[str],
    ) -> None:
        self._distributed, self._client, self._scheduler = distributed, client, scheduler
        self._of_all, self._tasks, self._names = of_all, tasks, names
        self._futures: dict[int, Any] = {}
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._last_seen = time.monotonic()

    def begin(self, numbers: Sequence[int]) -> None:
        """Hand over tasks."""
        for number in numbers:
            self._futures[number] = self._client.submit(
                do, *self._of_all, self._tasks[number], pure=False
            )
        for number in numbers:
            self._futures[number].add_done_callback(
                lambda _, number=number: self._ended.put(number)
            )

    def ended(self) -> Generator[Ended]:
        """Wait for what was handed over, and yield how each ended, whichever ends first."""
        while self._futures:
            try:
                number = self._ended.get(timeout=_LOOK_S)
            except Empty:
                self._check_that_somebody_is_there()
                continue
            self._last_seen = time.monotonic()
            yield self._how_it_ended(number, self._futures.pop(number))

    def take_back(self) -> None:
        """Take back what has not ended."""
        if self._futures and self._client.status == "running":
            self._client.cancel(list(self._futures.values()), force=True)

    def _how_it_ended(self, number: int, future: Any) -> Ended:
        while True:
            try:
                return Ended(number, future.result(timeout=_LOOK_S))
            except TimeoutError:
                # It was done, and the worker that kept the result has died since.
                self._check_that_somebody_is_there()
            except self._distributed.KilledWorker as error:
                return Ended(number, error=error)
            except Exception as error:
                if future.status == "cancelled" or self._client.status != "running":
                    raise self._gone() from error
                why = ProcessError(f"{self._names[number]}: {first_line(error)}")
                return Ended(number, error=why)

    def _check_that_somebody_is_there(self) -> None:
        now = time.monotonic()
        try:
            has_workers = bool(self._client.nthreads())
        except (OSError, ValueError) as error:
            raise self._gone() from error
        if has_workers:
            self._last_seen = now
        elif now - self._last_seen > _NO_WORKER_S:
            raise ProcessError(
                f"the cluster {self._scheduler} has had no worker for {_NO_WORKER_S:g} s"
            )

    def _gone(self) -> ProcessError:
        return ProcessError(
            f"the scheduler {self._scheduler} has gone before all was done. Start it again, and "
            "then this."
        )


def _client(distributed: Any, scheduler: str) -> Any:
    given = {"address": scheduler}
    if scheduler.endswith(".json"):
        # Dask would wait for it.
        if not Path(scheduler).is_file():
            raise ArgumentValueError(f"there is no file {scheduler} of a scheduler")
        given = {"scheduler_file": scheduler}
    elif not re.fullmatch(r"(\w+://)?[^\s/]+:\d+/?", scheduler):
        raise ArgumentValueError(
            "the scheduler must be an address such as tcp://host:8786, or its file *.json; got "
            f"{scheduler!r}"
        )
    try:
        return distributed.Client(**given, timeout=_CONNECT_S, set_as_default=False)
    except OSError as error:
        raise ProcessError(
            f"the scheduler {scheduler} cannot be reached within {_CONNECT_S:g} s. Start it by "
            "`dask scheduler`, which prints its address, and look whether a firewall is between."
        ) from error


def _checked_versions(client: Any, scheduler: str, folder: Path | None) -> Versions:
    """Return the versions of what is installed here, which are those of all workers.

    Raises:
        ProcessError: they are not, there is no worker, or one does not see the folder.
    """
    try:
        client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
    except TimeoutError as error:
        raise ProcessError(
            f"the cluster {scheduler} has no worker, and got none within {_FIRST_WORKER_S:g} s. "
            f"Start some by `dask worker {scheduler}`."
        ) from error
    here = reader_of_versions()()
    found = client.run(reader_of_versions(), on_error="return")
    unfit = {
        worker: f"cannot say what is installed ({first_line(versions)})"
        if isinstance(versions, BaseException)
        else differences(here, versions)
        for worker, versions in found.items()
    }
    if folder is not None and not any(unfit.values()):
        unfit = dict.fromkeys(_without_sight_of(folder, client), f"does not see {folder}")
    if any(unfit.values()):
        each = "\n".join(f"  {worker}: {why}" for worker, why in unfit.items() if why)
        raise ProcessError(
            f"workers of {scheduler} are not fit for this:\n{each}\nAll need the packages that "
            "are installed here, and the same folders under the same names."
        )
    return here


def _without_sight_of(folder: Path, client: Any) -> list[str]:
    end = time.monotonic() + _FOLDER_S
    while True:
        found = client.run(os.path.isdir, str(folder.absolute()))
        blind = [worker for worker, sees in found.items() if not sees]
        if not blind or time.monotonic() > end:
            return blind
        time.sleep(_LOOK_S)


def _lost(name: str) -> ProcessError:
    return ProcessError(
        f"{name}: all workers that did it died, also where it was their only task. Where memory is "
        "short, give them more, or start fewer on a machine."
    )
