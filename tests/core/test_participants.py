"""Workers that take part: they leave, are removed or asked to stop, and their names."""

import pytest

from rush_core import Network, RushError, Worker, WorkerLostError, WorkerState
from tests.fixture_types import Join
from tests.threads import at_once


def test_a_removed_worker_can_change_nothing_any_more(network: Network, join: Join) -> None:
    removed, other = join("removed"), join()
    key = removed.start_task({"x": 1})
    assert key is not None
    network.push_tasks([{"x": 2}])
    network.stop_workers(["removed"], kill=True)
    before = network.fetch_tasks()
    assert removed.finish_task(key, {"y": 1}) is False
    assert removed.fail_task(key, "late") is False
    assert removed.finish_and_fetch_new(key, {"y": 1})[0] is False
    with pytest.raises(WorkerLostError) as start:
        removed.start_task({"x": 3})
    assert start.value.key == "removed"
    with pytest.raises(WorkerLostError):
        removed.claim_task()
    with pytest.raises(WorkerLostError):
        removed.claim_task(timeout_s=60.0)
    assert network.fetch_tasks() == before
    assert removed.should_stop()
    assert other.claim_task() is not None


def test_a_removed_workers_tasks_are_failed_once_with_the_reason(
    network: Network, join: Join
) -> None:
    removed = join()
    keys = removed.start_tasks([{"x": 1}, {"x": 2}])
    at_once([lambda: network.stop_workers([removed.worker_id], kill=True)] * 3)
    failed = network.fetch_tasks("failed")
    assert sorted(failed.keys) == sorted(keys)
    assert all("killed by the manager" in str(task.error) for task in failed)
    assert all(task.result_extra == {"lost": "killed"} for task in failed)
    (info,) = network.fetch_workers()
    assert info.state is WorkerState.KILLED


def test_a_name_can_be_taken_again_by_a_new_worker(network: Network, join: Join) -> None:
    first = join("phoenix")
    key = first.start_task({"x": 1})
    assert key is not None
    with pytest.raises(RushError, match="phoenix") as taken:
        join("phoenix")
    assert taken.value.key == "phoenix"
    network.stop_workers(["phoenix"], kill=True)
    second = join("phoenix")
    assert (first.number, second.number, join().number) == (0, 0, 1)
    assert second.start_task({"x": 2}) is not None
    assert second.finish_task(key, {"y": 1}) is False


def test_a_worker_that_leaves_fails_what_it_was_running(network: Network) -> None:
    with Worker(network.network_id, url=network.url) as worker:
        ended, running = worker.start_tasks([{"x": 1}, {"x": 2}])
        worker.finish_task(ended, {"y": 1})
    (failed,) = network.fetch_tasks("failed")
    assert failed.key == running
    assert failed.error == "the worker left the network before the task ended"
    (info,) = network.fetch_workers()
    assert info.state is WorkerState.STOPPED


def test_an_exception_that_ends_a_worker_is_the_reason_of_its_failed_task(
    network: Network,
) -> None:
    def work() -> None:
        with Worker(network.network_id, url=network.url) as worker:
            worker.start_task({"x": 1})
            raise ZeroDivisionError("in the loop")

    with pytest.raises(ZeroDivisionError):
        work()
    (failed,) = network.fetch_tasks("failed")
    assert "ZeroDivisionError: in the loop" in str(failed.error)


def test_a_worker_asked_to_stop_ends_its_task_and_starts_no_other(
    network: Network, worker: Worker
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    network.push_tasks([{"x": 2}])
    assert not worker.should_stop()
    network.stop_workers()
    assert worker.start_task({"x": 3}) is None
    assert worker.claim_task() is None
    assert worker.claim_task(timeout_s=60.0) is None
    assert worker.should_stop()
    assert worker.finish_task(key, {"y": 1})
    assert network.count_tasks() == (1, 0, 1, 0)


@pytest.mark.parametrize("command", ["finish", "fail", "finish and fetch", "none"])
def test_a_worker_learns_that_it_should_stop_with_its_next_command(
    network: Network, worker: Worker, command: str
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    assert not worker.should_stop()
    network.stop_workers([worker.worker_id])
    if command == "finish":
        worker.finish_task(key, {"y": 1})
    elif command == "fail":
        worker.fail_task(key, "no")
    elif command == "finish and fetch":
        worker.finish_and_fetch_new(key, {"y": 1})
    assert worker.should_stop()
    assert worker.should_stop()


def test_workers_that_join_after_everybody_was_asked_to_stop_stop_too(
    network: Network, join: Join
) -> None:
    network.stop_workers()
    late = join()
    assert late.claim_task() is None
    assert late.should_stop()


def test_workers_asked_by_name_leave_others_alone(network: Network, join: Join) -> None:
    asked, other = join(), join()
    network.stop_workers([asked.worker_id])
    assert asked.claim_task() is None
    assert other.claim_task() is None
    assert asked.should_stop()
    assert not other.should_stop()
    states = {info.worker_id: info.state for info in network.fetch_workers()}
    assert states == {
        asked.worker_id: WorkerState.STOPPING,
        other.worker_id: WorkerState.RUNNING,
    }
