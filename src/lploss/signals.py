"""Signals that end a command."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lploss.terminal import echo

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
# A terminal, a launcher and a scheduler may each send the same signal.
_SAME_SIGNAL_S = 2.0


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end a command in order, with 128 plus the signal's number.

    Each raises `KeyboardInterrupt`, so that what the command has begun is cleaned up. However the
    command ends then, it says by which signal. A second signal after two seconds ends the process
    at once. Signals that the process was started to ignore, as by ``nohup``, stay ignored.

    Raises:
        SystemExit: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, float]] = []

    def interrupt(number: int, frame: Any) -> None:
        if not received:
            received.append((number, time.monotonic()))
            raise KeyboardInterrupt
        if time.monotonic() - received[0][1] > _SAME_SIGNAL_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    before: dict[int, Any] = {}
    try:
        for number in [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]:
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                before[number] = handler
                signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            number = received[0][0]
            echo(f"ended by {signal.Signals(number).name}", err=True)
            raise SystemExit(128 + number)
