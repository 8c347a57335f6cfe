"""A child process that ends together with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from rush_core import supervisor
from rush_core.owned_process import OwnedProcess

__all__ = ["SupervisedProcess", "describe_exit"]

# Isolated from the user's environment, and without the search for packages, which takes time.
_SUPERVISOR = (sys.executable, "-I", "-S", supervisor.__file__)

# How long the supervisor may be stopped before it is continued, seconds. Who stops a whole tree of
# processes stops this process as well, and within this time.
_STOPPED_S = 1.0

_STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class SupervisedProcess:
    """A program with a supervisor (`rush_core.supervisor`), which ends what the program started.

    When the program ends, what it has started is killed: at once if this process killed it, else a
    second later. When this process ends, program and all are killed half a second later. This holds
    for its child processes and theirs; where there is no Linux, for its process group.

    A program that is stopped by a signal for longer than a second is killed.

    The standard input of the program is a pipe that reaches its end when this process ends.

    Parameters
    ----------
    command : sequence of str
        Program, by its path, and arguments.
    stdout, stderr : int, file or None
        As for `subprocess.Popen`; by default those of this process.
    env : mapping, optional
        The environment; by default that of this process.
    pass_fds : sequence of int
        File descriptors that the program inherits.

    Attributes
    ----------
    pid : int
        The number of the supervisor; program and all are its descendants.

    Raises
    ------
    OSError
        If the supervisor cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._supervisor = OwnedProcess(
            [*_SUPERVISOR, *command], stdout=stdout, stderr=stderr, env=env, pass_fds=pass_fds
        )
        self.pid = self._supervisor.pid

    def has_ended(self) -> bool:
        """Return whether the program and all that it started have ended."""
        return self._supervisor.has_ended()

    def kill(self) -> None:
        """Let the program and all that it started be killed, without waiting for their end."""
        self._supervisor.write(b"kill")
        self._supervisor.send_signal(signal.SIGCONT)  # the program may have stopped it

    def wait(self) -> int:
        """Wait until all have ended; return the program's exit code (-n after signal n).

        The code is 128 + n if the program was killed because signal n had stopped it.
        """
        # CPython has `os.waitid` on macOS only from 3.13 on.
        waitid = getattr(os, "waitid", None)
        with contextlib.suppress(ChildProcessError):  # another thread has seen its end
            while waitid and _is_stopped(waitid, self.pid):
                time.sleep(_STOPPED_S)
                self._supervisor.send_signal(signal.SIGCONT)
        return self._supervisor.wait()


def describe_exit(code: int) -> str:
    """Return in words how a supervised process ended, given what `wait` returned."""
    if code - 128 in _STOP_SIGNALS:
        name = signal.Signals(code - 128).name
        return f"was stopped by {name}, and killed because nobody continued it"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"


def _is_stopped(waitid: Callable[..., Any], pid: int) -> bool:
    """Wait until a child is stopped or has ended; return whether it is stopped."""
    options = os.WEXITED | os.WSTOPPED | os.WNOWAIT
    return bool(waitid(os.P_PID, pid, options).si_code == os.CLD_STOPPED)
