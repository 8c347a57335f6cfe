"""Workers as processes on this machine."""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Protocol

from rush_core.connection.url import environment_of
from rush_core.launching.command import ONE_THREAD
from rush_core.launching.ends import WorkerEnd, WorkerEnds
from rush_core.launching.forking import ForkedProcess, ForkingProcess
from rush_core.launching.fresh import FreshProcess
from rush_core.launching.output import WorkerOutput

__all__ = ["Launch", "LocalWorkers", "StartMethod"]

_logger = logging.getLogger(__name__)

StartMethod = Literal["fork", "spawn"]

# Elsewhere a forked process cannot use some libraries of the system.
_CAN_FORK = sys.platform == "linux"

# How long a kill waits for a forking process that still imports the loop; and how long for any,
# before that is killed itself with all its workers.
_IMPORT_TIMEOUT_S = 2.0
_KILL_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Launch:
    """What the workers that are started by one call have in common.

    Parameters
    ----------
    network_id, url : str
    options : sequence of str
        Those of the command ``worker`` that are the same for all.
    start_method : str or None
        Whether the workers are forked or fresh interpreters; None: forked where that is safe.
    """

    network_id: str
    url: str
    options: tuple[str, ...]
    start_method: StartMethod | None
    # Workers have the environment and the directory that this process has at the time of the call.
    environment: tuple[tuple[str, str], ...] = field(
        default_factory=lambda: tuple(os.environ.items())
    )
    folder: str = field(default_factory=os.getcwd)

    @property
    def worker_environment(self) -> dict[str, str]:
        """The environment of a worker."""
        return {**ONE_THREAD, **dict(self.environment), **environment_of(self.url)}


class _Process(Protocol):
    """The process of a worker."""

    def has_ended(self) -> bool: ...

    def kill(self) -> None: ...


class LocalWorkers:
    """Worker processes that end with this process, whatever they do.

    Workers with the same loop are forked by one process, which has imported what they need. Where
    that is impossible, each is a fresh interpreter.

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
        self._processes: dict[str, _Process] = {}
        self._forking: dict[Launch, ForkingProcess] = {}
        self._unsafe: set[Launch] = set()
        self._starting = threading.Lock()
        self.ends = WorkerEnds(on_end)
        self.output = WorkerOutput()

    def start(self, worker_id: str, launch: Launch, log_folder: Path | None) -> None:
        """Start one process; its output goes to two files.

        Raises
        ------
        OSError
            If the process cannot be started.
        """
        handled = threading.Event()
        process: _Process | None = None
        try:
            on_end = functools.partial(self.ends.record, worker_id, handled=handled)
            with self.output.open(worker_id, log_folder) as files:
                process = self._start(worker_id, launch, files, on_end)
            # Only now, because Ctrl-C may interrupt between any two lines: `wait` must wait only
            # for a process that a thread watches.
            self.ends.expect(worker_id, handled)
            self._processes[worker_id] = process
        except BaseException:
            if process is not None:
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
        if not self.ends.wait(_IMPORT_TIMEOUT_S, killed):
            for forking in list(self._forking.values()):
                forking.drop_unforked()
            if not self.ends.wait(_KILL_TIMEOUT_S, killed):
                for forking in list(self._forking.values()):
                    forking.insist()
        self.ends.wait(None, killed)

    def forget(self) -> None:
        """Kill all processes and forget all workers."""
        self.kill(self.running())
        self.ends.wait(None, None)
        for forking in self._forking.values():
            forking.close()
        self._forking.clear()
        self._processes.clear()
        self.ends.forget()

    def close(self) -> None:
        """Kill all processes and remove the temporary files with their output."""
        self.forget()
        self.output.close()

    def _start(
        self,
        worker_id: str,
        launch: Launch,
        files: Sequence[IO[bytes]],
        on_end: Callable[[WorkerEnd], object],
    ) -> _Process:
        """Have a worker forked, or start a fresh process."""
        paths = [Path(os.path.abspath(file.name)) for file in files]
        start_fresh = functools.partial(_start_fresh, worker_id, launch, paths, on_end)
        if launch.start_method == "spawn" or not _CAN_FORK:
            return start_fresh()
        with self._starting:
            while launch not in self._unsafe:
                forking = self._forking_process(launch, files)
                process = ForkedProcess(forking, worker_id, on_end, start_fresh)
                if forking.start(process, *paths):
                    return process
                forking.close()
                del self._forking[launch]
        return start_fresh()

    def _forking_process(self, launch: Launch, files: Sequence[IO[bytes]]) -> ForkingProcess:
        """Return the process that forks workers for `launch`; start it if there is none."""
        out, err = files
        if launch not in self._forking:
            self._forking[launch] = ForkingProcess(
                (launch.network_id, *launch.options),
                launch.worker_environment,
                out,
                err,
                functools.partial(self._note_unsafe, launch),
            )
        return self._forking[launch]

    def _note_unsafe(self, launch: Launch, reason: str) -> None:
        """Start no forking process for these workers any more."""
        self._unsafe.add(launch)
        level = logging.WARNING if launch.start_method == "fork" else logging.INFO
        _logger.log(
            level,
            "workers start as fresh interpreters, because they cannot be forked: %s; "
            'start_method="spawn" starts them so at once',
            reason,
        )


def _start_fresh(
    worker_id: str, launch: Launch, paths: Sequence[Path], on_end: Callable[[WorkerEnd], object]
) -> FreshProcess:
    """Start a worker as a fresh interpreter."""
    arguments = [launch.network_id, *launch.options, "--worker-id", worker_id]
    environment = launch.worker_environment
    with paths[0].open("ab") as out, paths[1].open("ab") as err:
        return FreshProcess(arguments, environment, out, err, on_end)
