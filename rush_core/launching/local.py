"""Workers as processes on this machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rush_core.connection.url import environment_of
from rush_core.launching.command import MODULE, ONE_THREAD
from rush_core.launching.ends import WorkerEnd, WorkerEnds
from rush_core.launching.output import WorkerOutput
from rush_core.owned_process import OwnedProcess, run_at_owner_end

__all__ = ["LocalWorkers"]

# When this process ends, a worker tries to fail its task and to leave. An objective may prevent
# that, for example by holding the interpreter's lock. So a process outside of the worker kills its
# group a moment later.
_KILL_GROUP = 'sleep 0.5; kill -9 "-$1"'


class LocalWorkers:
    """Worker processes that are children of this process and end with it, whatever they do.

    Parameters
    ----------
    on_end : callable
        Called as ``on_end(worker_id, end)``, in a thread of its own, when a process has ended.

    Attributes
    ----------
    ends : WorkerEnds
    output : WorkerOutput
    """

    def __init__(self, on_end: Callable[[str, WorkerEnd], None]) -> None:
        self._processes: dict[str, OwnedProcess] = {}
        self.ends = WorkerEnds(on_end)
        self.output = WorkerOutput()

    def start(
        self,
        worker_id: str,
        network_id: str,
        url: str,
        options: Sequence[str],
        log_folder: Path | None,
    ) -> None:
        """Start one process, a new Python interpreter; its output goes to two files."""
        command = [*MODULE, "worker", network_id, *options]
        command += ["--worker-id", worker_id, "--orphan-check"]
        environment = {**ONE_THREAD, **os.environ, **environment_of(url)}
        with self.output.open(worker_id, log_folder) as (out, err):
            process = OwnedProcess(command, stdout=out, stderr=err, env=environment)
        handled = threading.Event()
        guard: OwnedProcess | None = None
        try:
            guard = run_at_owner_end(_KILL_GROUP, str(process.pid))
            watch = (worker_id, process, guard, handled)
            threading.Thread(target=self._watch, args=watch, daemon=True).start()
            # Only now, because Ctrl-C may interrupt between any two lines: `wait` must wait only
            # for a process that a thread watches.
            self.ends.expect(worker_id, handled)
            self._processes[worker_id] = process
        except BaseException:
            process.kill()
            if guard is not None:
                guard.kill()
            raise

    def started(self) -> list[str]:
        """Return all workers whose processes were started."""
        return list(self._processes)

    def running(self) -> list[str]:
        """Return the workers whose processes have not ended."""
        return [name for name, process in self._processes.items() if not process.has_ended()]

    def watched(self) -> set[str]:
        """Return the workers whose processes have been started, and whose end is not recorded."""
        return set(self._processes) - set(self.ends.all)

    def kill(self, worker_ids: Iterable[str]) -> None:
        """Kill processes, and wait until their ends are handled."""
        killed = list(worker_ids)
        for worker_id in killed:
            self._processes[worker_id].kill()
        self.ends.wait(None, killed)

    def forget(self) -> None:
        """Kill all processes and forget all workers."""
        self.kill(self.running())
        self.ends.wait(None, None)
        self._processes.clear()
        self.ends.forget()

    def close(self) -> None:
        """Kill all processes and remove the temporary files with their output."""
        self.forget()
        self.output.close()

    def _watch(
        self, worker_id: str, process: OwnedProcess, guard: OwnedProcess, handled: threading.Event
    ) -> None:
        """Wait for the end of a process, end its guard, and record the end."""
        code = process.wait()
        guard.kill()  # at once: its group's number may now be given to other processes
        guard.wait()
        self.ends.record(worker_id, WorkerEnd(_describe_exit(code), code == 0), handled)


def _describe_exit(code: int) -> str:
    """Return in words how a process ended."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was killed by {name}"
