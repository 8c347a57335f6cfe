"""Lost tasks are tried again as often as allowed, and no others."""

import os
import signal
import time

import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, Task, Worker, WorkerLostError
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.typed import present
from tests.waiting import wait_until

PATIENCE_S = 30.0
QUICK = Heartbeat(period_s=0.02, expire_s=0.3)


def claiming(worker: Worker) -> None:
    """A loop that dies in the middle of the first task it gets."""
    worker.claim_task(timeout_s=600.0, limit=1)
    time.sleep(600.0)


def lose(worker: Worker, looker: Network) -> None:
    """Let a worker of this process fall silent and be found by `looker`."""
    assert worker._heart is not None
    worker._heart.close()
    assert wait_until(looker.detect_lost_workers, PATIENCE_S) == [worker.worker_id]


def test_a_lost_task_wakes_an_idle_worker_until_it_is_failed(
    network: Network, server: EmbeddedServer
) -> None:
    connection, keys = Connection(server.url), NetworkKeys(network.network_id)
    with Network(network.network_id, server.url, max_retries=2) as manager:
        manager.start_workers(claiming, 3)
        asked = pack(("ZCARD", keys.idle))
        wait_until(lambda: connection.execute(asked) == 3, PATIENCE_S)
        (key,) = manager.push_tasks([{"x": [1, 2]}], extras=[{"z": 3}])
        owners: list[str] = []

        def running_elsewhere() -> Task | None:
            running = manager.fetch_tasks("running")
            return running[0] if running and running[0].worker_id not in owners else None

        for attempt in range(3):
            # The limit is one task: the next claims it only because its place was given back.
            task = present(wait_until(running_elsewhere, PATIENCE_S))
            assert (task.key, task.attempt) == (key, attempt)
            assert (task.config, task.extra) == ({"x": [1, 2]}, {"z": 3})
            (info,) = [w for w in manager.fetch_workers() if w.worker_id == task.worker_id]
            assert info.task_keys == (key,)
            owners.append(task.worker_id)
            os.kill(info.pid, signal.SIGKILL)
        assert manager.join_workers(PATIENCE_S)
        assert manager.detect_lost_workers() == owners
    (task,) = network.fetch_tasks()
    assert (task.key, task.attempt, task.worker_id) == (key, 2, owners[-1])
    assert (task.config, task.extra) == ({"x": [1, 2]}, {"z": 3})
    assert task.error == f"worker {owners[-1]} was lost: its process was killed by SIGKILL"
    assert connection.execute(pack(("GET", keys.started))) == b"0"
    connection.close()


def test_a_lost_task_comes_before_those_that_wait(network: Network, server: EmbeddedServer) -> None:
    keys = network.push_tasks([{"x": 1}, {"x": 2}, {"x": 3}])
    with Network(network.network_id, server.url, max_retries=1) as looker:
        lost = Worker(network.network_id, url=server.url, heartbeat=QUICK)
        assert lost.claim_task() is not None
        lose(lost, looker)
        lost.close()
    assert network.fetch_tasks("queued").keys == keys
    assert [task.attempt for task in network.fetch_tasks("queued")] == [1, 0, 0]
    assert network.count_tasks() == (3, 0, 0, 0)


def test_a_started_task_that_is_lost_can_be_claimed_and_its_place_is_free(
    network: Network, server: EmbeddedServer
) -> None:
    with Network(network.network_id, server.url, max_retries=3) as looker:
        lost = Worker(network.network_id, url=server.url, worker_id="lost", heartbeat=QUICK)
        keys = lost.start_tasks([{"x": 1}, {"x": 2}], limit=2, extras=[{"z": 1}, None])
        lose(lost, looker)
        assert sorted(network.fetch_tasks("queued").keys) == sorted(keys)
        with Worker(network.network_id, url=server.url) as survivor:
            claimed = [survivor.claim_task(limit=2) for _ in range(2)]
            assert sorted(task.config["x"] for task in claimed if task) == [1, 2]
            assert survivor.start_task({"x": 3}, limit=2) is None
            assert survivor.finish_tasks(keys, [{"y": 1}, {"y": 2}]) == [True, True]
        assert lost.finish_tasks(keys, [{"y": 3}, {"y": 4}]) == [False, False]
        with pytest.raises(WorkerLostError):
            lost.start_task({"x": 3})
        lost.close()
    assert [task.attempt for task in network.fetch_tasks("finished")] == [1, 1]


def test_of_the_tasks_of_one_lost_worker_each_has_its_own_attempts(
    network: Network, server: EmbeddedServer
) -> None:
    (tried,) = network.push_tasks([{"x": "tried"}])
    with Network(network.network_id, server.url, max_retries=1) as looker:
        for worker_id in ("first", "second"):
            lost = Worker(network.network_id, url=server.url, worker_id=worker_id, heartbeat=QUICK)
            assert lost.claim_task() is not None
            if worker_id == "second":
                fresh = lost.start_task({"x": "fresh"})
            lose(lost, looker)
            lost.close()
    (queued,), (failed,) = network.fetch_tasks("queued"), network.fetch_tasks("failed")
    assert (queued.key, queued.attempt) == (fresh, 1)
    assert (failed.key, failed.attempt) == (tried, 1)


@pytest.mark.parametrize("end", ["kill", "leave", "fail"])
def test_a_task_that_was_not_lost_is_not_tried_again(
    network: Network, server: EmbeddedServer, end: str
) -> None:
    with Network(network.network_id, server.url, max_retries=2) as manager:
        worker = Worker(network.network_id, url=server.url)
        key = worker.start_task({"x": 1})
        assert key is not None
        if end == "kill":
            manager.stop_workers(kill=True)
        elif end == "fail":
            worker.fail_task(key, "no such learner")
        worker.close()
        (task,) = manager.fetch_tasks()
        assert (task.state, task.attempt) == ("failed", 0)
        assert manager.detect_lost_workers() == []


def test_killing_an_own_process_does_not_try_its_task_again(
    network: Network, server: EmbeddedServer
) -> None:
    with Network(network.network_id, server.url, max_retries=2) as manager:
        (key,) = manager.push_tasks([{"x": 1}])
        manager.start_workers(claiming, 1)
        wait_until(lambda: manager.count_tasks().running, PATIENCE_S)
        manager.stop_workers(kill=True)
        assert manager.join_workers(PATIENCE_S)
        (task,) = manager.fetch_tasks()
        assert (task.key, task.state, task.attempt) == (key, "failed", 0)
        assert task.result_extra == {"lost": "killed"}


@pytest.mark.parametrize(
    ("max_retries", "kind"),
    [(-1, ValueError), (128, ValueError), (True, TypeError), (1.0, TypeError), ("1", TypeError)],
)
def test_a_number_of_retries_that_is_none_is_refused(
    server: EmbeddedServer, max_retries: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="max_retries"):
        Network("any", server.url, max_retries=max_retries)


def test_the_largest_number_of_retries_can_be_used_up(
    network: Network, server: EmbeddedServer
) -> None:
    (key,) = network.push_tasks([{"x": 1}])
    with Network(network.network_id, server.url, max_retries=127) as looker:
        for attempt in range(128):
            beat = Heartbeat(period_s=0.01, expire_s=0.01)
            name = str(attempt)
            lost = Worker(network.network_id, url=server.url, worker_id=name, heartbeat=beat)
            task = lost.claim_task()
            assert task is not None
            assert (task.key, task.attempt) == (key, attempt)
            lose(lost, looker)
            lost.close()
    (task,) = network.fetch_tasks()
    assert (task.state, task.attempt) == ("failed", 127)
