"""Tasks for tests."""

import os
import signal
import time
from pathlib import Path

from lploss.errors import DataError
from lploss_builtin.output import whole_folder


def square(number):
    return number * number


def fail_at_three(number):
    if number == 3:
        raise DataError("three.csv: has no frames")
    return number


class Unreadable(Exception):
    def __init__(self, one, two):
        super().__init__("does not travel")


def raise_what_does_not_travel(number):
    raise Unreadable(1, 2)


def return_what_does_not_travel(number):
    return lambda: None


def threads(number):
    return os.environ["OMP_NUM_THREADS"]


def die_at_two(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_at_two(number):
    if number == 2:
        os._exit(7)
    return number


class Meet:
    """Waits for another process that is here, too."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def __call__(self, number):
        (self.folder / f"{os.getpid()}.here").touch()
        while len(list(self.folder.glob("*.here"))) < 2:
            time.sleep(0.01)
        return 2


class LeavesInterrupts(Meet):
    """Says, once another process is here, whether this one leaves interrupts alone."""

    def __call__(self, number):
        super().__call__(number)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return f"{os.getpid()} {signal.SIGINT in blocked}"


class Write:
    """Writes a folder a task; at task ``halt`` it waits in the middle, the first time."""

    def __init__(self, folder, halt=None):
        self.folder, self.halt = Path(folder), halt

    def __call__(self, number):
        with (self.folder / "begun").open("a") as begun:
            begun.write(f"{number} {os.getpid()}\n")
        with (
            whole_folder(self.folder / "out" / f"{number}") as place,
            (place / "scores.csv").open("w") as file,
        ):
            for row in range(20):
                file.write(f"{number},{row}\n")
                file.flush()
                if row == 10 and number == self.halt:
                    self.wait()
        return number * number

    def wait(self):
        halted = self.folder / "halted"
        if not halted.exists():
            (self.folder / "halting").write_text(str(os.getpid()))
            (self.folder / "halting").rename(halted)
            time.sleep(600)
