"""A function over many tasks: here, in several processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lploss.errors import ArgumentValueError
from lploss_builtin.commands.spreading.calls import Ended, pickled

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """How one task ended.

    Attributes:
        number: its place among the tasks.
        error: what it raised, or why nobody could do it; ``None``: it is done.
    """

    number: int
    _result: Result | None
    error: Exception | None = None

    @property
    def result(self) -> Result:
        """What the function returned.

        Raises:
            Exception: the error, where there is one.
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
    """Call a function with each of many tasks, and yield how each ended, in their order.

    An error ends only its own task. Whoever wants no more closes the generator
    (`contextlib.closing`): that, like an interrupt, ends all processes and takes back what a
    cluster has not begun.

    A process that dies is replaced, and its task given to another, up to three times. So a task
    may be done twice, and must leave the same then: see `complete_folder`.

    Args:
        function: what is called; with several processes or a cluster it, the tasks and what it
            returns are pickled.
        tasks: the tasks, such as one for each recording.
        names: what each task is called in errors.
        processes: on this machine; they share the threads that torch would use here.
        scheduler: address of the scheduler of a Dask cluster, which does it instead, such as
            ``tcp://host:8786``; or its file, ``*.json``.
        folder: one that every worker of the cluster must see.
        progress: called as soon as a task is done, in whichever order.

    Yields:
        How each task ended.

    Raises:
        ArgumentValueError: an argument cannot be used, or cannot be pickled.
        ProcessError: processes cannot be started, or the cluster cannot be reached, is not fit, or
            has gone.
        MissingDependencyError: Dask is not installed.

    Example:
        >>> [outcome.result for outcome in spread(abs, [-3, 2, -1])]
        [3, 2, 1]
    """
    if processes < 1:
        raise ArgumentValueError(f"processes must be at least 1, got {processes}")
    if processes > 1 and scheduler is not None:
        raise ArgumentValueError(
            f"give the number of processes, here {processes}, or the scheduler of a cluster, here "
            f"{scheduler}, not both"
        )
    if names is None:
        names = [f"task {number} of {len(tasks)}" for number in range(1, len(tasks) + 1)]
    if scheduler is None and min(processes, len(tasks)) <= 1:
        return _here(function, tasks, progress)
    whole = pickled("what is to be done", function)
    parts = [pickled(name, task) for name, task in zip(names, tasks, strict=True)]
    if scheduler is None:
        from lploss_builtin.commands.spreading.local_processes import in_processes

        found = in_processes(whole, parts, names, min(processes, len(tasks)))
    else:
        from lploss_builtin.commands.spreading.dask_cluster import on_cluster

        found = on_cluster(scheduler, whole, parts, names, folder)
    return _in_order(found, progress)


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


def _in_order(
    found: Generator[Ended], progress: Callable[[Outcome[Any]], None] | None
) -> Generator[Outcome[Any]]:
    waiting: dict[int, Ended] = {}
    due = 0
    with closing(found):
        for ended in found:
            if progress is not None:
                progress(_outcome(ended))
            waiting[ended.number] = ended
            while due in waiting:
                yield _outcome(waiting.pop(due))
                due += 1


def _outcome(ended: Ended) -> Outcome[Any]:
    return Outcome(ended.number, *ended.result_and_error())
