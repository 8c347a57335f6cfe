"""What wakes the command that looks after workers: signals, ends of workers, and requests."""

from __future__ import annotations

import os
import queue
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rush_core.launching.scaling import ScaleRequest
from rush_core.launching.signals import STOP_SIGNALS

__all__ = ["HostEvents"]


class HostEvents:
    """Collects events until the main thread takes them.

    Signals come through a pipe: a signal that arrives just before the main thread begins to wait
    for a lock or a queue would not end that wait.
    """

    def __init__(self) -> None:
        self._added: queue.SimpleQueue[str | ScaleRequest] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)

    def add(self, event: str | ScaleRequest) -> None:
        """Add the end of a worker, by its id, or a request; any thread may call this."""
        self._added.put(event)
        os.write(self._wake, b"\0")

    def wait(self, timeout_s: float | None) -> list[str | ScaleRequest | signal.Signals]:
        """Wait for events; return the ids of workers that have ended, requests and signals."""
        if not select.select([self._woken], [], [], timeout_s)[0]:
            return []
        received = os.read(self._woken, 65536)
        events: list[str | ScaleRequest | signal.Signals] = []
        for number in received:
            events.append(signal.Signals(number) if number else self._added.get())
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
