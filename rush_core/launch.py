"""Start worker processes on this machine and notice at once when one ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["LocalWorkers", "describe_exit"]

# One thread per numerical library: the workers are the parallelism.
_ONE_THREAD = {
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
        Called as ``on_exit(worker_id, exit_code)``, in a thread of its own, when a process ended;
        a negative code is the number of the signal that killed it.
    """

    def __init__(self, on_exit: Callable[[str, int], None]) -> None:
        self._on_exit = on_exit
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._watchers: dict[str, threading.Thread] = {}
        self._logs: dict[str, Path] = {}
        self._own_log_folder: Path | None = None
        self.exit_codes: dict[str, int] = {}

    def start(
        self, worker_id: str, network_id: str, url: str, loop_digest: str, log_folder: Path | None
    ) -> None:
        """Start one process; a fresh interpreter whose output goes to a file."""
        log_folder = log_folder or self._temporary_log_folder()
        command = [sys.executable, "-m", "rush_core", "worker", network_id]
        command += ["--loop", loop_digest, "--worker-id", worker_id, "--orphan-check"]
        environment = {**_ONE_THREAD, **os.environ, "RUSH_REDIS_URL": url}
        self._logs[worker_id] = log_folder / f"{worker_id}.log"
        with self._logs[worker_id].open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the manager, which asks its workers to stop
            )
        self._processes[worker_id] = process
        watcher = threading.Thread(target=self._watch, args=(worker_id, process), daemon=True)
        self._watchers[worker_id] = watcher
        watcher.start()

    def started(self) -> list[str]:
        """Return all workers whose processes were started."""
        return list(self._processes)

    def running(self) -> list[str]:
        """Return the workers whose processes have not ended."""
        return [name for name, process in self._processes.items() if process.poll() is None]

    def kill(self, worker_ids: Iterable[str]) -> None:
        """Kill processes and return when that was dealt with."""
        for worker_id in worker_ids:
            self._processes[worker_id].kill()
            self._watchers[worker_id].join()

    def kill_all(self) -> None:
        """Kill all processes and forget that they ever were."""
        self.kill(self.running())
        for watcher in self._watchers.values():
            watcher.join()
        self._processes.clear()
        self._watchers.clear()
        self.exit_codes.clear()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all processes have ended and were dealt with; tell whether they have."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for watcher in list(self._watchers.values()):
            watcher.join(None if deadline is None else max(deadline - time.monotonic(), 0.0))
            if watcher.is_alive():
                return False
        return True

    def last_words(self, worker_id: str, n_lines: int = 15) -> str:
        """Return the end of what a worker printed."""
        path = self._logs.get(worker_id)
        if path is None or not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-n_lines:])

    def close(self) -> None:
        """Kill what still runs and remove the temporary logs."""
        self.kill_all()
        if self._own_log_folder is not None:
            shutil.rmtree(self._own_log_folder, ignore_errors=True)
            self._own_log_folder = None

    def _temporary_log_folder(self) -> Path:
        if self._own_log_folder is None:
            self._own_log_folder = Path(tempfile.mkdtemp(prefix="rush-logs-"))
        return self._own_log_folder

    def _watch(self, worker_id: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        self.exit_codes[worker_id] = code
        self._on_exit(worker_id, code)


def describe_exit(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was killed by {name}"
