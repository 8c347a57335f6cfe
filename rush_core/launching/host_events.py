"""What wakes the command that looks after workers: signals to it, and the ends of workers."""

from __future__ import annotations

import os
import queue
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rush_core.launching.signals import STOP_SIGNALS

__all__ = ["HostEvents"]


class HostEvents:
    """Collects events until the main thread takes them.

    Signals come through a pipe: a signal that arrives just before the main thread begins to wait
    for a lock or a queue would not end that wait.
    """

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)

    def add_end(self, worker_id: str) -> None:
        """Add the end of a worker; any thread may call this."""
        self._ended.put(worker_id)
        os.write(self._wake, b"\0")

    def wait(self, timeout_s: float | None) -> list[str | signal.Signals]:
        """Wait for events; return the ids of workers that have ended, and signals."""
        if not select.select([self._woken], [], [], timeout_s)[0]:
            return []
        received = os.read(self._woken, 65536)
        events: list[str | signal.Signals] = []
        for number in received:
            events.append(signal.Signals(number) if number else self._ended.get())
        return events

    @contextmanager
    def taking_signals(self) -> Iterator[None]:
        """Take the signals that ask a process to end during a ``with`` block."""
        # Without handlers the signals would end this process.
        before = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}
        signal.set_wakeup_fd(self._wake)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
