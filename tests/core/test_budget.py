"""The budget: how many tasks may start, and which of them take its places."""

from functools import partial

from rush_core import Network, Worker
from tests.fixture_types import Join
from tests.threads import at_once


def test_concurrent_starts_and_claims_share_the_limit_exactly(network: Network, join: Join) -> None:
    network.push_tasks([{"x": i} for i in range(100)])
    n_started: list[int] = []

    def start_all(worker: Worker, at_once: int) -> None:
        n = 0
        while keys := worker.start_tasks([{"x": 0}] * at_once, limit=150):
            n += len(keys)
            worker.finish_tasks(keys, [{"y": 0}] * len(keys))
        n_started.append(n)

    def claim_all(worker: Worker) -> None:
        n = 0
        while worker.claim_task(limit=150):
            n += 1
        n_started.append(n)

    workers = [join() for _ in range(4)]
    jobs = [partial(start_all, workers[0], 1), partial(start_all, workers[1], 7)]
    jobs += [partial(claim_all, workers[2]), partial(claim_all, workers[3])]
    at_once(jobs)
    assert sum(n_started) == 150
    counts = network.count_tasks()
    assert counts.running + counts.finished == 150


def test_a_limit_admits_the_first_of_several_and_refuses_the_rest(
    network: Network, worker: Worker
) -> None:
    keys = worker.start_tasks([{"x": i} for i in range(5)], limit=3)
    assert [task.config["x"] for task in network.fetch_tasks("running")] == [0, 1, 2]
    assert sorted(network.fetch_tasks("running").keys) == sorted(keys)
    assert worker.start_tasks([{"x": 9}], limit=3) == []
    assert worker.start_task({"x": 9}, limit=2) is None
    assert worker.start_task({"x": 9}, limit=0) is None
    assert worker.start_task({"x": 9}, limit=4) is not None
    assert worker.start_task({"x": 9}) is not None


def test_ended_and_failed_tasks_still_take_their_places(network: Network, worker: Worker) -> None:
    first, second = worker.start_tasks([{"x": 1}, {"x": 2}])
    worker.finish_task(first, {"y": 1})
    worker.fail_task(second, "no")
    assert worker.start_task({"x": 3}, limit=2) is None


def test_pushed_and_cleared_tasks_take_no_place(network: Network, worker: Worker) -> None:
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    network.push_failed_tasks([{"x": 2}], ["no"])
    network.push_tasks([{"x": 3}])
    network.clear_queue()
    network.push_tasks([{"x": 4}])
    assert worker.claim_task(limit=1) is not None
    assert worker.start_task({"x": 5}, limit=1) is None


def test_a_claim_that_the_budget_refuses_leaves_the_queue_as_it_is(
    network: Network, worker: Worker
) -> None:
    keys = network.push_tasks([{"x": 1}, {"x": 2}])
    assert worker.claim_task(limit=0) is None
    assert network.fetch_tasks("queued").keys == keys


def test_a_lost_workers_places_are_given_back(network: Network, join: Join) -> None:
    lost, survivor = join(), join()
    ended, *_ = lost.start_tasks([{"x": i} for i in range(3)], limit=3)
    lost.finish_task(ended, {"y": 1})
    assert survivor.start_task({"x": 3}, limit=3) is None
    network.stop_workers([lost.worker_id], kill=True)
    assert len(survivor.start_tasks([{"x": 4}] * 3, limit=3)) == 2
