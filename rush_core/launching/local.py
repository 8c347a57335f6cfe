"""Start workers, as processes on this machine or through any executor, and notice when one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

from rush_core.connection.url import environment_of
from rush_core.owned_process import OwnedProcess, run_at_owner_end

__all__ = ["ONE_THREAD", "LocalWorkers", "SubmittedWorkers"]

# One thread per numerical library: the workers are the parallelism.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


class LocalWorkers:
    """Worker processes that are children of this process; they end when it does.

    Parameters
    ----------
    on_exit : callable
        Called as ``on_exit(worker_id, how)``, in a thread of its own, when a process ended.

    Attributes
    ----------
    ends : dict
        Of each worker whose process has ended, how that came.
    """

    def __init__(self, on_exit: Callable[[str, str], None]) -> None:
        self._on_exit = on_exit
        self._processes: dict[str, OwnedProcess] = {}
        # Nobody joins the threads: an interrupted join can take its thread for ended.
        self._dealt_with: dict[str, threading.Event] = {}
        self._logs: dict[str, Path] = {}
        self._own_log_folder: Path | None = None
        self._log_remover: OwnedProcess | None = None
        self.ends: dict[str, str] = {}

    def start(
        self,
        worker_id: str,
        network_id: str,
        url: str,
        options: Sequence[str],
        log_folder: Path | None,
    ) -> None:
        """Start one process; a fresh interpreter whose output goes to a file."""
        log_folder = log_folder or self._temporary_log_folder()
        command = [sys.executable, "-m", "rush_core", "worker", network_id, *options]
        command += ["--orphan-check"]
        environment = {**ONE_THREAD, **os.environ, **environment_of(url)}
        self._logs[worker_id] = log_folder / f"{worker_id}.log"
        with self._logs[worker_id].open("ab") as log:
            process = OwnedProcess(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        dealt_with = threading.Event()
        watch = (worker_id, process, dealt_with)
        try:
            threading.Thread(target=self._watch, args=watch, daemon=True).start()
            # An interrupt may come between any two lines: what is waited for here is being watched.
            self._dealt_with[worker_id] = dealt_with
            self._processes[worker_id] = process
        except BaseException:
            process.kill()
            raise

    def started(self) -> list[str]:
        """Return all workers whose processes were started."""
        return list(self._processes)

    def running(self) -> list[str]:
        """Return the workers whose processes have not ended."""
        return [name for name, process in self._processes.items() if not process.has_ended()]

    def kill(self, worker_ids: Iterable[str]) -> None:
        """Kill processes and return when that was dealt with."""
        killed = list(worker_ids)
        for worker_id in killed:
            self._processes[worker_id].kill()
        self.wait(worker_ids=killed)

    def kill_all(self) -> None:
        """Kill all processes and forget that they ever were."""
        self.kill(self.running())
        self.wait()
        self._processes.clear()
        self._dealt_with.clear()
        self.ends.clear()

    def wait(self, timeout_s: float | None = None, worker_ids: Iterable[str] | None = None) -> bool:
        """Wait until processes (None: all) have ended and were dealt with; tell whether so."""
        return _wait_for(self._dealt_with, worker_ids, timeout_s)

    def last_words(self, worker_id: str, n_lines: int = 15) -> str:
        """Return the end of what a worker printed."""
        path = self._logs.get(worker_id)
        if path is None or not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-n_lines:])

    def close(self) -> None:
        """Kill what still runs and remove the temporary logs."""
        self.kill_all()
        if self._log_remover is not None:
            self._log_remover.close()
            self._log_remover = self._own_log_folder = None

    def _temporary_log_folder(self) -> Path:
        if self._own_log_folder is None:
            self._own_log_folder = Path(tempfile.mkdtemp(prefix="rush-logs-"))
            self._log_remover = run_at_owner_end('rm -rf "$1"', str(self._own_log_folder))
        return self._own_log_folder

    def _watch(self, worker_id: str, process: OwnedProcess, dealt_with: threading.Event) -> None:
        code = process.wait()
        self.ends[worker_id] = _describe_exit(code)
        try:
            self._on_exit(worker_id, self.ends[worker_id])
        finally:
            dealt_with.set()


class SubmittedWorkers:
    """Workers that run as calls submitted to an executor, wherever that runs them.

    Parameters
    ----------
    on_exit : callable
        Called as ``on_exit(worker_id, how)``, in a thread of the executor, when a call ended.

    Attributes
    ----------
    ends : dict
        Of each worker whose call has ended, how that came.
    """

    def __init__(self, on_exit: Callable[[str, str], None]) -> None:
        self._on_exit = on_exit
        self._futures: dict[str, Future[None]] = {}
        self._dealt_with: dict[str, threading.Event] = {}
        self._ending = threading.Lock()
        self.ends: dict[str, str] = {}

    def start(self, executor: Executor, worker_id: str, run: Callable[[], None]) -> None:
        """Submit one worker; `run` has to survive the executor's way of pickling."""
        future = executor.submit(run)
        self._futures[worker_id] = future
        dealt_with = threading.Event()
        future.add_done_callback(lambda done: self._note_end(worker_id, done, dealt_with))
        # Not before: an interrupt may come between any two lines, and this is waited for.
        self._dealt_with[worker_id] = dealt_with

    def started(self) -> list[str]:
        """Return all workers that were submitted."""
        return list(self._futures)

    def running(self) -> list[str]:
        """Return the workers whose calls have not ended."""
        return [name for name, future in self._futures.items() if not future.done()]

    def cancel(self, worker_ids: Iterable[str]) -> None:
        """Take calls back that the executor has not begun."""
        for worker_id in worker_ids:
            self._futures[worker_id].cancel()

    def wait(self, timeout_s: float | None = None, worker_ids: Iterable[str] | None = None) -> bool:
        """Wait until calls (None: all) have ended and were dealt with; tell whether so."""
        return _wait_for(self._dealt_with, worker_ids, timeout_s)

    def forget(self) -> None:
        """Forget all workers; an end that is being dealt with is waited for."""
        with self._ending:
            self._futures.clear()
            self._dealt_with.clear()
            self.ends.clear()

    def _note_end(self, worker_id: str, done: Future[None], dealt_with: threading.Event) -> None:
        with self._ending:
            if worker_id not in self._futures:
                return  # forgotten meanwhile: its manager was closed, or the network was reset
            if done.cancelled():
                how = "its call was cancelled"
            elif error := done.exception():
                how = f"its call ended with {type(error).__name__}: {error}"
            else:
                how = "its call returned"
            self.ends[worker_id] = how
            try:
                self._on_exit(worker_id, how)
            finally:
                dealt_with.set()


def _wait_for(
    dealt_with: dict[str, threading.Event],
    worker_ids: Iterable[str] | None,
    timeout_s: float | None,
) -> bool:
    """Wait until the events of these workers (None: all) are set; tell whether they are."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    wanted = list(dealt_with) if worker_ids is None else worker_ids
    events = [dealt_with[worker_id] for worker_id in wanted if worker_id in dealt_with]
    return all(
        event.wait(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        for event in events
    )


def _describe_exit(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was killed by {name}"
