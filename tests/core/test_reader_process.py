"""The process that reads logs and sends heartbeats for the workers of a node."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rush_core import Heartbeat, Network, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.shared_log import Place, SharedLogs
from rush_core.keys import NetworkKeys
from rush_core.node.reader_process import run_reader
from tests.core.loopback import LoopbackServer
from tests.waiting import wait_until

# Later versions of Python warn of forks beside threads, of which these tests are.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FORK = multiprocessing.get_context("fork")
PATIENCE_S = 30.0
QUICK = Heartbeat(period_s=0.02, expire_s=0.8)


class Reader:
    """A reader process, and what its node knows."""

    def __init__(
        self,
        network: Network,
        logs: SharedLogs,
        heartbeat: Heartbeat | None,
        worker_ids: Sequence[str] = ("first", "second"),
    ) -> None:
        self._worker_ids = worker_ids
        self._network = network
        self._logs = logs
        self._heartbeat = heartbeat
        self._removed_reader, self._removed_writer = FORK.Pipe(duplex=False)
        self.start()

    def start(self) -> None:
        """Fork a process."""
        names, self._names = os.pipe()
        keep = self._names

        def run() -> None:
            os.close(keep)
            report = self._removed_writer.send
            network = self._network
            run_reader(network.url, network.network_id, self._logs, self._heartbeat, names, report)

        self.process = FORK.Process(target=run, daemon=True)
        self.process.start()
        os.close(names)
        self.name(*self._worker_ids)

    def name(self, *worker_ids: str) -> None:
        """Tell the process which workers there are."""
        named = [f"{worker_id}/{os.getpid()}" for worker_id in worker_ids]
        os.write(self._names, " ".join(named).encode() + b"\n")

    def removed(self) -> list[str]:
        """Return the workers that the process has reported since the last call."""
        found = []
        while self._removed_reader.poll():
            found.append(self._removed_reader.recv())
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def close(self) -> int | None:
        """Close the pipe, and return the exit code of the process."""
        os.close(self._names)
        self.process.join(PATIENCE_S)
        return self.process.exitcode


Follow = Callable[..., Reader]


@pytest.fixture
def logs() -> Iterator[SharedLogs]:
    logs = SharedLogs()
    yield logs
    logs.close()


@pytest.fixture
def follow(network: Network, logs: SharedLogs) -> Iterator[Follow]:
    """Start reader processes, which end when the test is over."""
    readers: list[Reader] = []

    def follow(heartbeat: Heartbeat | None = None, *worker_ids: str) -> Reader:
        readers.append(Reader(network, logs, heartbeat, worker_ids or ("first", "second")))
        return readers[-1]

    yield follow
    for reader in readers:
        reader.kill()


@pytest.fixture
def beats(network: Network) -> Iterator[Callable[[Worker], int]]:
    """Count the heartbeats of a worker."""
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)

    def beats(worker: Worker) -> int:
        return int(connection.execute(pack((b"GET", keys.alive(worker.worker_id)))) or 0)

    yield beats
    connection.close()


def n_in_memory(logs: SharedLogs) -> int:
    return logs.finished.read(Place(0, 0), logs.finished.end)[1].n_records


def added(found: list[str], new: list[str]) -> list[str]:
    """Add to what was found before, and return all."""
    found += new
    return found


# -- reading ------------------------------------------------------------------------------------


def test_nothing_is_read_before_a_worker_wants_it(
    network: Network, logs: SharedLogs, follow: Follow
) -> None:
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    reader = follow(QUICK)
    reader.name("nobody", "no-other")
    connection, alive = Connection(network.url), NetworkKeys(network.network_id).alive("nobody")
    assert connection.execute(pack((b"EXISTS", alive))) == 0
    assert logs.finished.end == 0
    with Worker(network.network_id, url=network.url, shared=logs) as worker:
        assert len(worker.fetch_new_tasks()) == 1  # from the server: it asks for the logs
        wait_until(logs.is_fresh, PATIENCE_S)
        assert n_in_memory(logs) == 1
    connection.close()


def test_logs_stay_fresh_and_complete_while_nothing_and_while_much_ends(
    network: Network, logs: SharedLogs, follow: Follow
) -> None:
    follow()
    logs.is_fresh()
    wait_until(logs.is_fresh, PATIENCE_S)
    end = time.monotonic() + 2.5
    n = 0
    while time.monotonic() < end:
        assert logs.is_fresh()
        if time.monotonic() > end - 1:
            network.push_finished_tasks([{"x": 1}] * 10, [{"y": 1}] * 10)
            n += 10
        time.sleep(0.002)
    wait_until(lambda: n_in_memory(logs) == n, PATIENCE_S)
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    pushed_at = time.monotonic()
    wait_until(lambda: n_in_memory(logs) == n + 1, PATIENCE_S)
    assert time.monotonic() - pushed_at < 0.4  # the server wakes the process


def test_another_process_goes_on_where_a_killed_one_stopped(
    network: Network, logs: SharedLogs, follow: Follow
) -> None:
    reader = follow()
    logs.is_fresh()
    keys: list[str] = []
    with Worker(network.network_id, url=network.url, shared=logs) as worker:
        seen: list[str] = []
        for _ in range(5):
            wait_until(logs.is_fresh, PATIENCE_S)
            keys += network.push_finished_tasks([{"x": 1}] * 7, [{"y": 1}] * 7)
            seen += worker.fetch_new_tasks().keys
            reader.kill()
            keys += network.push_finished_tasks([{"x": 1}] * 7, [{"y": 1}] * 7)
            seen += worker.fetch_new_tasks().keys
            wait_until(lambda: not logs.is_fresh(), PATIENCE_S)
            seen += worker.fetch_new_tasks().keys
            assert seen == keys
            reader.start()
        wait_until(lambda: n_in_memory(logs) == len(keys), PATIENCE_S)


def test_a_stopped_process_makes_workers_read_the_server(
    network: Network, logs: SharedLogs, follow: Follow
) -> None:
    reader = follow()
    logs.is_fresh()
    wait_until(logs.is_fresh, PATIENCE_S)
    with Worker(network.network_id, url=network.url, shared=logs) as worker:
        assert reader.process.pid is not None
        os.kill(reader.process.pid, signal.SIGSTOP)
        keys = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
        assert wait_until(worker.fetch_new_tasks, 2.0).keys == keys
        os.kill(reader.process.pid, signal.SIGCONT)
        wait_until(logs.is_fresh, PATIENCE_S)
        more = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
        assert wait_until(worker.fetch_new_tasks, PATIENCE_S).keys == more


def test_a_server_that_was_killed_is_followed_again(
    logs: SharedLogs, tmp_path: Path, network_id: str
) -> None:
    server = LoopbackServer(tmp_path)
    server.start()
    with Network(network_id, server.url) as network:
        reader = Reader(network, logs, None)
        logs.is_fresh()
        first = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
        wait_until(lambda: n_in_memory(logs) == 1, PATIENCE_S)
        with Worker(network_id, url=server.url, shared=logs, heartbeat=None) as worker:
            assert worker.fetch_new_tasks().keys == first
            server.kill()
            wait_until(lambda: not logs.is_fresh(), PATIENCE_S)
            server.start()
            second = network.push_finished_tasks([{"x": 2}], [{"y": 2}])
            assert worker.fetch_new_tasks().keys == second
            wait_until(lambda: n_in_memory(logs) == 2, PATIENCE_S)
            assert logs.is_fresh()
            assert worker.fetch_new_tasks().keys == []
        reader.kill()
    server.stop()


def test_a_reset_closes_the_logs(network: Network, logs: SharedLogs, follow: Follow) -> None:
    reader = follow()
    logs.is_fresh()
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    wait_until(lambda: n_in_memory(logs) == 1, PATIENCE_S)
    network.reset(workers=False)
    network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    wait_until(lambda: logs.is_closed, PATIENCE_S)
    assert reader.process.is_alive()  # it still sends heartbeats
    reader.kill()
    reader.start()
    with Worker(network.network_id, url=network.url, shared=logs) as worker:
        assert [task.config["x"] for task in worker.fetch_new_tasks()] == [2]
        assert not logs.is_fresh()


def test_the_process_ends_with_its_pipe_and_leaves_no_traces(
    network: Network, logs: SharedLogs, follow: Follow
) -> None:
    reader = follow(QUICK)
    logs.is_fresh()
    wait_until(logs.is_fresh, PATIENCE_S)
    began = time.monotonic()
    assert reader.close() == 0
    assert time.monotonic() - began < 5.0
    connection = Connection(network.url)
    keys = NetworkKeys(network.network_id)
    assert connection.execute(pack((b"SMEMBERS", keys.waiting))) == []
    assert connection.execute(pack((b"KEYS", keys.wake("*")))) == []
    connection.close()


def test_a_single_worker_reads_the_server(
    network: Network, logs: SharedLogs, follow: Follow, beats: Callable[[Worker], int]
) -> None:
    with Worker(network.network_id, url=network.url, shared=logs, heartbeat=QUICK) as worker:
        reader = follow(QUICK, worker.worker_id)
        worker.fetch_new_tasks()  # it would like to have the logs
        n_before = beats(worker)
        wait_until(lambda: beats(worker) > n_before + 10, PATIENCE_S)
        assert not logs.is_fresh()
        reader.name(worker.worker_id, "another")
        wait_until(logs.is_fresh, PATIENCE_S)


# -- heartbeats -----------------------------------------------------------------------------------


def test_one_process_sends_the_heartbeats_of_all_workers_that_are_named(
    network: Network, logs: SharedLogs, follow: Follow, beats: Callable[[Worker], int]
) -> None:
    workers = [
        Worker(network.network_id, url=network.url, shared=logs, heartbeat=QUICK) for _ in range(3)
    ]
    reader = follow(QUICK)
    reader.name(*(worker.worker_id for worker in workers))
    n_before = [beats(worker) for worker in workers]
    end = time.monotonic() + 2 * QUICK.expire_s
    while time.monotonic() < end:
        assert network.detect_lost_workers() == []
        time.sleep(0.01)
    assert all(beats(worker) > n + 5 for worker, n in zip(workers, n_before, strict=True))
    reader.name(workers[0].worker_id)  # the others are stopped by a signal
    lost: list[str] = []
    wait_until(lambda: len(added(lost, network.detect_lost_workers())) == 2, PATIENCE_S)
    assert sorted(lost) == sorted(worker.worker_id for worker in workers[1:])
    reader.name(*(worker.worker_id for worker in workers))  # they go on
    assert all(worker.rejoin() for worker in workers[1:])
    end = time.monotonic() + 2 * QUICK.expire_s
    while time.monotonic() < end:
        assert network.detect_lost_workers() == []
        time.sleep(0.01)
    assert reader.removed() == []
    for worker in workers:
        worker.close()


def test_workers_that_somebody_has_killed_are_reported_once(
    network: Network, logs: SharedLogs, follow: Follow, beats: Callable[[Worker], int]
) -> None:
    killed, left, lives = (
        Worker(network.network_id, url=network.url, shared=logs, heartbeat=QUICK) for _ in range(3)
    )
    reader = follow(QUICK)
    reader.name(killed.worker_id, left.worker_id, "not-joined-yet", lives.worker_id)
    wait_until(lambda: beats(lives) > 2, PATIENCE_S)
    left.close()
    network.stop_workers([killed.worker_id], kill=True)
    removed: list[str] = []
    wait_until(lambda: added(removed, reader.removed()), PATIENCE_S)
    n_before = beats(lives)
    wait_until(lambda: beats(lives) > n_before + 3, PATIENCE_S)
    assert removed + reader.removed() == [killed.worker_id]
    assert beats(killed) == beats(left) == 0
    network.reset()
    wait_until(lambda: len(added(removed, reader.removed())) > 1, PATIENCE_S)
    assert lives.worker_id in removed  # and perhaps the one that has left, if it is still named
    killed.close()
    lives.close()
