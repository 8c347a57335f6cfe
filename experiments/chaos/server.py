"""The server that is killed and started again."""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from rush_core import RushError
from rush_core.connection.connection import Connection, pack
from rush_core.servers.binary import find_server_binary

# As the embedded server has it. With Redis's "everysec" a kill loses what was acknowledged while
# the disk was busy (experiments/killed_server.py).
APPENDFSYNC = "no"


class Server:
    """A server on an append-only file and a unix socket, to be killed and started again.

    Parameters
    ----------
    folder : Path
    appendfsync : str
        When it has the file put on the disk.
    """

    def __init__(self, folder: Path, appendfsync: str = APPENDFSYNC) -> None:
        self._folder, self._appendfsync = folder, appendfsync
        self.url = f"unix://{folder / 'server.sock'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {"port": "0", "dir": str(self._folder), "appendonly": "yes", "save": ""}
        options |= {"unixsocket": self.url.removeprefix("unix://")}
        options |= {"appendfsync": self._appendfsync}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [str(find_server_binary()), *arguments],
            stdout=subprocess.DEVNULL,
            preexec_fn=_ignore_full_disk,
        )
        deadline = time.monotonic() + 30.0
        while not self.answers():
            if time.monotonic() > deadline:
                raise RuntimeError("the server did not come back within 30 s")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop its process until `resume`: connections stay, and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the stopped process go on."""
        self._running().send_signal(signal.SIGCONT)

    def use_up_disk(self) -> None:
        """Let no file of the server grow any more: it refuses to write, as on a full disk.

        Only Linux can do this to another process; elsewhere nothing happens.
        """
        largest = max(path.stat().st_size for path in self._folder.rglob("*.aof"))
        self._limit_files(largest)

    def free_disk(self) -> None:
        """Let files grow again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        if hasattr(resource, "prlimit"):
            pid = self._running().pid
            hardest = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hardest))

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def answers(self) -> bool:
        """Tell whether it can be used."""
        with contextlib.suppress(RushError), contextlib.closing(Connection(self.url)) as probe:
            return bool(probe.execute(pack(("PING",))) == b"PONG")
        return False

    def kill(self) -> None:
        """Kill the server; its files stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def tell(self, *command: str) -> Any:
        """Execute one command, on a connection for it alone."""
        with contextlib.closing(Connection(self.url)) as connection:
            return connection.execute(pack(command))


def _ignore_full_disk() -> None:
    """Let a write beyond the limit of file sizes fail, which would end the server otherwise."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def server_version() -> str:
    """Return name and version of the server that such a run starts."""
    words = subprocess.run([find_server_binary(), "--version"], capture_output=True, text=True)
    return " ".join(words.stdout.split()[:3])
