"""A server of ours with a password on a loopback port, which can go away and come back."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from waiting import wait_until

from rush_core.server import find_server_binary

PASSWORD = "correct-horse/battery@staple"  # with what URLs have to quote


class LoopbackServer:
    """A server with an append-only file, started by `start` and ended by `stop`.

    Parameters
    ----------
    folder : Path
        Where its data are kept.

    Attributes
    ----------
    bare_url, url : str
        Where it listens, without and with its password.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.bare_url = f"redis://127.0.0.1:{self.port}/0"
        self.url = f"redis://:correct-horse%2Fbattery%40staple@127.0.0.1:{self.port}/0"
        self._log = folder / "server.log"
        self._configuration = folder / "server.conf"
        self._configuration.write_text(
            f'port {self.port}\nbind 127.0.0.1\nrequirepass "{PASSWORD}"\n'
            f'dir "{folder}"\nsave ""\nappendonly yes\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it can be used."""
        with self._log.open("wb") as output:
            command = [str(find_server_binary()), str(self._configuration)]
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: b"eady to accept connections" in self._log.read_bytes())

    def kill(self) -> None:
        """End it by SIGKILL; what it wrote stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it; the data stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
