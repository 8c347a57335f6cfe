"""The embedded server: a private server that ends with the process that started it.

Between the owner and the server there is a guard, `rush_core.servers.guard`: it starts a killed
server again on its data, and ends the server when the owner ends.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from rush_core.connection.url import unix_url
from rush_core.errors import RushError
from rush_core.owned_process import OwnedProcess
from rush_core.servers import guard
from rush_core.servers.binary import (
    LONGEST_SOCKET_PATH,
    append_only_options,
    find_server_binary,
    unix_socket_options,
)

__all__ = ["LEAST_FREE", "EmbeddedServer", "ends_with_this_process", "serve"]

logger = logging.getLogger(__name__)

# A server that cannot start exits, which shows at once. A server that reads its data, one second
# for 100,000 tasks, prints nothing until it is ready.
_START_TIMEOUT_S = 300.0

# A server that lives but has not answered after so long is busy.
_ANSWER_TIMEOUT_S = 5.0

# With less room than this on the disk of its data, bytes, a server refuses writes. It is looked at
# five times a second: enough if the disk fills by 300 MB a second.
LEAST_FREE = 64 * 1024**2

# Isolated from the user's environment, and without the search for packages, which takes time.
_GUARD = (sys.executable, "-I", "-S", guard.__file__)


# The servers without data that this program has started: URL, and number of the process.
_passing: dict[str, int] = {}


def ends_with_this_process(url: str) -> bool:
    """Return whether the server at `url` and its data end together with this process."""
    return _passing.get(url) == os.getpid()


class EmbeddedServer:
    """A running private server.

    It listens on a unix socket in a folder that only this user can enter, and on no TCP port. It
    ends on `close`, at the end of a ``with`` block, or when the process that started it ends. If it
    is killed and keeps data, it is started again: the URL stays the same, and nothing is lost. It
    refuses writes while less than 64 MiB are free on the disk of its data.

    Parameters
    ----------
    data_folder : Path, optional
        Where it appends every change to a file, and reads what an earlier server wrote; by default
        it keeps no data.
    inherited : sequence of int
        File descriptors that stay open until the server has ended.

    Attributes
    ----------
    url : str
        Where it listens.

    Raises
    ------
    ServerNotFoundError
        If there is no server program on this machine.
    RushError
        If the server does not start; the message has the last lines that it printed.
    """

    def __init__(self, data_folder: Path | None = None, *, inherited: Sequence[int] = ()) -> None:
        binary = find_server_binary()
        folder = _new_socket_folder()
        self._socket_path = folder / "server.sock"
        self.url = unix_url(self._socket_path)
        options = unix_socket_options(self._socket_path)
        options |= append_only_options(data_folder or folder)
        if data_folder is None:
            options["appendonly"] = "no"
            _passing[self.url] = os.getpid()
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._guard = OwnedProcess(
            [
                *_GUARD,
                str(folder),
                str(data_folder or ""),
                str(LEAST_FREE),
                str(binary),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=inherited,
        )
        self._last_lines: deque[str] = deque(maxlen=20)
        self._started_or_ended = threading.Event()
        self._is_ready = False
        assert self._guard.stdout is not None
        # The thread reads until the server ends: a full pipe would block the server.
        threading.Thread(target=self._read, args=(self._guard.stdout,), daemon=True).start()
        if not self._started_or_ended.wait(_START_TIMEOUT_S) or not self._is_ready:
            self.close()
            lines = "\n".join(self._last_lines)
            raise RushError(f"the embedded server {binary} did not start; it printed:\n{lines}")

    def __repr__(self) -> str:
        return f"<EmbeddedServer at {self.url}>"

    def has_ended(self) -> bool:
        """Tell whether the server was killed, or has ended otherwise; also in a forked child.

        A server with data that is just being started again counts as ended, too.
        """
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(_ANSWER_TIMEOUT_S)
            try:
                caller.connect(os.fsencode(self._socket_path))
                caller.sendall(b"PING\r\n")
                # A server that is just ending may still accept a connection, and then closes it.
                return not caller.recv(100)
            except (ConnectionError, FileNotFoundError):
                return True
            except OSError:  # it has much to do: no answer in time, or many who wait to connect
                return False

    def close(self) -> None:
        """End the server; the data in a data folder stay."""
        self._guard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, output: IO[bytes]) -> None:
        """Read what server and guard print; notice that the server is ready."""
        with output:
            for line in output:
                text = line.decode(errors="replace").rstrip()
                self._last_lines.append(text)
                if text.startswith(guard.NOTE):
                    logger.warning("%s", text.removeprefix(guard.NOTE))
                if "eady to accept connections" in text:
                    self._is_ready = True
                    self._started_or_ended.set()
        self._started_or_ended.set()


def serve() -> EmbeddedServer:
    """Start a private server that keeps no data; takes about 50 ms.

    Raises
    ------
    ServerNotFoundError, RushError
        As for `EmbeddedServer`.

    Examples
    --------
    >>> with serve() as server:
    ...     network = Network("my-run", url=server.url)
    """
    return EmbeddedServer()


def _new_socket_folder() -> Path:
    """Make a folder (mode 0700) whose path is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="rush-"))
    if len(os.fsencode(folder / "server.sock")) > LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="rush-", dir="/tmp"))
    return folder
