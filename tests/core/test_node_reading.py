"""Workers that read logs from the memory of their host: nothing is lost or doubled."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from rush_core import EmbeddedServer, EndedTasks, Network, Task, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.shared_log import SharedLogs
from rush_core.keys import NetworkKeys
from rush_core.node.log_follower import LogFollower
from tests.core.proxy import BreakingProxy
from tests.core.test_interrupted_reads import read_with_interrupts
from tests.threads import at_once
from tests.typed import present


class Node:
    """The logs in memory of one host, and a reader that reads when a test says so."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._keys = NetworkKeys(network.network_id)
        self.logs = SharedLogs()
        self._workers: list[Worker] = []
        self._connection = Connection(network.url)
        self.new_reader()

    def new_reader(self) -> None:
        """Let another reader take over."""
        self._follower = LogFollower(self._connection, self._keys, "reader", self.logs)

    def read(self) -> int:
        """Copy what is new from the server."""
        return self._follower.read()

    def pause_s(self) -> float:
        """Return how long the reader pauses after a read that has found something."""
        return self._follower.pause_s

    def follow_once(self) -> None:
        """Read as the process does, until the first pause."""
        self._follower.run(lambda _: True)

    def join(self, url: str | None = None) -> Worker:
        """Make a worker of this host."""
        network = self._network
        self._workers.append(
            Worker(network.network_id, url=url or network.url, shared=self.logs, heartbeat=None)
        )
        return self._workers[-1]

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        self._connection.close()
        self.logs.close()


@pytest.fixture
def node(network: Network) -> Iterator[Node]:
    node = Node(network)
    yield node
    node.close()


def start(worker: Worker) -> str:
    return present(worker.start_task({"x": 1}))


def keys_of(ended: EndedTasks) -> tuple[list[str], list[str]]:
    return ended.finished.keys, ended.failed.keys


def all_keys(ended: EndedTasks) -> list[str]:
    return [*ended.finished.keys, *ended.failed.keys]


# -- memory or server ---------------------------------------------------------------------------


def test_what_is_in_memory_is_not_transferred(
    network: Network, node: Node, server: EmbeddedServer
) -> None:
    config = {"x": "a" * 1000}
    finished = network.push_finished_tasks([config] * 50, [{"y": 1}] * 50)
    failed = network.push_failed_tasks([config] * 50, ["no"] * 50)
    assert node.read() == 100
    only_in_server = network.push_finished_tasks([config], [{"y": 2}])
    with BreakingProxy(server.url) as proxy:
        worker = node.join(proxy.url)
        proxy.n_reply_bytes = 0
        ended = worker.fetch_new_ended_tasks()
        assert keys_of(ended) == (finished + only_in_server, failed)
        assert proxy.n_reply_bytes < 5000  # in each log the last known record, and one more
        worker.close()


def test_an_end_transfers_nothing_that_others_have_ended(
    network: Network, node: Node, server: EmbeddedServer
) -> None:
    config = {"x": "a" * 1000}
    with BreakingProxy(server.url) as proxy:
        worker = node.join(proxy.url)
        first, second = worker.start_tasks([config] * 2)
        finished = network.push_finished_tasks([config] * 50, [{"y": 1}] * 50)
        node.read()
        late = network.push_finished_tasks([config], [{"y": 2}])
        proxy.n_reply_bytes = 0
        assert worker.finish_and_fetch_new(first, {"y": 1})[1].keys == [*finished, first]
        assert proxy.n_reply_bytes < 100
        node.logs.stamp(0)
        # It is not fresh any more: the server is read in the same round trip.
        assert worker.finish_and_fetch_new(second, {"y": 1})[1].keys == [*late, second]
        assert proxy.n_reply_bytes > 1000
        worker.close()


def test_what_was_fetched_from_the_server_is_not_new_in_memory(
    network: Network, node: Node
) -> None:
    worker = node.join()
    first = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert worker.fetch_new_tasks().keys == first  # nothing was read into memory yet
    node.read()
    assert worker.fetch_new_tasks().keys == []
    second = network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    assert worker.fetch_new_tasks().keys == second
    node.read()
    key = start(worker)
    assert worker.finish_and_fetch_new(key, {"y": 2})[1].keys == [key]
    third = network.push_finished_tasks([{"x": 3}], [{"y": 3}])
    node.read()
    key = start(worker)
    assert worker.finish_and_fetch_new(key, {"y": 3})[1].keys == [*third, key]


def test_a_wait_asks_the_server(network: Network, node: Node) -> None:
    worker = node.join()
    node.read()
    keys = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert worker.fetch_new_tasks(timeout_s=60.0).keys == keys
    node.read()
    assert worker.fetch_new_tasks().keys == []


def test_own_ends_are_there_at_once_and_only_once(network: Network, node: Node) -> None:
    worker = node.join()
    node.read()
    others = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    first, second, third = start(worker), start(worker), start(worker)
    assert worker.finish_and_fetch_new(first, {"y": 1}, extra={"z": 1})[1].keys == [first]
    won, ended = worker.finish_and_fetch_ended(second, {"y": 2})
    assert won
    assert keys_of(ended) == ([second], [])
    assert keys_of(worker.fail_and_fetch_ended(third, "no")[1]) == ([], [third])
    node.read()
    assert keys_of(worker.fetch_new_ended_tasks()) == (others, [])
    won, new = worker.finish_and_fetch_new(first, {"y": 9})
    assert (won, new.keys) == (False, [])
    log = network.fetch_tasks("finished", "failed")
    assert log.keys == [*others, first, second, third]
    assert log[1].result_extra == {"z": 1}


def test_a_worker_that_asks_for_the_order_of_the_log_gets_it(network: Network, node: Node) -> None:
    worker = node.join()
    in_memory = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    in_memory_failed = network.push_failed_tasks([{"x": 1}], ["no"])
    node.read()
    only_in_server = network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    first, second, third = start(worker), start(worker), start(worker)
    _, new = worker.finish_and_fetch_new(first, {"y": 1}, in_order=True)
    assert new.keys == [*in_memory, *only_in_server, first]
    node.read()
    _, ended = worker.finish_and_fetch_ended(second, {"y": 1}, in_order=True)
    assert keys_of(ended) == ([second], in_memory_failed)
    more = network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    _, ended = worker.fail_and_fetch_ended(third, "no", in_order=True)
    assert keys_of(ended) == (more, [third])
    node.read()
    assert keys_of(worker.fetch_new_ended_tasks()) == ([], [])


def test_an_own_end_has_the_record_of_the_server(network: Network, node: Node) -> None:
    worker = node.join()
    node.read()
    (queued,) = network.push_tasks([{"x": 2}], extras=[{"a": 1}])
    assert present(worker.claim_task()).key == queued
    (unique,) = (present(worker.start_task({"x": 3}, unique=b"3")),)
    (many,) = worker.start_tasks([{"x": 4}])
    seen: list[Task] = []
    for key in (queued, unique, many):
        seen += worker.finish_and_fetch_new(key, {"y": 1}, extra={"z": 1})[1]
    assert seen == list(network.fetch_tasks("finished"))


def test_an_end_without_a_fetch_is_in_the_next_fetch(network: Network, node: Node) -> None:
    worker = node.join()
    ends: list[Callable[[str], object]] = [
        lambda key: worker.finish_task(key, {"y": 1}),
        lambda key: worker.finish_tasks([key], [{"y": 1}]),
        lambda key: worker.fail_task(key, "no"),
        lambda key: worker.fail_tasks([key], ["no"]),
    ]
    for end in ends:
        node.read()
        key = start(worker)
        end(key)
        next_key = start(worker)
        _, ended = worker.finish_and_fetch_ended(next_key, {"y": 1})
        assert sorted(all_keys(ended)) == sorted([key, next_key])


def test_a_late_worker_reads_all_from_memory(network: Network, node: Node) -> None:
    n = 5_000
    network.push_finished_tasks([{"x": i} for i in range(n)], [{"y": i} for i in range(n)])
    assert node.read() == n
    worker = node.join()
    assert [task.config["x"] for task in worker.fetch_new_tasks()] == list(range(n))


def test_a_worker_returns_to_memory_in_the_middle_of_what_was_copied_at_once(
    network: Network, node: Node
) -> None:
    worker = node.join()
    first = network.push_finished_tasks([{"x": 1}] * 3, [{"y": 1}] * 3)
    assert worker.fetch_new_tasks().keys == first
    second = network.push_finished_tasks([{"x": 2}] * 3, [{"y": 2}] * 3)
    assert node.read() == 6
    assert worker.fetch_new_tasks().keys == second


def test_random_sequences_of_ends_reads_and_failing_readers(network: Network, node: Node) -> None:
    rng = random.Random(1)
    workers = [node.join() for _ in range(2)]
    seen: dict[Worker, list[str]] = {worker: [] for worker in workers}
    for _ in range(1500):
        worker = rng.choice(workers)
        kind = rng.choice(["push", "push", "end", "end", "end", "fetch", "wait", "read", "other"])
        if kind == "push":
            n = rng.choice([1, 2, 5])
            network.push_finished_tasks([{"x": 1}] * n, [{"y": 1}] * n)
        elif kind == "end":
            key = start(worker)
            call = rng.choice(["new", "ended", "fail", "plain"])
            if call == "new":
                seen[worker] += worker.finish_and_fetch_new(key, {"y": 1})[1].keys
            elif call == "plain":
                worker.finish_task(key, {"y": 1})
            else:
                if call == "ended":
                    _, ended = worker.finish_and_fetch_ended(key, {"y": 1})
                else:
                    _, ended = worker.fail_and_fetch_ended(key, "no")
                seen[worker] += all_keys(ended)
        elif kind == "fetch":
            seen[worker] += all_keys(worker.fetch_new_ended_tasks())
        elif kind == "wait":
            seen[worker] += worker.fetch_new_tasks(timeout_s=0.001).keys
        elif kind == "read":
            node.read()
        else:
            node.new_reader() if rng.random() < 0.5 else node.logs.stamp(0)
    finished, failed = network.fetch_tasks("finished"), network.fetch_tasks("failed")
    expected = finished.keys + failed.keys
    for worker, keys in seen.items():
        node.read()
        keys += all_keys(worker.fetch_new_ended_tasks())
        assert len(keys) == len(set(keys))
        assert sorted(keys) == sorted(expected)
        # What others have ended comes in the order of the log.
        own = {task.key for task in (*finished, *failed) if task.worker_id == worker.worker_id}
        wanted = [key for key in finished.keys if key not in own]
        assert [key for key in keys if key in set(wanted)] == wanted


def test_threads_that_share_a_worker_get_each_task_once(network: Network, node: Node) -> None:
    worker = node.join()
    node.read()
    seen: list[str] = []

    def end() -> None:
        for _ in range(100):
            seen.extend(worker.finish_and_fetch_new(start(worker), {"y": 1})[1].keys)

    def fetch() -> None:
        for _ in range(100):
            seen.extend(worker.fetch_new_tasks().keys)
            seen.extend(worker.fetch_new_tasks(timeout_s=0.001).keys)

    def read() -> None:
        for _ in range(100):
            node.read()

    at_once([end, end, fetch, read])
    seen.extend(worker.fetch_new_tasks(timeout_s=0.001).keys)
    assert sorted(seen) == sorted(network.fetch_finished_tasks().keys)
    assert len(seen) == 200


def test_the_reader_pauses_longer_in_a_large_network(network: Network, node: Node) -> None:
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    pauses = []
    for n in (1, 50, 1000):
        for i in range(n):
            connection.execute(pack((b"HSET", keys.clients, f"client-{i}", b"1")))
        node.read()
        pauses.append(node.pause_s())
    assert pauses == [0.004, pytest.approx(0.01), 0.02]
    connection.close()


# -- logs that cannot be used -------------------------------------------------------------------


def test_after_a_reset_all_is_new_and_nothing_of_the_old_log_comes_back(
    network: Network, node: Node
) -> None:
    worker, second = node.join(), node.join()
    network.push_finished_tasks([{"x": 1}] * 3, [{"y": 1}] * 3)
    node.read()
    assert len(worker.fetch_new_tasks()) == 3
    network.reset(workers=False)
    key = start(worker)
    assert worker.finish_and_fetch_new(key, {"y": 1})[1].keys == [key]
    node.follow_once()
    assert node.logs.is_closed
    assert worker.fetch_new_tasks().keys == []  # its own end was returned before
    assert second.fetch_new_tasks().keys == [key]
    more = network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    assert worker.fetch_new_tasks().keys == second.fetch_new_tasks().keys == more


def test_memory_is_left_once_the_server_has_another_log(network: Network, node: Node) -> None:
    worker = node.join()
    network.push_finished_tasks([{"x": 1}] * 3, [{"y": 1}] * 3)
    node.read()
    assert len(worker.fetch_new_tasks()) == 3
    network.reset(workers=False)
    node.logs.stamp(0)
    assert worker.fetch_new_tasks().keys == []
    node.logs.stamp(time.monotonic_ns())  # as if the reader had read before the reset
    key = start(worker)
    assert worker.finish_and_fetch_new(key, {"y": 1})[1].keys == [key]


def test_memory_of_another_log_is_noticed_and_left(
    network: Network, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    network.push_finished_tasks([{"x": 1}] * 3, [{"y": 1}] * 3)
    node.read()
    network.reset(workers=False)
    worker = node.join()
    node.logs.stamp(0)
    keys = network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    assert worker.fetch_new_tasks().keys == keys
    node.logs.stamp(time.monotonic_ns())  # as if the reader had read before the reset
    keys = network.push_finished_tasks([{"x": 3}], [{"y": 3}])
    assert worker.fetch_new_tasks().keys == keys
    assert "it holds another log than the server" in caplog.text


def test_damaged_memory_is_noticed_and_left(
    network: Network, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    worker = node.join()
    first = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    node.read()
    assert worker.fetch_new_tasks().keys == first
    node.logs.finished.set_end(node.logs.finished.end + 100)
    for i in range(3):
        keys = network.push_finished_tasks([{"x": i}], [{"y": i}])
        key = start(worker)
        assert worker.finish_and_fetch_new(key, {"y": i})[1].keys == [*keys, key]
    assert caplog.text.count("some of its bytes were overwritten") == 1


def test_closed_logs_are_read_from_the_server(network: Network, node: Node) -> None:
    worker = node.join()
    first = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    node.read()
    assert worker.fetch_new_tasks().keys == first
    node.logs.close()
    second = network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    assert worker.fetch_new_tasks().keys == second
    key = start(worker)
    assert worker.finish_and_fetch_new(key, {"y": 1})[1].keys == [key]


# -- interrupts, lost replies, rejoining ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["new", "failed", "ended"])
def test_no_new_task_is_dropped_or_repeated_by_an_interrupt(
    network: Network, node: Node, kind: str
) -> None:
    worker = node.join()

    def push() -> None:
        network.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}, {"y": 2}])
        network.push_failed_tasks([{"x": 3}], ["no"])
        node.read()

    reads: dict[str, Callable[[], list[str]]] = {
        "new": lambda: worker.fetch_new_tasks().keys,
        "failed": lambda: worker.fetch_new_failed_tasks().keys,
        "ended": lambda: all_keys(worker.fetch_new_ended_tasks()),
    }
    places = {"n": ["finished"], "f": ["failed"], "e": ["finished", "failed"]}[kind[0]]
    seen, n_interrupts = read_with_interrupts(reads[kind], push)
    assert n_interrupts > 10
    assert sorted(seen) == sorted(network.fetch_tasks(*places).keys)


@pytest.mark.parametrize("fails", [False, True], ids=["finish", "fail"])
def test_no_own_task_is_dropped_or_repeated_by_an_interrupt(
    network: Network, node: Node, fails: bool
) -> None:
    worker = node.join()
    key = ""

    def begin() -> None:
        nonlocal key
        network.push_finished_tasks([{"x": 1}], [{"y": 1}])
        node.read()
        key = start(worker)

    def end() -> list[str]:
        if fails:
            _, ended = worker.fail_and_fetch_ended(key, "no")
        else:
            _, ended = worker.finish_and_fetch_ended(key, {"y": 1})
        return all_keys(ended)

    seen, n_interrupts = read_with_interrupts(end, begin)
    assert n_interrupts > 10
    node.read()
    seen += all_keys(worker.fetch_new_ended_tasks())
    assert sorted(seen) == sorted(network.fetch_tasks("finished", "failed").keys)


@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("fails", [False, True], ids=["finish", "fail"])
def test_an_end_that_is_lost_with_the_connection_is_returned_once(
    network: Network, node: Node, server: EmbeddedServer, lost: str, fails: bool
) -> None:
    with BreakingProxy(server.url) as proxy:
        worker = node.join(proxy.url)
        key = start(worker)
        node.read()
        (proxy.cut_before_request if lost == "request" else proxy.cut_before_reply)()
        if fails:
            won, ended = worker.fail_and_fetch_ended(key, "no")
        else:
            won, ended = worker.finish_and_fetch_ended(key, {"y": 1})
        assert proxy.n_breaks == 1
        assert won
        assert all_keys(ended) == [key]
        node.read()
        assert keys_of(worker.fetch_new_ended_tasks()) == ([], [])
        worker.close()


def test_a_task_that_was_taken_away_is_no_own_end(network: Network, node: Node) -> None:
    worker = node.join()
    key = start(worker)
    node.read()
    network.stop_workers([worker.worker_id], kill=True)
    won, ended = worker.finish_and_fetch_ended(key, {"y": 1})
    assert not won
    assert keys_of(ended) == ([], [])
