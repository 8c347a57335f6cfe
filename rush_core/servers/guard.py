"""The guard of an embedded server: it starts the server, restarts it, and ends it with its owner.

The guard is a process of its own, between the owner and the server. It waits for two events:

- *The owner ends.* The standard input reaches its end (see `rush_core.owned_process`). The guard
  ends the server and removes the folder of the socket.
- *The server is killed.* If the server keeps data, the guard starts it again: same socket, same
  data. Clients connect again and go on. A server without data is not started again, because its
  clients could not find their tasks.

This file is executed by its path (``python guard.py KEEPS_DATA FOLDER SERVER OPTION...``), not
imported: it may import only the standard library, and starts in a few milliseconds.
"""

import contextlib
import os
import select
import signal
import sys
import time

# What begins a line of the output that is meant for the owner's log; other lines are the server's.
NOTE = "rush: "

# How long a server may take to end after it was asked to, seconds. What it acknowledged is with the
# operating system already, so that SIGKILL loses nothing.
_GRACE_S = 0.5

# A server that is killed this often, each time within a second of its start, is not started again.
_MOST_QUICK_ENDS = 5
_QUICK_S = 1.0


class Guard:
    """Runs one server until the owner ends, or the server is not to be started again.

    Parameters
    ----------
    command : list of str
        The server's program and its options.
    keeps_data : bool
        Whether the server is started again after it was killed.
    """

    def __init__(self, command: list[str], keeps_data: bool) -> None:
        self._command = command
        self._keeps_data = keeps_data
        self._child_ended, wake = os.pipe()
        os.set_blocking(self._child_ended, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler, nothing wakes
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles it, see `_end`
        # The owner may block any signal, and a child inherits that. SIGTERM stays blocked, here and
        # in the server: a batch system may send it to all processes, and the owner decides when the
        # server ends.
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})

    def run(self) -> None:
        """Run the server."""
        n_quick = 0
        while True:
            began = time.monotonic()
            status = self._run_once()
            if status is None or not (self._keeps_data and os.WIFSIGNALED(status)):
                return
            n_quick = n_quick + 1 if time.monotonic() - began < _QUICK_S else 0
            how = f"the embedded server was killed by signal {os.WTERMSIG(status)}"
            if n_quick == _MOST_QUICK_ENDS:
                note(f"{how}, for the {n_quick}th time in a row; it is not started again")
                return
            note(f"{how}; it is started again on its data")
            if self._owner_ends_within(0.1 * n_quick):
                return

    def _run_once(self) -> int | None:
        """Start the server and wait; return its exit status, or None if the owner has ended."""
        server = os.fork()
        if not server:
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.execv(self._command[0], self._command)
            except OSError as error:
                os.write(1, f"cannot run {self._command[0]}: {error}\n".encode())
            finally:
                os._exit(127)
        while True:
            if self._owner_ends_within(None):
                self._end(server)
                return None
            ended, status = os.waitpid(server, os.WNOHANG)
            if ended:
                return status

    def _owner_ends_within(self, timeout_s: float | None) -> bool:
        """Wait until the owner ends, a child ends, or the time is over; tell if the owner has."""
        readable = self._wait([0, self._child_ended], timeout_s)
        return 0 in readable and not os.read(0, 4096)

    def _wait(self, descriptors: list[int], timeout_s: float | None) -> list[int]:
        readable, _, _ = select.select(descriptors, [], [], timeout_s)
        if self._child_ended in readable:
            os.read(self._child_ended, 4096)
        return readable

    def _end(self, server: int) -> None:
        """End the server and wait for its end."""
        deadline = time.monotonic() + _GRACE_S
        os.kill(server, signal.SIGINT)
        while os.waitpid(server, os.WNOHANG) == (0, 0):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                os.kill(server, signal.SIGKILL)
                os.waitpid(server, 0)
                return
            self._wait([self._child_ended], left_s)


def note(text: str) -> None:
    """Print a line for the owner's log."""
    with contextlib.suppress(OSError):  # the owner has ended, and nobody reads it
        os.write(1, f"{NOTE}{text}\n".encode())


def main(arguments: list[str]) -> None:
    """Guard a server; see the head of this file."""
    keeps_data, folder, *command = arguments
    try:
        Guard(command, keeps_data == "1").run()
    finally:
        import shutil  # only now: the import takes as long as the rest of the start

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
