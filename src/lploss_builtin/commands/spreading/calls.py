"""Calls that travel: a function, its argument, and how it ended, as bytes."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lploss.errors import ArgumentValueError, ProcessError, first_line


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended, before anybody looks into it.

    What it found stays bytes until its turn: many results may wait for that of one long task.

    Attributes:
        number: which task.
        pickled: what `call` returned, unless nothing came back.
        error: why nothing came back.
    """

    number: int
    pickled: bytes = b""
    error: Exception | None = None

    def result_and_error(self) -> tuple[Any, Exception | None]:
        """Return what the function returned, or what it raised."""
        if self.error is not None:
            return None, self.error
        found: tuple[Any, Exception | None] = pickle.loads(self.pickled)
        return found


def pickled(what: str, value: object) -> bytes:
    """Return a value as bytes.

    Args:
        what: what it is, for the error.
        value: the value.

    Raises:
        ArgumentValueError: it cannot be pickled.
    """
    try:
        return pickle.dumps(value)
    except Exception as error:
        raise ArgumentValueError(
            f"{what} cannot be sent to another process: {first_line(error)}. Only what a module "
            "defines by name can; use one process, or move it into a module."
        ) from error


def call(function: bytes, task: bytes) -> bytes:
    """Call a function with one argument, and return how that ended: its result, or its error."""
    try:
        return pickle.dumps((_unpickled(function)(pickle.loads(task)), None))
    except Exception as error:
        return pickle.dumps((None, _that_travels(error)))


@lru_cache(maxsize=1)
def _unpickled(function: bytes) -> Callable[[Any], Any]:
    """Return the function, the same for all tasks, so that it can keep what it has loaded."""
    loaded: Callable[[Any], Any] = pickle.loads(function)
    return loaded


def _that_travels(error: Exception) -> Exception:
    """Return an error that another process can read, with the traceback as a note."""
    where = f"In another process:\n{''.join(traceback.format_exception(error)).rstrip()}"
    try:
        found: Exception = pickle.loads(pickle.dumps(error))
    except Exception:
        found = ProcessError(first_line(error))
    found.add_note(where)
    return found
