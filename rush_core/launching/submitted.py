"""Workers as calls that an executor runs, on any machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Any

from rush_core.launching.ends import WorkerEnd, WorkerEnds

__all__ = ["SubmittedWorkers"]


class SubmittedWorkers:
    """Workers that run as calls submitted to an executor.

    Parameters
    ----------
    on_end : callable
        Called as ``on_end(worker_id, end)``, in a thread of the executor, when a call has ended.

    Attributes
    ----------
    ends : WorkerEnds
    """

    def __init__(self, on_end: Callable[[str, WorkerEnd], None]) -> None:
        self._futures: dict[str, Future[Any]] = {}
        self._ending = threading.Lock()
        self.ends = WorkerEnds(on_end)

    def start(self, executor: Executor, worker_id: str, run: Callable[[], object]) -> None:
        """Submit one worker; the executor must be able to pickle `run`."""
        future = executor.submit(run)
        self._futures[worker_id] = future
        handled = threading.Event()
        future.add_done_callback(functools.partial(self._on_done, worker_id, handled))
        # Only now, because Ctrl-C may interrupt between any two lines: `wait` must wait only for a
        # call whose end is recorded.
        self.ends.expect(worker_id, handled)

    def started(self) -> list[str]:
        """Return all workers that were submitted."""
        return list(self._futures)

    def running(self) -> list[str]:
        """Return the workers whose calls have not ended."""
        return [name for name, future in self._futures.items() if not future.done()]

    def cancel(self, worker_ids: Iterable[str]) -> None:
        """Cancel calls that the executor has not begun."""
        for worker_id in worker_ids:
            self._futures[worker_id].cancel()

    def forget(self) -> None:
        """Forget all workers, after the end that is being handled."""
        with self._ending:
            self._futures.clear()
            self.ends.forget()

    def _on_done(self, worker_id: str, handled: threading.Event, done: Future[Any]) -> None:
        """Record the end of a call."""
        with self._ending:
            if worker_id in self._futures:  # else the manager has forgotten its workers
                self.ends.record(worker_id, _end_of(done), handled)


def _end_of(done: Future[Any]) -> WorkerEnd:
    """Return how a call ended."""
    if done.cancelled():
        return WorkerEnd("its call was cancelled", in_order=False)
    if error := done.exception():
        how = f"its call ended with {type(error).__name__}: {error}"
        return WorkerEnd(how, in_order=False)
    return WorkerEnd("its call returned", in_order=True)
