import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rush_core import EmbeddedServer, Network
from rush_core.keys import NetworkKeys
from rush_core.membership.log_handler import NetworkLogHandler
from tests.core.commands import PROGRAM
from tests.core.loopback import LoopbackServer
from tests.core.processes import is_alive
from tests.fixture_types import Launch, Rush


@pytest.fixture
def loopback_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    server = LoopbackServer(tmp_path_factory.mktemp("loopback"))
    server.start()
    yield server
    server.stop()


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


@pytest.fixture
def rush() -> Rush:
    """Run the console command to its end."""

    def rush(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PROGRAM, *arguments],
            capture_output=True,
            text=True,
            timeout=60.0,
            env={**os.environ, **environment},
        )

    return rush


@pytest.fixture
def server_in_environment(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are told no other server find ours."""
    monkeypatch.setenv("RUSH_REDIS_URL", server.url)


@pytest.fixture
def logger(network: Network) -> Iterator[logging.Logger]:
    """A logger whose records go to `network` in the name of a worker."""
    logger = logging.Logger("study")
    logger.addHandler(
        NetworkLogHandler(network.url, NetworkKeys(network.network_id), "w1", "DEBUG")
    )
    yield logger
    logger.handlers[0].close()


@pytest.fixture
def threads(network: Network) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool
        network.close()  # what still runs is removed, so that the pool can end


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes that must be gone after the test; those that are not are killed."""
    pids: list[int] = []
    yield pids
    left = [pid for pid in pids if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
