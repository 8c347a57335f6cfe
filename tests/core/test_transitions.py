"""What start, claim, finish, fail, push, clear and reset do, and who wins."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from threads import at_once

from rush_core import (
    EmbeddedServer,
    LikeTaskError,
    Network,
    RushError,
    TaskState,
    Worker,
    WorkerLostError,
    WorkerState,
)
from rush_core.connection import Connection, pack
from rush_core.invariants import check_network

Join = Callable[..., Worker]


def place_of(network: Network, key: str) -> str:
    (task,) = [task for task in network.fetch_tasks() if task.key == key]
    return task.state.value


def test_a_started_task_is_running_under_its_worker(network: Network, worker: Worker) -> None:
    key = worker.start_task({"x": 1}, extra={"note": "first"})
    (task,) = network.fetch_tasks("running")
    assert (task.key, task.worker_id, task.state) == (key, worker.worker_id, TaskState.RUNNING)
    assert (task.config, task.extra, task.result) == ({"x": 1}, {"note": "first"}, None)
    assert task.started_at is not None
    assert task.ended_at is None


def test_a_finished_task_keeps_everything_that_was_given(network: Network, worker: Worker) -> None:
    key = worker.start_task({"x": 1}, extra={"note": "first"})
    assert key is not None
    assert worker.finish_task(key, {"y": 2.5}, extra={"cost": 3})
    (task,) = network.fetch_tasks()
    assert task.state is TaskState.FINISHED
    assert (task.config, task.extra) == ({"x": 1}, {"note": "first"})
    assert (task.result, task.result_extra, task.error) == ({"y": 2.5}, {"cost": 3}, None)
    assert task.started_at is not None
    assert task.ended_at is not None
    assert task.started_at <= task.ended_at


def test_a_failed_task_keeps_the_traceback_of_its_exception(
    network: Network, worker: Worker
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    with pytest.raises(ValueError, match="could not convert") as error:
        float("no such learner")
    assert worker.fail_task(key, error.value, extra={"cost": 3})
    (task,) = network.fetch_tasks("failed")
    assert task.error is not None
    assert task.error.startswith("Traceback")
    assert task.error.endswith("ValueError: could not convert string to float: 'no such learner'")
    assert (task.result, task.result_extra) == (None, {"cost": 3})


def test_an_error_text_that_is_no_unicode_can_be_stored(network: Network, worker: Worker) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    assert worker.fail_task(key, OSError("no file \udcff.csv"))
    (task,) = network.fetch_tasks("failed")
    assert task.error is not None
    assert "no file" in task.error


@pytest.mark.parametrize("second", ["finish", "fail", "finish and fetch"])
def test_the_second_end_of_a_task_leaves_the_first_untouched(
    network: Network, worker: Worker, second: str
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    assert worker.finish_task(key, {"y": 1}, extra={"by": "first"})
    before = network.fetch_tasks()
    if second == "finish":
        assert not worker.finish_task(key, {"y": 2}, extra={"by": "second"})
    elif second == "fail":
        assert not worker.fail_task(key, "too late")
    else:
        assert not worker.finish_and_fetch_new(key, {"y": 2})[0]
    assert network.fetch_tasks() == before
    assert network.fetch_tasks()[0].result == {"y": 1}


def test_a_task_named_twice_in_one_call_ends_once(network: Network, worker: Worker) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    assert worker.finish_tasks([key, key], [{"y": 1}, {"y": 2}]) == [True, False]
    assert network.fetch_tasks().results == [{"y": 1}]


@pytest.mark.parametrize("key", ["nobody-1", "", "schlüssel", "x" * 1000])
def test_ending_an_unknown_key_writes_nothing(network: Network, worker: Worker, key: str) -> None:
    assert worker.finish_task(key, {"y": 1}) is False
    assert worker.fail_task(key, "lost") is False
    assert worker.finish_and_fetch_new(key, {"y": 1})[0] is False
    assert len(network.fetch_tasks()) == 0


def test_a_queued_task_cannot_be_finished(network: Network, worker: Worker) -> None:
    (key,) = network.push_tasks([{"x": 1}])
    assert not worker.finish_task(key, {"y": 1})
    assert place_of(network, key) == "queued"


def test_another_workers_task_cannot_be_ended(network: Network, join: Join) -> None:
    owner, other = join(), join()
    key = owner.start_task({"x": 1})
    assert key is not None
    assert not other.finish_task(key, {"y": 1})
    assert not other.fail_task(key, "not mine")
    assert place_of(network, key) == "running"
    assert owner.finish_task(key, {"y": 2})


def test_a_worker_whose_name_begins_like_the_owners_cannot_end_its_task(
    network: Network, join: Join
) -> None:
    owner, other = join("worker-12"), join("worker-1")
    key = owner.start_task({"x": 1})
    assert key is not None
    assert not other.finish_task(key, {"y": 1})
    network.stop_workers(["worker-1"], kill=True)
    assert place_of(network, key) == "running"


@pytest.mark.parametrize("length", [1, 31, 32, 100])
def test_worker_names_of_every_length_can_own_tasks(
    network: Network, join: Join, length: int
) -> None:
    worker = join("w" * length)
    network.push_tasks([{"x": 1}])
    task = worker.claim_task()
    assert task is not None
    assert (task.worker_id, task.config) == ("w" * length, {"x": 1})
    assert worker.finish_task(task.key, {"y": 1})


def test_many_tasks_go_through_in_one_call_each(network: Network, worker: Worker) -> None:
    configs = [{"x": i} for i in range(500)]
    keys = worker.start_tasks(configs, extras=[{"i": i} for i in range(500)])
    assert len(set(keys)) == 500
    results = [{"y": i} for i in range(250)]
    assert worker.finish_tasks(keys[:250], results) == [True] * 250
    assert worker.fail_tasks(keys[250:], ["no"] * 250) == [True] * 250
    finished = network.fetch_tasks("finished")
    assert (finished.keys, finished.configs) == (keys[:250], configs[:250])
    assert finished.results == results
    assert network.fetch_tasks("failed").keys == keys[250:]


def test_several_ends_report_which_of_them_won(network: Network, join: Join) -> None:
    worker, other = join(), join()
    mine, ended = worker.start_tasks([{"x": 1}, {"x": 2}])
    (others,) = other.start_tasks([{"x": 3}])
    worker.finish_task(ended, {"y": 2})
    won = worker.finish_tasks([others, mine, ended, "nobody-1"], [{"y": i} for i in range(4)])
    assert won == [False, True, False, False]
    assert network.fetch_tasks("finished").results == [{"y": 2}, {"y": 1}]


def test_nothing_given_means_nothing_done(network: Network, worker: Worker) -> None:
    assert network.push_tasks([]) == []
    assert network.push_finished_tasks([], []) == []
    assert network.push_failed_tasks([], []) == []
    assert worker.push_tasks([]) == []
    assert worker.start_tasks([]) == []
    assert worker.finish_tasks([], []) == []
    assert worker.fail_tasks([], []) == []
    assert network.count_tasks() == (0, 0, 0, 0)


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


def test_pushed_ends_are_whole_tasks_without_a_worker(network: Network) -> None:
    finished = network.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}, {"y": 2}])
    failed = network.push_failed_tasks([{"x": 3}], [ValueError("no")], extras=[{"z": 0}])
    tasks = network.fetch_tasks()
    assert tasks.keys == finished + failed
    assert tasks.results == [{"y": 1}, {"y": 2}, None]
    assert tasks[2].error == "ValueError: no"
    assert tasks[2].extra == {"z": 0}
    assert {task.worker_id for task in tasks} == {""}


def test_unequal_lengths_are_refused_and_write_nothing(network: Network, worker: Worker) -> None:
    keys = worker.start_tasks([{"x": i} for i in range(3)])
    two = [{"y": 1}, {"y": 2}]
    calls: list[Callable[[], object]] = [
        lambda: worker.finish_tasks(keys, two),
        lambda: worker.finish_tasks(keys, two * 2),
        lambda: worker.finish_tasks(keys, [two[0]]),
        lambda: worker.finish_tasks(keys[:2], two, extras=[{}]),
        lambda: worker.fail_tasks(keys, ["no"]),
        lambda: worker.fail_tasks(keys[:1], ["no"], extras=[{}, {}]),
        lambda: worker.start_tasks(two, extras=[{}]),
        lambda: worker.start_tasks(two, extras=[]),
        lambda: worker.start_tasks(two, extras=[{}] * 3),
        lambda: network.push_tasks(two, extras=[{}]),
        lambda: network.push_tasks(two, extras=[]),
        lambda: network.push_finished_tasks(two, [{"y": 1}]),
        lambda: network.push_finished_tasks(two, two, extras=[{}]),
        lambda: network.push_failed_tasks(two, ["no"]),
    ]
    before = network.fetch_tasks()
    for call in calls:
        with pytest.raises(ValueError, match="as many"):
            call()
    assert network.fetch_tasks() == before


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


def test_reset_deletes_everything_and_the_network_goes_on(network: Network, join: Join) -> None:
    worker = join()
    network.push_tasks([{"x": 1}, {"x": 2}])
    key = worker.start_task({"x": 3})
    assert key is not None
    network.reset()
    assert network.count_tasks() == (0, 0, 0, 0)
    assert network.fetch_workers() == []
    assert worker.finish_task(key, {"y": 1}) is False
    with pytest.raises(WorkerLostError):
        worker.start_task({"x": 4})
    network.push_tasks([{"x": 5}])
    assert network.fetch_tasks("queued").configs == [{"x": 5}]
    assert join().number == 0


def test_reset_of_the_tasks_keeps_the_workers_and_frees_the_budget(
    network: Network, worker: Worker
) -> None:
    key = worker.start_task({"x": 1}, limit=1)
    assert key is not None
    network.push_tasks([{"x": 2}])
    network.reset(workers=False)
    assert network.count_tasks() == (0, 0, 0, 0)
    assert worker.finish_task(key, {"y": 1}) is False
    assert worker.start_task({"x": 3}, limit=1) is not None
    assert [info.worker_id for info in network.fetch_workers()] == [worker.worker_id]


def test_two_networks_on_one_server_never_see_each_other(
    network: Network, worker: Worker, network_id: str, server: EmbeddedServer
) -> None:
    with (
        Network(f"{network_id}-other", server.url) as other,
        Worker(f"{network_id}-other", url=server.url, worker_id=worker.worker_id) as stranger,
    ):
        key = worker.start_task({"x": 1}, limit=1)
        assert key is not None
        network.push_tasks([{"x": 2}])
        assert other.count_tasks() == (0, 0, 0, 0)
        assert stranger.claim_task() is None
        assert stranger.finish_task(key, {"y": 1}) is False
        assert stranger.start_task({"x": 3}, limit=1) is not None
        other.stop_workers()
        other.reset()
        assert network.count_tasks() == (1, 1, 0, 0)
        assert worker.claim_task() is not None
        check_network(other.network_id, server.url)


def test_several_managers_can_look_after_one_network(
    network: Network, worker: Worker, server: EmbeddedServer
) -> None:
    with Network(network.network_id, server.url) as second:
        keys = network.push_tasks([{"x": 1}]) + second.push_tasks([{"x": 2}])
        assert second.fetch_tasks("queued").keys == keys
        assert second.clear_queue() == 2
        assert network.fetch_tasks("failed").keys == keys


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
    assert (task.key, place_of(network, keys[0])) == (keys[0], "running")
    assert network.count_tasks() == (1, 1, 0, 0)


def test_a_unique_task_is_started_once_in_the_whole_network(
    network: Network, worker: Worker, join: Join
) -> None:
    other = join()
    key = worker.start_task({"x": 1}, unique=b"x=1")
    assert key is not None
    for late in (worker, other):
        with pytest.raises(LikeTaskError, match="was started before"):
            late.start_task({"x": 1}, unique=b"x=1")
    assert worker.finish_task(key, {"y": 1})
    with pytest.raises(LikeTaskError):
        other.start_task({"x": 1}, unique=b"x=1")
    assert other.start_task({"x": 2}, unique=b"x=2") is not None
    assert other.start_task({"x": 1}) is not None
    assert network.count_tasks().running == 2


def test_a_refused_unique_task_takes_no_place_in_the_budget(worker: Worker) -> None:
    assert worker.start_task({"x": 1}, unique=b"x=1", limit=2)
    with pytest.raises(LikeTaskError):
        worker.start_task({"x": 1}, unique=b"x=1", limit=2)
    assert worker.start_task({"x": 2}, unique=b"x=2", limit=2)
    assert worker.start_task({"x": 3}, unique=b"x=3", limit=2) is None
    # Refused for the budget, it took no mark either.
    assert worker.start_task({"x": 3}, unique=b"x=3", limit=3)


def test_a_lost_unique_task_may_be_started_again(
    network: Network, worker: Worker, join: Join
) -> None:
    lost = join()
    assert lost.start_task({"x": 1}, unique=b"x=1")
    network.stop_workers([lost.worker_id], kill=True)
    assert worker.start_task({"x": 1}, unique=b"x=1")
    with pytest.raises(LikeTaskError):
        worker.start_task({"x": 1}, unique=b"x=1")


def test_of_many_threads_that_start_the_same_task_one_wins(join: Join) -> None:
    workers = [join() for _ in range(4)]

    def start_all(worker: Worker) -> int:
        n_started = 0
        for i in range(50):
            with contextlib.suppress(LikeTaskError):
                n_started += worker.start_task({"x": i}, unique=b"%d" % i) is not None
        return n_started

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(start_all, workers)) == 50
