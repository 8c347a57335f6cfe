"""A worker as a new Python interpreter that ends with this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from rush_core.launching.command import MODULE
from rush_core.launching.ends import WorkerEnd, end_of_process
from rush_core.owned_process import OwnedProcess, run_at_owner_end

__all__ = ["FreshProcess"]

# When this process ends, a worker tries to fail its task and to leave. An objective may prevent
# that, for example by holding the interpreter's lock. So a process outside of the worker kills its
# group a moment later.
_KILL_GROUP = 'sleep 0.5; kill -9 "-$1"'


class FreshProcess:
    """A worker process that is a child of this process.

    Parameters
    ----------
    arguments : sequence of str
        Those of the command ``worker``.
    environment : mapping of str to str
    folder : str
        The current directory of the process.
    out, err : file
        Take its standard output and standard error.
    on_end : callable
        Called as ``on_end(end)``, in a thread of its own, when the process has ended.

    Raises
    ------
    OSError
        If the process cannot be started.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: str | os.PathLike[str],
        out: IO[bytes],
        err: IO[bytes],
        on_end: Callable[[WorkerEnd], object],
    ) -> None:
        command = [*MODULE, "worker", *arguments, "--orphan-check"]
        self._process = OwnedProcess(
            command, stdout=out, stderr=err, env=environment, folder=folder
        )
        guard: OwnedProcess | None = None
        try:
            guard = run_at_owner_end(_KILL_GROUP, str(self._process.pid))
            threading.Thread(target=self._watch, args=(guard, on_end), daemon=True).start()
        except BaseException:
            self._process.kill()
            if guard is not None:
                guard.kill()
            raise

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.has_ended()

    def kill(self) -> None:
        """Send SIGKILL, without waiting for the end."""
        self._process.kill()

    def _watch(self, guard: OwnedProcess, on_end: Callable[[WorkerEnd], object]) -> None:
        """Wait for the end of the process, end its guard, and tell the end."""
        code = self._process.wait()
        guard.kill()  # at once: its group's number may now be given to other processes
        guard.wait()
        on_end(end_of_process(code))
