"""What a process does that was started for tasks; importing this imports nothing heavy."""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection

from lploss_builtin.commands.spreading.calls import call

# Read by the libraries that compute, when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(pipe: Connection, num_threads: int) -> None:
    """Say that this process is there, get the function, and then one task after the other.

    Args:
        pipe: to the process that gives them; when it closes, this one ends.
        num_threads: of this process.
    """
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(num_threads)))
    if torch := sys.modules.get("torch"):  # a script may import it at once
        torch.set_num_threads(num_threads)
    try:
        pipe.send_bytes(b"")
        function = pipe.recv_bytes()
        while True:
            pipe.send_bytes(call(function, pipe.recv_bytes()))
    except (EOFError, OSError):
        return  # nobody is there any more
