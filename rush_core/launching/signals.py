"""Signals to a worker process: the first one stops the worker after its task, the second at once.

SIGTERM and SIGINT do the same. At the second signal the running task fails. The worker leaves its
network as interrupted, because the signal can come from somebody who did not mean the network: a
batch system, or the command `kill`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rush_core.errors import WorkerInterrupt
from rush_core.worker import Worker

__all__ = ["STOP_SIGNALS", "StopSignals", "interrupt_main_thread", "stop_signals_held_back"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# How long a worker that must leave at once has to fail its task before its process is ended.
_LEAVING_TIMEOUT_S = 5.0


class StopSignals:
    """Turns the signals of this process into the end of its worker.

    Attributes
    ----------
    received : signal.Signals or None
        The first signal that came from outside of this process.
    """

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._leave_at_next = False
        self.received: signal.Signals | None = None

    def stop_worker(self, worker: Worker) -> None:
        """Let the signals of this process stop `worker` from now on."""
        self._worker = worker
        before = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        _restore_in_forked_children(before, self._handle)

    def leave_with_owner(self, pipe: int) -> None:
        """Let the worker leave at once when the owner of this process, ends, which holds `pipe`."""
        threading.Thread(target=self._watch_owner, args=(pipe,), daemon=True).start()

    def leave_now(self) -> None:
        """Interrupt the worker loop in the main thread; call this from another thread."""
        self._leave_at_next = True
        interrupt_main_thread()
        time.sleep(_LEAVING_TIMEOUT_S)  # long enough, unless foreign code blocks the main thread
        os._exit(1)

    def _handle(self, number: int, frame: FrameType | None) -> Any:
        if not self._leave_at_next:
            self._leave_at_next = True
            self.received = signal.Signals(number)
            assert self._worker is not None
            self._worker.stop_after_task(interrupted=True)
            return
        # The worker fails its task now; further signals must not interrupt that.
        for stopping in STOP_SIGNALS:
            signal.signal(stopping, signal.SIG_IGN)
        raise WorkerInterrupt(f"stopped at once by {signal.Signals(number).name}")

    def _watch_owner(self, pipe: int) -> None:
        os.read(pipe, 1)  # waits for the end of the file, or for a byte from a forking process
        self.leave_now()


@contextmanager
def stop_signals_held_back() -> Iterator[None]:
    """Hold `STOP_SIGNALS` back during a ``with`` block; at its end they take effect."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def interrupt_main_thread() -> None:
    """Send SIGTERM to the main thread.

    A signal to the whole process could arrive at another thread, and then would not end a system
    call in which the main thread waits.
    """
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _restore_in_forked_children(
    before: Mapping[signal.Signals, Any], handle: Callable[[int, FrameType | None], Any]
) -> None:
    """Give the signal handlers in `before` back to children that the worker loop forks.

    Such a child is no worker. A process pool ends its children with SIGTERM and waits for them; a
    child that only notes the signal would let the pool wait forever.
    """
    mask = threading.local()

    def block() -> None:
        # Without this, a signal that arrives before the handlers are restored would be lost.
        mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, before)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

    def restore_and_unblock() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) == handle:  # the loop has not set a handler of its own
                signal.signal(number, handler)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore_and_unblock)
