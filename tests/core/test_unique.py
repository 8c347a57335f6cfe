"""Tasks that may be started only once in the whole network."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

import rush_core
from rush_core import DuplicateTaskError, Network, Worker
from tests.fixture_types import Join


def test_a_unique_task_is_started_once_in_the_whole_network(
    network: Network, worker: Worker, join: Join
) -> None:
    other = join()
    key = worker.start_task({"x": 1}, unique=b"x=1")
    assert key is not None
    for late in (worker, other):
        with pytest.raises(DuplicateTaskError, match="was started before"):
            late.start_task({"x": 1}, unique=b"x=1")
    assert worker.finish_task(key, {"y": 1})
    with pytest.raises(DuplicateTaskError):
        other.start_task({"x": 1}, unique=b"x=1")
    assert other.start_task({"x": 2}, unique=b"x=2") is not None
    assert other.start_task({"x": 1}) is not None
    assert network.count_tasks().running == 2


def test_a_refused_unique_task_takes_no_place_in_the_budget(worker: Worker) -> None:
    assert worker.start_task({"x": 1}, unique=b"x=1", limit=2)
    with pytest.raises(DuplicateTaskError):
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
    with pytest.raises(DuplicateTaskError):
        worker.start_task({"x": 1}, unique=b"x=1")


def test_of_many_threads_that_start_the_same_task_one_wins(join: Join) -> None:
    workers = [join() for _ in range(4)]

    def start_all(worker: Worker) -> int:
        n_started = 0
        for i in range(50):
            with contextlib.suppress(DuplicateTaskError):
                n_started += worker.start_task({"x": i}, unique=b"%d" % i) is not None
        return n_started

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(start_all, workers)) == 50


def test_the_old_name_of_the_error_still_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="DuplicateTaskError"):
        assert rush_core.LikeTaskError is DuplicateTaskError
    with pytest.raises(AttributeError, match="NoSuchError"):
        rush_core.NoSuchError  # noqa: B018
