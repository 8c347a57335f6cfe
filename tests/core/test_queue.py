"""The queue: what push, claim and clear do, and that each task goes to one worker."""

from functools import partial

import pytest

from rush_core import EmbeddedServer, Network, TaskState, Worker, WorkerLostError
from rush_core.connection.connection import Connection, pack
from tests.fixture_types import Join
from tests.threads import at_once


def test_the_queue_is_first_in_first_out(network: Network, worker: Worker) -> None:
    keys = network.push_tasks([{"x": 1}, {"x": 2}]) + network.push_tasks([{"x": 3}])
    claimed = [worker.claim_task() for _ in range(3)]
    assert [task and task.key for task in claimed] == keys
    assert [task and task.config for task in claimed] == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert worker.claim_task() is None


def test_a_worker_pushes_as_its_manager_does(network: Network, join: Join) -> None:
    proposer, other = join(), join()
    keys = proposer.push_tasks([{"x": 1}, {"x": 2}], extras=[None, {"proposer": 0}])
    keys += network.push_tasks([{"x": 3}]) + proposer.push_tasks([{"x": 4}])
    assert len(set(keys)) == 4
    queued = network.fetch_tasks("queued")
    assert queued.keys == keys
    assert [task.worker_id for task in queued] == [""] * 4
    assert [task.extra for task in queued] == [{}, {"proposer": 0}, {}, {}]
    claimed = other.claim_task()
    assert claimed is not None
    assert (claimed.key, claimed.worker_id) == (keys[0], other.worker_id)


def test_a_worker_pushes_all_or_nothing(network: Network, worker: Worker) -> None:
    with pytest.raises(TypeError, match="'x'"):
        worker.push_tasks([{"x": 1}, {"x": object()}])
    with pytest.raises(ValueError, match="configs as extras"):
        worker.push_tasks([{"x": 1}, {"x": 2}], extras=[{}])
    assert network.count_tasks() == (0, 0, 0, 0)


def test_a_removed_worker_pushes_nothing(network: Network, join: Join) -> None:
    removed = join()
    network.stop_workers([removed.worker_id], kill=True)
    with pytest.raises(WorkerLostError):
        removed.push_tasks([{"x": 1}])
    assert network.count_tasks() == (0, 0, 0, 0)


def test_a_claimed_task_keeps_its_extra_and_is_what_is_stored(
    network: Network, worker: Worker
) -> None:
    network.push_tasks([{"x": [1, {"z": None}]}], extras=[{"design": 7}])
    task = worker.claim_task()
    assert task is not None
    assert (task.config, task.extra) == ({"x": [1, {"z": None}]}, {"design": 7})
    assert task.state is TaskState.RUNNING
    assert list(network.fetch_tasks()) == [task]


def test_concurrent_claims_give_each_task_to_one_worker(network: Network, join: Join) -> None:
    keys = network.push_tasks([{"x": i} for i in range(400)])
    claimed: dict[str, list[str]] = {}

    def claim_all(worker: Worker) -> None:
        mine = claimed.setdefault(worker.worker_id, [])
        while task := worker.claim_task():
            mine.append(task.key)

    at_once([partial(claim_all, worker) for worker in (join(), join(), join(), join())])
    assert sorted(key for keys in claimed.values() for key in keys) == sorted(keys)
    for mine in claimed.values():
        assert mine == [key for key in keys if key in set(mine)]


def test_clearing_the_queue_makes_what_waits_failed(network: Network, worker: Worker) -> None:
    network.push_finished_tasks([{"x": 0}], [{"y": 0}])
    running = network.push_tasks([{"x": 1}])
    worker.claim_task()
    keys = network.push_tasks([{"x": 2}, {"x": 3}], extras=[None, {"design": 7}])
    assert network.clear_queue() == 2
    assert network.clear_queue() == 0
    failed = network.fetch_tasks("failed")
    assert (failed.keys, failed.configs) == (keys, [{"x": 2}, {"x": 3}])
    assert [task.error for task in failed] == ["taken out of the queue"] * 2
    assert [task.extra for task in failed] == [{}, {"design": 7}]
    assert network.fetch_tasks("running").keys == running


def test_a_claim_without_memory_loses_no_task(
    network: Network, worker: Worker, server: EmbeddedServer
) -> None:
    keys = network.push_tasks([{"x": 1}, {"x": 2}])
    connection = Connection(server.url)
    connection.execute(pack(("CONFIG", "SET", "maxmemory", "1")))
    try:
        task = worker.claim_task()
        assert worker.claim_task(limit=1) is None
    finally:
        connection.execute(pack(("CONFIG", "SET", "maxmemory", "0")))
        connection.close()
    assert task is not None
    assert [task.key] == network.fetch_tasks("running").keys == keys[:1]
    assert network.count_tasks() == (1, 1, 0, 0)
