"""What the workers of a cluster call."""

from __future__ import annotations

import threading
from functools import lru_cache

from lploss.errors import ProcessError
from lploss_builtin.commands.spreading.calls import call
from lploss_builtin.commands.spreading.versions import Versions, differences, reader_of_versions

# A worker may have several threads; what draws and what predicts is for one.
_ONE_AT_A_TIME = threading.Lock()


def do(function: bytes, versions: Versions, task: bytes) -> bytes:
    """Do a task, see `call`, one at a time.

    Args:
        function: the function, pickled.
        versions: what this worker must have.
        task: its argument, pickled.

    Raises:
        ProcessError: a version is another one: the worker has joined since all were checked.
    """
    if different := differences(versions, _versions_here()):
        raise ProcessError(f"a worker that joined has other versions: {different}")
    with _ONE_AT_A_TIME:
        return call(function, task)


@lru_cache(maxsize=1)
def _versions_here() -> dict[str, str]:
    return reader_of_versions()()
