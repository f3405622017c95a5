"""Many tasks, done here, in several processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from lploss.errors import ArgumentValueError, ProcessError, first_line
from lploss.registry import default_registry
from lploss_builtin.dependencies import require

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT_S = 10.0
_FIRST_WORKER_S = 60.0
# How long there may be no worker at all, for example while a batch system starts new ones.
_NO_WORKER_S = 600.0
_POLL_S = 1.0
# A shared file system may show a new folder late.
_FOLDER_S = 10.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# A worker may have several threads; drawing and predicting need the process to themselves.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """How one task ended.

    Attributes:
        number: index of the task.
        error: what it raised, or why it could not be done; ``None`` if it is done.
    """

    number: int
    _result: Result | None
    error: Exception | None = None

    @property
    def result(self) -> Result:
        """What the function returned.

        Raises:
            Exception: the error, if there is one.
        """
        if self.error is not None:
            raise self.error
        return self._result  # type: ignore[return-value]


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    names: Sequence[str] | None = None,
    processes: int = 1,
    scheduler: str | None = None,
    folder: Path | None = None,
    progress: Callable[[Outcome[Result]], None] | None = None,
) -> Generator[Outcome[Result]]:
    """Call a function with each task, and yield the outcomes in the order of the tasks.

    An error ends only its own task. Closing the generator (`contextlib.closing`) or an interrupt
    ends all processes and cancels what a cluster has not started.

    If a worker dies, its task is given to another one. A task may therefore be done twice, and
    must leave the same files then.

    Args:
        function: called with each task. With several processes or a cluster the function, the
            tasks and the results are pickled.
        tasks: the tasks, for example one per recording.
        names: what each task is called in errors.
        processes: number of processes on this machine, a Dask ``LocalCluster``; they share the
            threads that torch would use here. One process needs no Dask.
        scheduler: use this Dask cluster instead: address of its scheduler, such as
            ``tcp://host:8786``, or path of its scheduler file, ``*.json``.
        folder: a folder that every worker of the cluster must see.
        progress: called as soon as a task is done, in any order.

    Yields:
        The outcome of each task.

    Raises:
        ArgumentValueError: an argument cannot be used, or cannot be pickled.
        ProcessError: processes cannot be started; or the cluster cannot be reached, does not fit,
            or has gone.
        MissingDependencyError: Dask is not installed.

    Example:
        >>> [outcome.result for outcome in spread(abs, [-3, 2, -1])]
        [3, 2, 1]
    """
    if processes < 1:
        raise ArgumentValueError(f"processes must be at least 1, got {processes}")
    if processes > 1 and scheduler is not None:
        raise ArgumentValueError(
            f"give either the number of processes, here {processes}, or the scheduler of a "
            f"cluster, here {scheduler}, not both"
        )
    if names is None:
        names = [f"task {number} of {len(tasks)}" for number in range(1, len(tasks) + 1)]
    num_processes = min(processes, len(tasks))
    if scheduler is None and num_processes <= 1:
        return _here(function, tasks, progress)
    pickled = _pickled("the function", function)
    parts = [_pickled(name, task) for name, task in zip(names, tasks, strict=True)]
    return _on_dask(pickled, parts, names, num_processes, scheduler, folder, progress)


def _here(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    progress: Callable[[Outcome[Result]], None] | None,
) -> Generator[Outcome[Result]]:
    for number, task in enumerate(tasks):
        try:
            outcome = Outcome(number, function(task))
        except Exception as error:
            outcome = Outcome(number, None, error)
        if progress is not None:
            progress(outcome)
        yield outcome
        del outcome  # before the next one takes its memory


def _pickled(what: str, value: object) -> bytes:
    # Plain pickle, not Dask's: that would send what only this script defines, and workers would
    # fail where they look for the rest of it.
    try:
        return pickle.dumps(value)
    except Exception as error:
        raise ArgumentValueError(
            f"{what} cannot be sent to another process: {first_line(error)}. Use one process, or "
            "define it by name in a module."
        ) from error


def _on_dask(
    function: bytes,
    tasks: Sequence[bytes],
    names: Sequence[str],
    num_processes: int,
    scheduler: str | None,
    folder: Path | None,
    progress: Callable[[Outcome[Any]], None] | None,
) -> Generator[Outcome[Any]]:
    distributed = require("distributed", "cluster", "to use several processes or a cluster")
    with ExitStack() as stack:
        if scheduler is None:
            where = f"{num_processes} processes"
            client = stack.enter_context(_local_client(distributed, num_processes))
            versions: Mapping[str, str] = {}
        else:
            where = f"the cluster {scheduler}"
            client = stack.enter_context(_client(distributed, scheduler))
            versions = _checked_versions(client, scheduler, folder)
        calls = _Calls(distributed, client, where)
        stack.callback(calls.cancel)
        # The function is a task of the cluster as well, which is repeated if its worker dies.
        call = partial(client.submit, _call, client.submit(bytes, function, pure=False), versions)
        waiting: dict[int, Outcome[Any]] = {}
        suspects: list[int] = []
        due = 0

        def ended(number: int, outcome: Outcome[Any] | None) -> Iterator[Outcome[Any]]:
            nonlocal due
            if outcome is None:
                lost = ProcessError(
                    f"{names[number]}: every worker that did it died, even when it was the only "
                    "task. If memory is short, use fewer processes or give workers more memory."
                )
                outcome = Outcome(number, None, lost)
            waiting[number] = outcome
            if progress is not None:
                progress(outcome)
            while due in waiting:
                yield waiting.pop(due)
                due += 1

        calls.submit(call, dict(enumerate(tasks)))
        for number, outcome in calls.outcomes(names):
            if outcome is None:
                suspects.append(number)
            else:
                yield from ended(number, outcome)
        # Dask blames all tasks that a dead worker held, also those that were only waiting there:
        # each of them gets another try, alone.
        for suspect in suspects:
            calls.submit(call, {suspect: tasks[suspect]})
            for number, outcome in calls.outcomes(names):
                yield from ended(number, outcome)


class _Calls:
    """Tasks that were handed to a cluster and have not ended."""

    def __init__(self, distributed: Any, client: Any, where: str) -> None:
        self._distributed, self._client, self._where = distributed, client, where
        self._futures: dict[int, Any] = {}
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._last_seen = time.monotonic()

    def submit(self, call: Callable[..., Any], tasks: Mapping[int, bytes]) -> None:
        for number, task in tasks.items():
            self._futures[number] = call(task, pure=False)
        for number in tasks:
            self._futures[number].add_done_callback(
                lambda _, number=number: self._ended.put(number)
            )

    def outcomes(self, names: Sequence[str]) -> Iterator[tuple[int, Outcome[Any] | None]]:
        """Yield the outcomes as tasks end; ``None`` where the workers of a task kept dying."""
        while self._futures:
            try:
                number = self._ended.get(timeout=_POLL_S)
            except Empty:
                self._check_workers()
                continue
            self._last_seen = time.monotonic()
            yield number, self._outcome(number, names[number], self._futures.pop(number))

    def cancel(self) -> None:
        if self._futures and self._client.status == "running":
            self._client.cancel(list(self._futures.values()), force=True)

    def _outcome(self, number: int, name: str, future: Any) -> Outcome[Any] | None:
        while True:
            try:
                return Outcome(number, *pickle.loads(future.result(timeout=_POLL_S)))
            except TimeoutError:
                # It was done, and the worker that held the result has died since.
                self._check_workers()
            except self._distributed.KilledWorker:
                return None
            except Exception as error:
                if future.status == "cancelled" or self._client.status != "running":
                    raise self._gone() from error
                return Outcome(number, None, ProcessError(f"{name}: {first_line(error)}"))

    def _check_workers(self) -> None:
        now = time.monotonic()
        try:
            has_workers = bool(self._client.nthreads())
        except (OSError, ValueError) as error:
            raise self._gone() from error
        if has_workers:
            self._last_seen = now
        elif now - self._last_seen > _NO_WORKER_S:
            raise ProcessError(f"{self._where} has had no worker for {_NO_WORKER_S:g} s")

    def _gone(self) -> ProcessError:
        return ProcessError(
            f"the scheduler of {self._where} stopped before all tasks were done. Start it again, "
            "then rerun the command."
        )


def _call(function: bytes, versions: Mapping[str, str], task: bytes) -> bytes:
    """Do one task on a worker; return its result and its error, pickled."""
    if differing := _differences(versions, _versions_here() if versions else {}):
        raise ProcessError(f"a worker that joined has other versions: {differing}")
    with _ONE_AT_A_TIME:
        try:
            return pickle.dumps((_unpickled(function)(pickle.loads(task)), None))
        except Exception as error:
            where = "".join(traceback.format_exception(error)).rstrip()
            try:
                sent = pickle.loads(pickle.dumps(error))
            except Exception:
                sent = ProcessError(first_line(error))
            sent.add_note(f"In another process:\n{where}")
            return pickle.dumps((None, sent))


@lru_cache(maxsize=1)
def _unpickled(function: bytes) -> Callable[[Any], Any]:
    """Return the same function for all tasks, so that it can cache what it loads."""
    loaded: Callable[[Any], Any] = pickle.loads(function)
    return loaded


@contextmanager
def _local_client(distributed: Any, num_processes: int) -> Iterator[Any]:
    import torch  # here, because workers import this module

    num_threads = str(max(1, torch.get_num_threads() // num_processes))
    with ExitStack() as stack:
        with _interrupts_blocked():
            try:
                cluster = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=num_processes,
                        threads_per_worker=1,
                        dashboard_address=None,
                        # Any free port; its own one warns where another cluster runs.
                        scheduler_kwargs={"dashboard_address": ":0"},
                        silence_logs=logging.CRITICAL,
                        # Dask would kill a worker that uses more than its share.
                        memory_limit=0,
                        env=dict.fromkeys(_THREAD_VARIABLES, num_threads),
                    )
                )
            except RuntimeError as error:
                raise ProcessError(
                    "processes cannot be started. A script must start them under "
                    '`if __name__ == "__main__":`, or use one process.'
                ) from error
            client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        yield client


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let processes and threads that are started here leave Ctrl-C to the main thread."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting the resource tracker, as the first process does, would unblock them again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _client(distributed: Any, scheduler: str) -> Iterator[Any]:
    given = {"address": scheduler}
    if scheduler.endswith(".json"):
        # Dask would wait for the file.
        if not Path(scheduler).is_file():
            raise ArgumentValueError(f"there is no scheduler file {scheduler}")
        given = {"scheduler_file": scheduler}
    elif not re.fullmatch(r"(\w+://)?[^\s/]+:\d+/?", scheduler):
        raise ArgumentValueError(
            "the scheduler must be an address such as tcp://host:8786, or a scheduler file "
            f"*.json; got {scheduler!r}"
        )
    try:
        client = distributed.Client(**given, timeout=_CONNECT_S, set_as_default=False)
    except OSError as error:
        raise ProcessError(
            f"the scheduler {scheduler} cannot be reached within {_CONNECT_S:g} s. Start it with "
            "`dask scheduler`, which prints its address, and check firewalls in between."
        ) from error
    with closing(client):
        yield client


def _checked_versions(client: Any, scheduler: str, folder: Path | None) -> Mapping[str, str]:
    """Return the versions of what is installed here, which all workers have as well.

    Raises:
        ProcessError: there is no worker; or one has other versions or does not see the folder.
    """
    try:
        client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
    except TimeoutError as error:
        raise ProcessError(
            f"the cluster {scheduler} has no worker, and got none within {_FIRST_WORKER_S:g} s. "
            f"Start some with `dask worker {scheduler}`."
        ) from error
    read = _version_reader()
    here = read()
    unfit = {
        worker: f"cannot list its packages ({first_line(versions)})"
        if isinstance(versions, BaseException)
        else _differences(here, versions)
        for worker, versions in client.run(read, on_error="return").items()
    }
    if folder is not None and not any(unfit.values()):
        unfit = dict.fromkeys(_workers_without(folder, client), f"does not see {folder}")
    if any(unfit.values()):
        lines = "\n".join(f"  {worker}: {why}" for worker, why in unfit.items() if why)
        raise ProcessError(
            f"workers of {scheduler} do not fit:\n{lines}\nAll workers need the packages that are "
            "installed here, and the same folders under the same paths."
        )
    return here


def _workers_without(folder: Path, client: Any) -> list[str]:
    end = time.monotonic() + _FOLDER_S
    while True:
        sees = client.run(os.path.isdir, str(folder.absolute()))
        blind = [worker for worker, does in sees.items() if not does]
        if not blind or time.monotonic() > end:
            return blind
        time.sleep(_POLL_S)


# Sent as text, so that a worker with another Python, or without lploss, can answer.
_READ_VERSIONS = """{
    "Python": ".".join(__import__("platform").python_version_tuple()[:2])
} | {
    name: next(
        (
            found.version.partition("+")[0]
            for found in __import__("importlib.metadata").metadata.distributions(name=name)
        ),
        "none",
    )
    for name in names
}"""


def _version_reader() -> Callable[[], dict[str, str]]:
    """Return a function that reads the versions of Python, torch, lploss and all plugins.

    The first two numbers count for Python, and not for which device torch was built.
    """
    plugins = {plugin.distribution for plugin in default_registry.plugins}
    names = ("lploss", "torch", *sorted(plugins - {"lploss"}))
    return partial(eval, _READ_VERSIONS, {"names": names})


@lru_cache(maxsize=1)
def _versions_here() -> dict[str, str]:
    return _version_reader()()


def _differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {there.get(name, 'none')} instead of {version}"
        for name, version in here.items()
        if there.get(name) != version
    )
