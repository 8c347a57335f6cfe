"""A worker as a new Python interpreter that ends with this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from rush_core.launching.command import MODULE
from rush_core.launching.ends import WorkerEnd, end_of_process
from rush_core.supervised_process import SupervisedProcess

__all__ = ["FreshProcess"]


class FreshProcess:
    """A worker process with a supervisor of its own, which ends all that the worker has started.

    Parameters
    ----------
    arguments : sequence of str
        Those of the command ``worker``.
    environment : mapping of str to str
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
        out: IO[bytes],
        err: IO[bytes],
        on_end: Callable[[WorkerEnd], object],
    ) -> None:
        command = [*MODULE, "worker", *arguments, "--orphan-check"]
        self._process = SupervisedProcess(command, stdout=out, stderr=err, env=environment)
        try:
            threading.Thread(target=self._watch, args=(on_end,), daemon=True).start()
        except BaseException:
            self._process.kill()
            raise

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.has_ended()

    def kill(self) -> None:
        """Send SIGKILL, without waiting for the end."""
        self._process.kill()

    def _watch(self, on_end: Callable[[WorkerEnd], object]) -> None:
        """Wait for the end of the process, and tell it."""
        on_end(end_of_process(self._process.wait()))
