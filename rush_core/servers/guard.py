"""The guard of an embedded server: it starts the server, restarts it, and ends it with its owner.

The guard is a process of its own, between the owner and the server. It handles three events:

- *The owner ends.* The standard input reaches its end (see `rush_core.owned_process`). The guard
  ends the server and removes the folder of the socket.
- *The server is killed.* If the server keeps data, the guard starts it again: same socket, same
  data. Clients connect again and go on. A server without data is not started again, because its
  clients could not find their tasks.
- *The disk of the data is nearly full.* A server goes on when it cannot write to its disk; what it
  acknowledges then is lost if it is killed. So the guard lets it refuse writes while little room is
  left, by a limit of its memory.

This file is executed by its path (``python guard.py FOLDER DATA_FOLDER LEAST_FREE SERVER
OPTION...``; DATA_FOLDER is empty if the server keeps no data), not imported: it may import only the
standard library, and starts in a few milliseconds.
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

# No system announces that a disk becomes full. So the guard looks, every so many seconds.
_LOOK_EVERY_S = 0.2

# Writes are refused below the least room, and permitted again above it and this margin, bytes.
_MARGIN = 16 * 1024**2


class Guard:
    """Runs one server until the owner ends, or the server is not to be started again.

    Parameters
    ----------
    folder : str
        The folder of the socket, ``server.sock``.
    data_folder : str
        Where the server keeps its data; empty if it keeps none.
    least_free : int
        With how little room on the disk of the data the server refuses writes, bytes.
    command : list of str
        The server's program and its options.
    """

    def __init__(self, folder: str, data_folder: str, least_free: int, command: list[str]) -> None:
        self._socket_path = os.path.join(folder, "server.sock")
        self._data_folder = data_folder
        self._least_free = least_free
        self._command = command
        self._refuses_writes = False
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
            if status is None or not (self._data_folder and os.WIFSIGNALED(status)):
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
        self._refuses_writes = False
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
            if self._owner_ends_within(_LOOK_EVERY_S if self._data_folder else None):
                self._end(server)
                return None
            if self._data_folder:
                self._heed_room()
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

    def _heed_room(self) -> None:
        """Let the server refuse writes if there is little room for its data, and only then."""
        try:
            disk = os.statvfs(self._data_folder)
        except OSError:  # the folder was removed: the server has no data to keep any more
            return
        free = disk.f_bavail * disk.f_frsize
        least = self._least_free + (_MARGIN if self._refuses_writes else 0)
        is_full = free < least
        if is_full == self._refuses_writes or not self._limit_memory(1 if is_full else 0):
            return
        self._refuses_writes = is_full
        if is_full:
            note(
                f"{free:,} bytes are left on the disk of {self._data_folder}: the embedded server "
                f"refuses writes until there are {self._least_free + _MARGIN:,}; make room"
            )
        else:
            note(f"there is room on the disk of {self._data_folder} again")

    def _limit_memory(self, n_bytes: int) -> bool:
        """Set the limit of the server's memory, 0 for none; return whether the server did it."""
        import socket  # only if it is needed

        with socket.socket(socket.AF_UNIX) as caller, contextlib.suppress(OSError):
            caller.settimeout(_GRACE_S)
            caller.connect(self._socket_path)
            caller.sendall(b"CONFIG SET maxmemory %d\r\n" % n_bytes)
            return caller.recv(100).startswith(b"+OK")
        return False

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
        os.write(1, os.fsencode(f"{NOTE}{text}\n"))


def main(arguments: list[str]) -> None:
    """Guard a server; see the head of this file."""
    folder, data_folder, least_free, *command = arguments
    try:
        Guard(folder, data_folder, int(least_free), command).run()
    finally:
        import shutil  # only now: the import takes as long as the rest of the start

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
