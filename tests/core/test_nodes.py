"""Workers of a node: they see each record once, whatever happens to the process that reads."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, Worker, WorkerState
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from rush_core.node.reader_process import READER_NAME
from tests.core.loopback import LoopbackServer
from tests.core.processes import evaluating, info_of, is_alive, wait_for_running_tasks
from tests.core.test_heartbeat import holding_the_interpreter
from tests.waiting import wait_until

PATIENCE_S = 60.0
QUICK = Heartbeat(period_s=0.05, expire_s=3.0)


def following(worker: Worker, n: int, n_workers: int, least_from_memory: int) -> None:
    """End tasks and follow those of all workers, until all workers know that it is enough.

    It is enough when `n` tasks have finished, and the worker has fetched so often from memory. Then
    push what was seen.
    """
    seen: list[str] = []
    n_from_memory = 0
    is_over = False
    while not is_over:
        key = worker.start_task({"x": 1})
        if key is None or worker.is_lost:
            return
        n_from_memory += worker._reader.are_in_memory()
        if len(seen) % 5 == 4:
            _, ended = worker.fail_and_fetch_ended(key, "no")
        else:
            _, ended = worker.finish_and_fetch_ended(key, {"y": 1})
        seen += [*ended.finished.keys, *ended.failed.keys]
        is_over = worker.count_tasks().finished >= n and n_from_memory >= least_from_memory
    worker.push_tasks([{"has_ended": worker.worker_id}])
    wait_until(lambda: worker.count_tasks().queued >= n_workers, PATIENCE_S)
    ended = worker.fetch_new_ended_tasks(timeout_s=0.001)  # from the server
    seen += [*ended.finished.keys, *ended.failed.keys]
    worker.push_tasks([{"seen": seen}])
    wait_until(worker.should_stop, PATIENCE_S)


def reader_of(network: Network) -> psutil.Process:
    """Wait until there is a reader process for the workers of a network; return it."""
    node = psutil.Process(network.fetch_workers()[0].pid).parent()  # it has forked all of them
    assert node is not None

    def readers() -> list[psutil.Process]:
        return [child for child in node.children() if name_of(child) == READER_NAME]

    return wait_until(readers, PATIENCE_S)[0]


def name_of(process: psutil.Process) -> str:
    """Return the name of a process; empty if it has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return ""


class Followers:
    """Workers that follow each other on one node.

    Parameters
    ----------
    network : Network
    n : int
        How many tasks they finish before they end.
    least_from_memory : int
        How often each of them fetches from memory before it ends.
    heartbeat : Heartbeat, optional
    """

    n_workers = 3

    def __init__(
        self,
        network: Network,
        n: int,
        least_from_memory: int = 0,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.network = network
        self.n = n
        args = (n, self.n_workers, least_from_memory)
        network.start_workers(following, self.n_workers, args=args, heartbeat=heartbeat)
        network.wait_for_workers(self.n_workers, timeout_s=PATIENCE_S)

    def reader(self) -> psutil.Process:
        """Wait until there is a reader process; return it."""
        return reader_of(self.network)

    def n_finished(self) -> int:
        return self.network.count_tasks().finished

    def wait_for_progress(self) -> None:
        """Wait until some more tasks have finished, or enough."""
        enough = min(self.n_finished() + self.n // 20, self.n)
        wait_until(lambda: self.n_finished() >= enough, PATIENCE_S)

    def seen(self) -> list[list[str]]:
        """Wait until all workers have ended; return what each has seen."""

        def found() -> list[list[str]]:
            configs = self.network.fetch_tasks("queued").configs
            return [config["seen"] for config in configs if "seen" in config]

        wait_until(lambda: len(found()) == self.n_workers, PATIENCE_S)
        return found()

    def check(self) -> None:
        """Check that each worker has seen each record once, and that all have left in order."""
        network, all_seen = self.network, self.seen()
        expected = sorted(network.fetch_tasks("finished", "failed").keys)
        assert len(expected) > self.n
        for seen in all_seen:
            assert len(seen) == len(set(seen))
            assert sorted(seen) == expected
        network.stop_workers()
        assert network.join_workers(PATIENCE_S)
        assert {worker.state for worker in network.fetch_workers()} == {WorkerState.STOPPED}


def test_workers_of_a_node_see_each_record_once(network: Network) -> None:
    Followers(network, 1000, least_from_memory=300).check()


def test_readers_that_are_killed_are_replaced_and_nothing_is_lost(network: Network) -> None:
    followers = Followers(network, 3000, least_from_memory=50)
    pids = set()
    while followers.n_finished() < 2500:
        reader = followers.reader()
        pids.add(reader.pid)
        followers.wait_for_progress()
        reader.kill()
        followers.wait_for_progress()
    assert len(pids) > 1
    followers.check()


def test_a_stopped_reader_is_replaced_and_nothing_is_lost(network: Network) -> None:
    followers = Followers(network, 1500, least_from_memory=50)
    reader = followers.reader()
    followers.wait_for_progress()
    reader.suspend()
    followers.wait_for_progress()
    wait_until(lambda: not is_alive(reader.pid), PATIENCE_S)
    assert followers.reader().pid != reader.pid
    followers.check()


def test_memory_without_room_is_left_and_nothing_is_lost(network: Network) -> None:
    followers = Followers(network, 1000)
    reader = followers.reader()
    followers.wait_for_progress()
    reader.rlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    followers.wait_for_progress()
    assert reader.is_running()
    followers.check()


def test_after_a_reset_no_record_of_the_new_log_is_missing(network: Network) -> None:
    followers = Followers(network, 1000)
    followers.reader()
    followers.wait_for_progress()
    network.reset(workers=False)
    wait_until(lambda: followers.n_finished() > 100, PATIENCE_S)
    keys = network.fetch_tasks("finished", "failed").keys
    for seen in followers.seen():
        assert set(keys) <= set(seen)
        assert len(seen) == len(set(seen))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[LoopbackServer]:
    server = LoopbackServer(tmp_path)
    server.start()
    yield server
    server.stop()


def test_a_server_that_is_killed_in_the_middle_loses_nothing(
    own_server: LoopbackServer, network_id: str
) -> None:
    with Network(network_id, own_server.url) as network:
        followers = Followers(network, 500, heartbeat=QUICK)
        followers.reader()
        for _ in range(2):
            followers.wait_for_progress()
            own_server.kill()
            own_server.start()
        followers.wait_for_progress()
        assert network.detect_lost_workers() == []
        followers.check()


# -- heartbeats -----------------------------------------------------------------------------------


def n_heartbeats(network: Network, worker_id: str) -> int:
    connection = Connection(network.url)
    alive = NetworkKeys(network.network_id).alive(worker_id)
    n = int(connection.execute(pack((b"GET", alive))) or 0)
    connection.close()
    return n


def wait_for_heartbeats(network: Network, worker_id: str, n: int = 5) -> None:
    """Wait until a worker has sent so many more heartbeats."""
    before = n_heartbeats(network, worker_id)
    wait_until(lambda: n_heartbeats(network, worker_id) >= before + n, PATIENCE_S)


def test_one_process_sends_heartbeats_while_objectives_hold_the_interpreter(
    network: Network, server: EmbeddedServer
) -> None:
    worker_ids = network.start_workers(holding_the_interpreter, 2, heartbeat=QUICK)
    wait_for_running_tasks(network, 2)
    for worker_id in worker_ids:
        wait_for_heartbeats(network, worker_id)
    with Network(network.network_id, server.url) as elsewhere:
        assert elsewhere.detect_lost_workers() == []
        pid = info_of(network, worker_ids[0]).pid
        elsewhere.stop_workers([worker_ids[0]], kill=True)
        wait_until(lambda: not is_alive(pid), PATIENCE_S)
        assert network.join_workers(PATIENCE_S, worker_ids=[worker_ids[0]])
        wait_for_heartbeats(network, worker_ids[1])


def test_a_worker_that_dies_is_found_by_its_node_and_not_by_its_silence(network: Network) -> None:
    slow = Heartbeat(period_s=0.1, expire_s=10_000.0)
    (worker_id,) = network.start_workers(evaluating, 1, heartbeat=slow)
    (task,) = wait_for_running_tasks(network)
    os.kill(task.config["pid"], signal.SIGKILL)
    wait_until(lambda: info_of(network, worker_id).state is WorkerState.LOST, PATIENCE_S)
    assert "SIGKILL" in (info_of(network, worker_id).reason or "")


def test_a_reader_that_dies_is_replaced_before_its_workers_count_as_lost(
    network: Network, server: EmbeddedServer
) -> None:
    worker_ids = network.start_workers(evaluating, 2, heartbeat=QUICK)
    wait_for_running_tasks(network, 2)
    lost: list[str] = []
    is_over = threading.Event()

    def watch() -> None:
        with Network(network.network_id, server.url) as elsewhere:
            while not is_over.wait(0.02):
                lost.extend(elsewhere.detect_lost_workers())

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(3):
        reader_of(network).kill()
        wait_for_heartbeats(network, worker_ids[0], 10)
    is_over.set()
    thread.join()
    assert lost == []
    assert network.count_tasks().running == 2
