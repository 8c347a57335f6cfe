"""SIGTERM to the program that manages a run counts as Ctrl-C.

A batch system sends it some time before it kills a job. By default it ends the program at once, and
what was found in an unnamed run is lost.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["sigterm_as_interrupt"]


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at SIGTERM, unless the program handles or ignores this signal.

    It has no effect in threads other than the main one: Python calls no signal handlers there.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
