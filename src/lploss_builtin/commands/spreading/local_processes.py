"""Tasks in several processes of this machine, any of which may die."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, resource_tracker

import torch

from lploss.errors import ProcessError
from lploss_builtin.commands.spreading.calls import Ended
from lploss_builtin.commands.spreading.serving import serve

_MOST_ATTEMPTS = 3
# Between the end of what it says and its own end.
_GRACE_S = 2.0


def in_processes(
    function: bytes, tasks: Sequence[bytes], names: Sequence[str], num_processes: int
) -> Generator[Ended]:
    """Call a function in fresh processes; yield how each task ended, whichever ends first.

    They share the threads that torch would use in this process.

    Args:
        function: the function, pickled.
        tasks: its arguments, pickled.
        names: what each task is called in errors.
        num_processes: how many.

    Raises:
        ProcessError: processes end before they can be given anything.
    """
    num_threads = max(1, torch.get_num_threads() // num_processes)
    to_do = deque(range(len(tasks)))
    num_attempts = [0] * len(tasks)
    num_left, num_failed_starts = len(tasks), 0
    ended: list[Ended] = []
    workers: list[_Worker] = []
    try:
        while num_left or ended:
            num_busy = sum(worker.number is not None for worker in workers)
            while len(workers) < min(num_processes, num_busy + len(to_do)):
                workers.append(_Worker(function, num_threads))
            for worker in workers:
                if to_do and worker.is_free:
                    num_attempts[to_do[0]] += 1
                    worker.give(to_do[0], tasks[to_do.popleft()])
            # Before anybody looks at them, the next tasks are given.
            yield from ended
            ended = []
            for worker in _with_news(workers) if num_left else ():
                number, found = worker.number, worker.news()
                if found is not None:
                    if number is not None:
                        ended.append(Ended(number, found))
                    continue
                workers.remove(worker)
                how = worker.end(_GRACE_S)
                if number is not None and num_attempts[number] < _MOST_ATTEMPTS:
                    to_do.appendleft(number)
                elif number is not None:
                    ended.append(Ended(number, error=_lost(names[number], how)))
                elif not worker.has_begun:
                    num_failed_starts += 1
                    if "status" in how or num_failed_starts == _MOST_ATTEMPTS:
                        raise _not_started(how)
            num_left -= len(ended)
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process, and what it is at.

    Args:
        function: what it will call, pickled.
        num_threads: of the process.

    Attributes:
        number: the task that it was given and has not handed back.
        has_begun: whether it has said that it is there.
    """

    def __init__(self, function: bytes, num_threads: int) -> None:
        self.number: int | None = None
        self.has_begun = False
        self._function = function
        # A fork of a process that has threads, as torch's, may hang.
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, num_threads), daemon=True)
        with _interrupts_blocked():
            self.process.start()
        theirs.close()

    @property
    def is_free(self) -> bool:
        """Whether it can be given a task."""
        return self.has_begun and self.number is None

    def news(self) -> bytes | None:
        """Return what it has handed back, empty when it has just started; ``None``: it died."""
        try:
            if not self.pipe.poll():
                return None
            found = self.pipe.recv_bytes()
            if not self.has_begun:
                self.has_begun = True
                self.pipe.send_bytes(self._function)
        except (EOFError, OSError):
            return None
        self.number = None
        return found

    def give(self, number: int, task: bytes) -> None:
        """Give it a task."""
        self.number = number
        with suppress(OSError):  # it has died, which is news
            self.pipe.send_bytes(task)

    def end(self, grace_s: float = 0.0) -> str:
        """End it, after so much time for its own end, and say how it ended."""
        self.process.join(grace_s)
        self.process.kill()
        self.process.join()
        status = self.process.exitcode or 0
        self.pipe.close()
        self.process.close()
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _with_news(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until processes have handed something back, or have died."""
    ready = connection.wait([w.pipe for w in workers] + [w.process.sentinel for w in workers])
    return [w for w in workers if w.pipe in ready or w.process.sentinel in ready]


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let a process that is started here leave Ctrl-C to this one, from its first moment on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The first process brings one that keeps account along, and its start undoes the blocking.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _lost(name: str, how: str) -> ProcessError:
    memory = " Where memory is short, use fewer processes." if "SIGKILL" in how else ""
    return ProcessError(
        f"{name}: the process that did it died {_MOST_ATTEMPTS} times, at last by {how}.{memory}"
    )


def _not_started(how: str) -> ProcessError:
    return ProcessError(
        f"a process ended while it started, by {how}. A script must start them under "
        '`if __name__ == "__main__":`, or use one process.'
    )
