"""A child process that ends with its owner, even when the owner is killed.

The standard input of the child is a pipe, and only the owner holds the other end. When the owner
ends, the operating system closes the pipe, and the child reads the end of the file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from rush_core.connection.fork import keep_from_children

__all__ = ["OwnedProcess", "run_at_owner_end", "take_owner_pipe", "wait_for_owner"]

# A batch system may send SIGTERM to all processes of a job. The script has to run all the same. It
# finds the usual programs also if the PATH of this process is empty.
_AT_OWNER_END = """
trap '' TERM
read -r _
PATH="${PATH:+$PATH:}/usr/bin:/bin"
"""


class OwnedProcess:
    """A child process that ends when this process ends or calls `close`.

    The program must end at the end of its standard input: in Python by `wait_for_owner`, in a shell
    by ``read -r _``. It runs in a session of its own: Ctrl-C in a terminal does not reach it.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    stdout, stderr : int, file or None
        As for `subprocess.Popen`; by default those of this process.
    env : mapping, optional
        The environment; by default that of this process.
    pass_fds : sequence of int
        File descriptors that the child inherits.

    Attributes
    ----------
    stdout : file or None
        The output of the child, if `stdout` is `subprocess.PIPE`.
    pid : int
        The number of the child, and of its process group.

    Raises
    ------
    OSError
        If the program cannot be started.
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
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=env,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        # A forked child with a copy of the pipe would keep it open after this process has ended.
        keep_from_children(self._pipe)
        self.stdout = self._process.stdout
        self.pid = self._process.pid

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.poll() is not None

    def write(self, message: bytes) -> None:
        """Write to the standard input of the process; no effect if it has ended."""
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            self._pipe.write(message)
            self._pipe.flush()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; no effect if the process has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, without waiting for the end."""
        self._process.kill()

    def wait(self) -> int:
        """Wait until the process has ended; return its exit code (-n after signal n)."""
        code = self._process.wait()
        self._close_pipe()
        return code

    def close(self) -> int:
        """Close the pipe and wait until the process has ended; return its exit code."""
        self._close_pipe()
        return self.wait()

    def _close_pipe(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # what was written last has not been read
            self._pipe.close()


def run_at_owner_end(script: str, *arguments: str) -> OwnedProcess:
    """Start a shell that runs `script` when this process ends, or when the result is closed.

    Parameters
    ----------
    script : str
        For ``/bin/sh``.
    *arguments : str
        Known to the script as ``$1``, ``$2`` and so on.
    """
    return OwnedProcess(
        ["/bin/sh", "-c", _AT_OWNER_END + script, "sh", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def take_owner_pipe() -> int:
    """Return a new descriptor of the pipe to the owner, and empty the standard input.

    Call this in an owned process that runs code of others: that code would otherwise read from the
    pipe, and wait without end.
    """
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def wait_for_owner(pipe: int = 0) -> None:
    """Wait, in an owned process, until its owner ends or closes the pipe."""
    while os.read(pipe, 1):
        pass
