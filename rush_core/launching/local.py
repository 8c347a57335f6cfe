"""Workers as processes on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rush_core.connection.url import environment_of
from rush_core.launching.command import MODULE, ONE_THREAD
from rush_core.launching.ends import WorkerEnd, WorkerEnds
from rush_core.launching.output import WorkerOutput
from rush_core.supervised_process import SupervisedProcess, describe_exit

__all__ = ["LocalWorkers"]


class LocalWorkers:
    """Worker processes that end with this process, whatever they do.

    All that a worker's loop has started ends with the worker.

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
        self._processes: dict[str, SupervisedProcess] = {}
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
            process = SupervisedProcess(command, stdout=out, stderr=err, env=environment)
        handled = threading.Event()
        try:
            watch = (worker_id, process, handled)
            threading.Thread(target=self._watch, args=watch, daemon=True).start()
            # Only now, because Ctrl-C may interrupt between any two lines: `wait` must wait only
            # for a process that a thread watches.
            self.ends.expect(worker_id, handled)
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

    def _watch(self, worker_id: str, process: SupervisedProcess, handled: threading.Event) -> None:
        """Wait for the end of a process, and record it."""
        code = process.wait()
        end = WorkerEnd(f"its process {describe_exit(code)}", in_order=code == 0)
        self.ends.record(worker_id, end, handled)
