"""Children that are forked from a process which has a network or a worker."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rush_core import EmbeddedServer, Network, RushError, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.core.processes import PATIENCE_S, evaluating, is_alive, wait_for_running_tasks
from tests.waiting import wait_until

# Later versions of Python warn of forks beside threads, of which these tests are.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FORK = multiprocessing.get_context("fork")


def in_child(call: Callable[[], Any]) -> Any:
    """Return what a call in a forked child returns; a child that hangs is killed."""
    reader, writer = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: writer.send(call()))
    child.start()
    writer.close()
    try:
        assert reader.poll(PATIENCE_S), "the child hangs"
        return reader.recv()
    finally:
        child.kill()
        child.join()
        reader.close()


def test_what_forked_children_push_one_after_the_other_is_all_there(network: Network) -> None:
    pushed = [in_child(lambda: network.push_tasks([{"pid": os.getpid()}])) for _ in range(3)]
    pushed.append(network.push_tasks([{"pid": os.getpid()}]))
    pushed.append(in_child(lambda: network.push_tasks([{"pid": os.getpid()}])))
    keys = [key for (key,) in pushed]
    assert len(set(keys)) == 5
    tasks = network.fetch_tasks("queued")
    assert tasks.keys == keys
    assert len({task.config["pid"] for task in tasks}) == 5


def test_a_child_has_a_connection_of_its_own_and_leaves_its_parents_alone(
    server: EmbeddedServer,
) -> None:
    connection = Connection(server.url)
    whose = pack(("CLIENT", "ID"))
    before = connection.execute(whose)
    assert in_child(lambda: connection.execute(whose)) != before
    assert connection.execute(whose) == before
    connection.close()


def test_a_child_goes_on_where_its_parent_was_reading_and_is_woken_beside_it(
    network: Network, server: EmbeddedServer
) -> None:
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert len(network.fetch_new_tasks()) == 1
    network.fetch_new_tasks(timeout_s=0.01)  # from now on nothing happens that it does not know of
    keys, connection = NetworkKeys(network.network_id), Connection(server.url)
    read: list[list[str]] = []

    def read_on() -> list[str]:
        return network.fetch_new_tasks(timeout_s=600.0).keys

    def push_when_both_sleep() -> None:
        wait_until(lambda: connection.execute(pack(("SCARD", keys.waiting))) == 2)
        with Network(network.network_id, server.url) as other:
            read.append(other.push_finished_tasks([{"x": 2}], [{"y": 2}]))

    parent = threading.Thread(target=lambda: read.append(read_on()))
    parent.start()
    wait_until(lambda: connection.execute(pack(("SCARD", keys.waiting))) == 1)
    pushing = threading.Thread(target=push_when_both_sleep)
    pushing.start()
    read.append(in_child(read_on))  # while the other thread waits for its reply
    for thread in (parent, pushing):
        thread.join(PATIENCE_S)
    connection.close()
    assert len(read) == 3
    assert read[0] == read[1] == read[2]


def test_a_child_that_closes_its_network_leaves_its_parents_workers_alone(
    network: Network,
) -> None:
    network.start_workers(evaluating, 1)
    (task,) = wait_for_running_tasks(network)

    def close() -> bool:
        network.close()
        return network.join_workers()

    assert in_child(close)
    assert is_alive(task.config["pid"])
    assert network.push_tasks([{"x": 1}]) == network.fetch_tasks("queued").keys
    assert network.count_tasks() == (1, 1, 0, 0)


def test_a_worker_is_refused_in_a_child_and_goes_on_in_its_parent(
    network: Network, worker: Worker
) -> None:
    network.push_tasks([{"x": 0}])
    key = worker.start_task({"x": 1})
    assert key is not None

    def errors() -> list[str]:
        calls: list[Callable[[], object]] = [
            lambda: worker.start_task({"x": 2}),
            lambda: worker.start_task({"x": 2}, unique=b"2"),
            lambda: worker.claim_task(timeout_s=600.0),
            lambda: worker.report_task(key, {"step": 1}),
            lambda: worker.report_and_fetch_new(key, {"step": 1}),
            lambda: worker.finish_task(key, {"y": 1}),
            lambda: worker.finish_and_fetch_new(key, {"y": 1}),
            lambda: worker.fail_task(key, "no"),
            lambda: worker.push_tasks([{"x": 2}]),
            worker.rejoin,
        ]
        said = []
        for call in calls:
            with pytest.raises(RushError, match="forked") as error:
                call()
            said.append(str(error.value))
        assert worker.count_tasks() == (1, 1, 0, 0)
        assert not worker.should_stop()
        worker.close()
        return said

    for error in in_child(errors):
        assert f"process {os.getpid()}" in error
    assert worker.finish_and_fetch_new(key, {"y": 1})[1].keys == [key]
    assert not worker.is_lost
    assert network.count_tasks() == (1, 0, 1, 0)
    assert network.fetch_new_reports() == []


def test_a_loop_and_children_that_it_forked_log_without_losing_a_record(
    network: Network,
) -> None:
    def log(name: str) -> None:
        for i in range(100):
            logging.getLogger("test").info("%s %d", name, i)

    def loop(worker: Worker) -> None:
        log("before")
        children = [FORK.Process(target=log, args=(name,)) for name in ("first", "second")]
        for child in children:
            child.start()
        log("meanwhile")
        for child in children:
            child.join()

    network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    records = [record.message.split() for record in network.read_log()]
    for name in ("before", "first", "second", "meanwhile"):
        assert [i for who, i in records if who == name] == [str(i) for i in range(100)]
