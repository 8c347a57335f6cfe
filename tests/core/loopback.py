"""Servers with a password on a loopback port, which tests can end and start again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import retry_unreachable
from rush_core.servers.binary import find_server_binary
from tests.ports import free_port
from tests.waiting import wait_until

PASSWORD = "correct-horse/battery@staple"  # with what URLs have to quote
QUOTED_PASSWORD = "correct-horse%2Fbattery%40staple"


class LoopbackServer:
    """A server with an append-only file, started by `start` and ended by `stop` or `kill`.

    Parameters
    ----------
    folder : Path
        Where its data are kept.
    settings : sequence of str
        Further lines of its configuration, in which ``{port}`` stands for its port.
    program_arguments : sequence of str
        Further words of the command line, as ``--sentinel``.
    environment : mapping of str to str, optional
        Variables of its environment besides those of this process.

    Attributes
    ----------
    port : int
    bare_url, url : str
        Where it listens, without and with its password.
    """

    def __init__(
        self,
        folder: Path,
        settings: Sequence[str] = (),
        program_arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.bare_url = f"redis://127.0.0.1:{self.port}/0"
        self.url = f"redis://:{QUOTED_PASSWORD}@127.0.0.1:{self.port}/0"
        self._log = folder / "server.log"
        self._configuration = folder / "server.conf"
        lines: tuple[str, ...] = (f"port {self.port}", "bind 127.0.0.1", f'dir "{folder}"')
        if not program_arguments:
            # With the default, a reply may come before the file is written: up to two seconds
            # where an fsync takes long.
            lines += ("appendonly yes", "appendfsync always")
            lines += (f'requirepass "{PASSWORD}"', 'save ""')
        lines += tuple(line.format(port=self.port) for line in settings)
        self._configuration.write_text("".join(f"{line}\n" for line in lines))
        self._command = [str(find_server_binary()), str(self._configuration), *program_arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it can be used; AssertionError with its output if it ends."""
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, env=self._environment
            )
        wait_until(lambda: self._is_ready() or self._process_ended())
        assert self._is_ready(), self._log.read_text()

    def kill(self) -> None:
        """End it by SIGKILL; the data that it wrote stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it; the data stay."""
        if self._process is None:
            return
        for _ in range(20):
            self._process.terminate()  # ignored by one that writes its first append-only file
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
                return
        self.kill()

    def ask(self, *command: str | bytes | int) -> Any:
        """Send one command, which may be repeated, as the server's administrator."""
        connection = Connection(self.url)
        try:
            return retry_unreachable(lambda: connection.execute(pack(command)))
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        said = self._log.read_bytes()
        return b"eady to accept connections" in said or b"Sentinel ID is" in said

    def _process_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None
