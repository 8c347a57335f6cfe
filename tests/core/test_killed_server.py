"""Embedded servers that are killed while their program lives."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import rush_core
from rush_core import Network
from rush_core.connection.connection import Connection, pack, parse_info
from rush_core.errors import ServerUnreachableError
from rush_core.servers.embedded import EmbeddedServer
from tests.waiting import wait_until


def pid_of_server(url: str) -> int:
    connection = Connection(url)
    info = parse_info(connection.execute(pack(("INFO", "server"))).decode())
    connection.close()
    return int(info["process_id"])


def kill_server(url: str) -> None:
    """Kill a server as the operating system does when memory runs out; wait for its end."""
    process = psutil.Process(pid_of_server(url))
    process.kill()
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def test_a_named_network_goes_on_when_its_server_was_killed(
    network_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Network(network_id) as network:
        network.push_tasks([{"x": i} for i in range(100)])
        kill_server(network.url)
        assert network.count_tasks().queued == 100
        network.push_tasks([{"x": 100}])
        assert network.count_tasks().queued == 101
        wait_until(lambda: "killed by signal 9; it is started again on its data" in caplog.text)
        with Network(network_id) as other:
            assert other.url == network.url


def test_another_process_opens_a_network_whose_server_was_killed(network_id: str) -> None:
    program = f"from rush_core import Network; print(Network({network_id!r}).count_tasks().queued)"
    with Network(network_id) as network:
        network.push_tasks([{"x": i} for i in range(100)])
        os.kill(pid_of_server(network.url), signal.SIGKILL)
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (run.stdout, run.stderr) == ("100\n", "")


def test_a_server_that_is_killed_again_and_again_is_started_by_whoever_asks_next(
    network_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Network(network_id) as network:
        network.push_tasks([{"x": 1}])

        def is_given_up() -> bool:
            with contextlib.suppress(rush_core.RushError, ProcessLookupError):
                os.kill(pid_of_server(network.url), signal.SIGKILL)
            return "it is not started again" in caplog.text

        wait_until(is_given_up)
        with Network(network_id) as other:
            assert other.url != network.url
            assert other.count_tasks().queued == 1


def test_a_server_that_is_asked_to_shut_down_is_not_started_again(network_id: str) -> None:
    with Network(network_id) as network:
        network.push_tasks([{"x": 1}])
        with pytest.raises(ServerUnreachableError):
            Connection(network.url).execute(pack(("SHUTDOWN",)))
        with Network(network_id) as other:
            assert other.url != network.url
            assert other.count_tasks().queued == 1


def test_a_killed_server_without_data_is_replaced_for_the_next_network(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Network() as lost:
        kill_server(lost.url)
        with Network() as network:
            assert network.url != lost.url
            network.push_tasks([{"x": 1}])
            assert network.count_tasks().queued == 1
            with Network() as third:
                assert third.url == network.url
    assert "its networks are lost" in caplog.text


def test_a_server_that_is_sent_sigterm_goes_on(server: EmbeddedServer, network: Network) -> None:
    network.push_tasks([{"x": 1}])
    process = psutil.Process(pid_of_server(server.url))
    process.terminate()
    assert network.count_tasks().queued == 1
    assert pid_of_server(server.url) == process.pid


def test_nothing_is_left_of_a_killed_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = rush_core.serve()
    assert not server.has_ended()
    guard = psutil.Process(pid_of_server(server.url)).parent()
    assert guard is not None
    kill_server(server.url)
    wait_until(lambda: guard.status() == psutil.STATUS_ZOMBIE)
    assert server.has_ended()
    server.close()
    assert not guard.is_running()


@pytest.mark.parametrize("signals", ["{signal.SIGTERM}", "signal.valid_signals()"])
def test_nothing_is_left_of_a_program_that_blocked_signals(
    network_id: str, signals: str, tmp_path: Path
) -> None:
    program = f"""
import signal, time
from rush_core import Network
signal.pthread_sigmask(signal.SIG_BLOCK, {signals})
network, unnamed = Network("{network_id}"), Network()
network.start_workers(lambda worker: time.sleep(600), 1)
network.wait_for_workers()
print(flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
    ) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        family = psutil.Process(owner.pid).children(recursive=True)
        assert len(family) >= 5  # two guards, two servers, a worker
        owner.kill()
    wait_until(lambda: not any(process.is_running() for process in family))
    wait_until(lambda: list(tmp_path.iterdir()) == [])


def test_a_server_that_is_stopped_ends_with_its_owner() -> None:
    server = rush_core.serve()
    process = psutil.Process(pid_of_server(server.url))
    process.suspend()
    server.close()
    assert not process.is_running()
