"""How the workers of a manager ended, and a wait until the manager has handled each end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rush_core.supervised_process import describe_exit

__all__ = ["WorkerEnd", "WorkerEnds", "end_of_process"]


@dataclass(frozen=True)
class WorkerEnd:
    """The end of the process or the call of a worker.

    Parameters
    ----------
    how : str
        The end in words.
    in_order : bool
        Whether the worker loop returned, as far as exit code or call tell.
    """

    how: str
    in_order: bool


def end_of_process(code: int) -> WorkerEnd:
    """Return the end of a worker whose process ended with this exit code (-n after signal n)."""
    return WorkerEnd(f"its process {describe_exit(code)}", in_order=code == 0)


class WorkerEnds:
    """Records how workers ended; several threads may use it.

    Parameters
    ----------
    on_end : callable
        Called as ``on_end(worker_id, end)`` for each end, before `wait` returns.

    Attributes
    ----------
    all : dict
        Maps the id of each worker that has ended to its end.
    """

    def __init__(self, on_end: Callable[[str, WorkerEnd], None]) -> None:
        self._on_end = on_end
        # Events instead of threads to join: an interrupted `Thread.join` can make Python believe
        # that the thread has ended.
        self._handled: dict[str, threading.Event] = {}
        self.all: dict[str, WorkerEnd] = {}

    def expect(self, worker_id: str, handled: threading.Event) -> None:
        """Let `wait` wait for `handled`, which a call of `record` has set or will set."""
        self._handled[worker_id] = handled

    def record(self, worker_id: str, end: WorkerEnd, handled: threading.Event) -> None:
        """Record how a worker ended, call `on_end`, then set `handled`."""
        self.all[worker_id] = end
        try:
            self._on_end(worker_id, end)
        finally:
            handled.set()

    def wait(self, timeout_s: float | None, worker_ids: Iterable[str] | None) -> bool:
        """Wait until the ends of these workers (None: all) are handled; return whether they are.

        Workers that are not expected are ignored.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wanted = list(self._handled) if worker_ids is None else worker_ids
        events = [self._handled[worker_id] for worker_id in wanted if worker_id in self._handled]
        return all(
            event.wait(None if deadline is None else max(deadline - time.monotonic(), 0.0))
            for event in events
        )

    def forget(self) -> None:
        """Forget all workers."""
        self._handled.clear()
        self.all.clear()
