"""What start, finish and fail do to a task, and who may end it."""

from collections.abc import Callable
from typing import Any

import pytest

from rush_core import Network, TaskState, Worker
from tests.fixture_types import Join


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
    assert network.fetch_tasks("queued").keys == [key]


def test_another_workers_task_cannot_be_ended(network: Network, join: Join) -> None:
    owner, other = join(), join()
    key = owner.start_task({"x": 1})
    assert key is not None
    assert not other.finish_task(key, {"y": 1})
    assert not other.fail_task(key, "not mine")
    assert network.fetch_tasks("running").keys == [key]
    assert owner.finish_task(key, {"y": 2})


def test_a_worker_whose_name_begins_like_the_owners_cannot_end_its_task(
    network: Network, join: Join
) -> None:
    owner, other = join("worker-12"), join("worker-1")
    key = owner.start_task({"x": 1})
    assert key is not None
    assert not other.finish_task(key, {"y": 1})
    network.stop_workers(["worker-1"], kill=True)
    assert network.fetch_tasks("running").keys == [key]


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


def test_finished_tasks_are_pushed_with_the_extras_of_their_results(network: Network) -> None:
    keys = network.push_finished_tasks(
        [{"x": 1}, {"x": 2}],
        [{"y": 1}, {"y": 2}],
        extras=[{"design": 7}, None],
        result_extras=[None, {"seconds": 0.5}],
    )
    tasks = network.fetch_finished_tasks()
    assert tasks.keys == keys
    assert [task.extra for task in tasks] == [{"design": 7}, {}]
    assert [task.result_extra for task in tasks] == [{}, {"seconds": 0.5}]
    assert tasks.result_notes("seconds") == [None, 0.5]
    bad: list[tuple[str, list[Any]]] = [
        ("result_extra 'seconds' holds", [{"seconds": object()}]),
        ("result_extra must be a dict", [[("seconds", 1)]]),
        ("need as many configs as results as result_extras", [{}, {}]),
    ]
    for words, result_extras in bad:
        with pytest.raises((TypeError, ValueError), match=words):
            network.push_finished_tasks([{"x": 3}], [{"y": 3}], result_extras=result_extras)
    assert len(network.fetch_finished_tasks()) == 2
