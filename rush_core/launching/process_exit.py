"""The exit of a worker process, which waits only a limited time for threads and child processes.

At its exit, Python waits for threads and then for child processes. What the worker loop left behind
may still be writing a file, so it gets some time; but `Network.join_workers` waits for the exit.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

from rush_core.errors import WorkerInterrupt
from rush_core.launching.signals import STOP_SIGNALS, interrupt_main_thread

__all__ = ["limit_exit"]

# How long threads, and then child processes, may go on after the worker has left.
_TIMEOUT_S = 5.0


def limit_exit() -> None:
    """Limit how long the exit of this process waits; call this when the worker has left."""
    for number in STOP_SIGNALS:
        signal.signal(number, _stop_waiting)
    threading.Thread(target=_interrupt_waits, daemon=True).start()


def _stop_waiting(number: int, frame: FrameType | None) -> NoReturn:
    raise WorkerInterrupt("the process no longer waits for what the worker loop left behind")


def _interrupt_waits() -> None:
    # Each signal ends one of the interpreter's two waits. It still runs its exit handlers, which
    # end daemonic child processes and flush output.
    for _ in ("threads", "processes"):
        time.sleep(_TIMEOUT_S)
        interrupt_main_thread()
    time.sleep(_TIMEOUT_S)
    os._exit(1)
