import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from rush_core.server import find_server_binary

PASSWORD = "correct-horse/battery@staple"  # with what URLs have to quote


class LoopbackServer:
    """A server of ours on a loopback port, with a password, that can go away and come back."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
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
        with self._log.open("wb") as output:
            command = [str(find_server_binary()), str(self._configuration)]
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: b"eady to accept connections" in self._log.read_bytes())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@pytest.fixture
def loopback_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    server = LoopbackServer(tmp_path_factory.mktemp("loopback"))
    server.start()
    yield server
    server.stop()


Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Run a command line through the shell; whatever of it still runs after the test is killed.

    It has no network's manager to watch it, and `environment` besides the tests' own.
    """
    processes: list[subprocess.Popen[str]] = []

    def launch(command: str, **environment: str) -> "subprocess.Popen[str]":
        processes.append(
            subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        )
        return processes[-1]

    yield launch
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


Rush = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def rush() -> Rush:
    """Run the console command to its end."""
    program = Path(sys.executable).parent / "rush"

    def rush(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=60.0,
            env={**os.environ, **environment},
        )

    return rush
