"""An embedded server that is looked at from outside, and a replica of it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from rush_core import serve
from rush_core.connection.connection import Connection, pack, parse_info

# How long a replica may take to copy a server that holds next to nothing.
_COPY_MS = 20_000


class WatchedServer:
    """A running server's process.

    Parameters
    ----------
    url : str
        Its unix socket.

    Attributes
    ----------
    url, path : str
        The same socket as a URL and as a path.
    version : str
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = url.removeprefix("unix://")
        self._connection = Connection(url)
        info = self._info("server")
        self.version = f"{info.get('server_name', 'redis')} " + info.get(
            "valkey_version", info["redis_version"]
        )
        self._process = psutil.Process(int(info["process_id"]))

    def pin(self, core: int) -> None:
        """Keep the process on one core."""
        self._process.cpu_affinity([core])

    def cpu_s(self) -> float:
        """Return the CPU time that the process has used, seconds."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def waited_s(self) -> float:
        """Return how long it was ready to run and did not get its core, seconds."""
        return waited_s(self._process.pid)

    def peak_mb(self) -> float:
        """Return the most memory that the server has held, data and replies, MB."""
        return int(self._info("memory")["used_memory_peak"]) / 1e6

    def execute(self, *command: Any) -> Any:
        """Execute one command."""
        return self._connection.execute(pack(command))

    def close(self) -> None:
        """Stop looking."""
        self._connection.close()

    def _info(self, section: str) -> dict[str, str]:
        return parse_info(self.execute("INFO", section).decode())


def waited_s(pid: int | str) -> float:
    """Return how long a process was ready to run and did not get a core, seconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


@contextlib.contextmanager
def watched_server() -> Iterator[WatchedServer]:
    """Start an embedded server, and end it."""
    with serve() as server, contextlib.closing(WatchedServer(server.url)) as watched:
        yield watched


def replicate(primary: WatchedServer, replica: WatchedServer) -> None:
    """Make one server the replica of another, over a loopback port; return when it has copied."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    primary.execute("CONFIG", "SET", "bind", "127.0.0.1")
    primary.execute("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    primary.execute("CONFIG", "SET", "port", port)
    replica.execute("REPLICAOF", "127.0.0.1", port)
    # A replica counts from when its copy is on its way. What is written after that it acknowledges
    # only when it has the copy and follows.
    primary.execute("WAIT", 1, _COPY_MS)
    primary.execute("SET", "copied", "yes")
    if primary.execute("WAIT", 1, _COPY_MS) != 1:
        raise RuntimeError(f"need a copy within {_COPY_MS} ms, found none")
