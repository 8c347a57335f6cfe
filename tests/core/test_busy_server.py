"""A server that cannot serve for a while: clients wait, and nothing ends or gets lost."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count

import pytest

from rush_core import (
    Network,
    ServerRefusedError,
    ServerUnreachableError,
    Worker,
    WorkerState,
)
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.invariants import check_network
from tests.core.loopback import LoopbackServer
from tests.ports import free_port
from tests.threads import in_background
from tests.waiting import wait_until

PATIENCE_S = 60.0


def stepping(worker: Worker) -> None:
    """A loop that sends commands of all kinds until it is asked to stop."""
    while not worker.should_stop():
        worker.push_tasks([{"x": 1}])
        if task := worker.claim_task():
            worker.report_task(task.key, {"step": 1})
            worker.finish_and_fetch_new(task.key, {"y": 1})
        if key := worker.start_task({"x": 2}):
            worker.fail_task(key, "no")


def n_replies(server: LoopbackServer, word: str) -> int:
    """Count the error replies of this kind that the server has sent since its start."""
    errors = dict(
        line.split(":count=") for line in server.ask("INFO", "errorstats").decode().split()[2:]
    )
    return int(errors.get(f"errorstat_{word}", 0))


@contextmanager
def held(server: LoopbackServer) -> Iterator[Callable[[], bool]]:
    """Let a script hold the server, so that it refuses others until the end of the block.

    The yielded function sends a request, and returns whether it was refused.
    """
    server.ask("CONFIG", "SET", "lua-time-limit", "1")
    script, other = Connection(server.url), Connection(server.url)

    def run() -> None:
        with pytest.raises(ServerRefusedError, match="SCRIPT KILL"):
            script.execute(pack(("EVAL", "while true do end", "0")))

    def is_refused() -> bool:
        try:
            other.execute(pack(("PING",)))
        except ServerUnreachableError as error:
            return str(error.found).startswith("BUSY")
        return False

    ended = in_background(run)
    try:
        wait_until(is_refused, PATIENCE_S)
        yield is_refused
    finally:
        other.execute(pack(("SCRIPT", "KILL")))
        ended()
        script.close()
        other.close()


def be_busy(server: LoopbackServer) -> None:
    n_refused = count()
    with held(server) as is_refused:
        wait_until(lambda: is_refused() and next(n_refused) == 200, PATIENCE_S)


def lose_replicas(server: LoopbackServer) -> None:
    server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    wait_until(lambda: n_replies(server, "NOREPLICAS") >= 4, PATIENCE_S)
    server.ask("CONFIG", "SET", "min-replicas-to-write", "0")


def lose_primary(server: LoopbackServer) -> None:
    server.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    server.ask("REPLICAOF", "127.0.0.1", free_port())
    wait_until(lambda: n_replies(server, "MASTERDOWN") >= 4, PATIENCE_S)
    server.ask("REPLICAOF", "NO", "ONE")


def load_data(server: LoopbackServer) -> None:
    with closing(Connection(server.url)) as connection:
        connection.execute_many([pack(("SET", f"filler-{i}", "")) for i in range(4000)])
    server.kill()
    server.start()


OUTAGES = {
    "BUSY": be_busy,
    "NOREPLICAS": lose_replicas,
    "MASTERDOWN": lose_primary,
    "LOADING": load_data,
}


@pytest.fixture
def slow_loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    """A server that takes seconds to read some thousand keys when it is started again."""
    server = LoopbackServer(tmp_path_factory.mktemp("slow"), ["key-load-delay 1000"])
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("word", OUTAGES)
def test_workers_wait_while_the_server_refuses_everybody(
    slow_loader: LoopbackServer, network_id: str, word: str
) -> None:
    server = slow_loader
    with Network(network_id, server.url) as network:
        network.push_tasks([{"x": i} for i in range(100)])
        network.start_workers(stepping, 2)
        network.wait_for_workers(timeout_s=PATIENCE_S)
        wait_until(lambda: network.count_tasks().failed > 10, PATIENCE_S)
        OUTAGES[word](server)
        n_failed = network.count_tasks().failed
        assert n_replies(server, word) >= 2
        wait_until(lambda: network.count_tasks().failed > n_failed + 10, PATIENCE_S)
        assert network.detect_lost_workers() == []
        assert [info.state for info in network.fetch_workers()] == [WorkerState.RUNNING] * 2
        check_network(network_id, server.url)
        network.stop_workers()
        assert network.join_workers(PATIENCE_S)
        assert [info.state for info in network.fetch_workers()] == [WorkerState.STOPPED] * 2
        log = [record for record in network.read_log() if "trying again" in record.message]
        assert all(record.level == "WARNING" for record in log)
    check_network(network_id, server.url)


def test_a_network_on_a_busy_server_is_opened_when_it_can_serve(
    loopback_server: LoopbackServer, network_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with held(loopback_server):
        opened = in_background(partial(Network, network_id, loopback_server.url))
        joined = in_background(partial(Worker, network_id, url=loopback_server.url))
        wait_until(lambda: len(caplog.records) == 2)
    with opened() as network, joined() as worker:
        assert worker.start_task({"x": 1}) is not None
        assert network.count_tasks() == (0, 1, 0, 0)
    for record in caplog.records:
        assert record.levelname == "WARNING"
        assert "BUSY" in record.getMessage()
        assert "trying again for up to 20 s" in record.getMessage()


def test_a_client_of_a_busy_server_gets_the_reason(
    loopback_server: LoopbackServer, network_id: str
) -> None:
    with Network(network_id, loopback_server.url) as network:
        connection = Connection(loopback_server.url)
        with held(loopback_server):
            for _ in range(2):  # with the connection as it is, and when it is opened anew
                with pytest.raises(ServerUnreachableError, match=r"BUSY.*SCRIPT KILL"):
                    connection.execute(pack(("GET", "anything")))
        connection.close()
        assert network.count_tasks() == (0, 0, 0, 0)
