"""No task starts at or after its deadline, by the server's clock."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from rush_core import Network, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.fixture_types import Join
from tests.typed import present
from tests.waiting import wait_until

PATIENCE_S = 30.0


def test_a_deadline_that_has_passed_leaves_the_task_queued(
    network: Network, worker: Worker
) -> None:
    network.push_tasks([{"x": 1}])
    assert not worker.should_stop()
    assert worker.claim_task(timeout_s=60.0, deadline=worker.now()) is None
    assert network.count_tasks() == (1, 0, 0, 0)
    assert worker.should_stop()


def test_nothing_is_started_from_the_deadline_on(network: Network, worker: Worker) -> None:
    late = worker.now()
    assert worker.start_task({"x": 1}, deadline=late) is None
    assert worker.start_task({"x": 1}, deadline=late, unique=b"x=1") is None
    assert worker.start_tasks([{"x": 1}, {"x": 2}], deadline=late) == []
    assert network.count_tasks() == (0, 0, 0, 0)
    # Neither a place in the budget nor the mark was taken.
    assert worker.start_task({"x": 1}, limit=1, deadline=late + 3600, unique=b"x=1")


def test_what_starts_before_the_deadline_says_so(network: Network, worker: Worker) -> None:
    deadline = worker.now() + 3600
    network.push_tasks([{"x": 1}])
    assert worker.claim_task(deadline=deadline)
    assert worker.start_task({"x": 2}, deadline=deadline)
    assert worker.start_task({"x": 3}, deadline=deadline, unique=b"x=3")
    assert len(worker.start_tasks([{"x": 4}, {"x": 5}], deadline=deadline)) == 2
    assert all(present(task.started_at) < deadline for task in network.fetch_tasks("running"))
    assert network.count_tasks() == (0, 5, 0, 0)


def test_a_command_that_is_held_up_until_the_deadline_starts_nothing(
    network: Network, worker: Worker
) -> None:
    network.push_tasks([{"x": 1}])
    seconds, microseconds = worker._connection.execute(pack((b"TIME",)))
    deadline = int(seconds) + int(microseconds) / 1e6
    sent_at = deadline - 1.0
    assert worker._transitions.claim(None, lambda: sent_at, 0.0, deadline) is None
    assert network.count_tasks() == (1, 0, 0, 0)


def test_a_task_that_comes_at_the_deadline_goes_to_a_sleeper_who_has_time(
    network: Network, join: Join
) -> None:
    hurried, patient = join("hurried"), join("patient")
    deadline = network.now() + 3600
    woken, go_on = threading.Event(), threading.Event()
    readings = iter([deadline - 1.0, deadline])

    def clock() -> float:
        """Of one to whom the deadline comes while it sleeps."""
        if (reading := next(readings)) == deadline:
            woken.set()
            assert go_on.wait(PATIENCE_S)
        return reading

    connection, idle = Connection(network.url), NetworkKeys(network.network_id).idle

    def are_asleep(n: int) -> bool:
        return bool(connection.execute(pack((b"ZCARD", idle))) == n)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(hurried._transitions.claim, None, clock, PATIENCE_S, deadline)
        second = pool.submit(patient.claim_task, timeout_s=PATIENCE_S)
        wait_until(lambda: are_asleep(2))
        # Which of the two a push wakes is chance: here it is the one that has no time.
        connection.execute(pack((b"ZREM", idle, "patient")))
        (key,) = network.push_tasks([{"x": 1}])
        assert woken.wait(PATIENCE_S)
        connection.execute(pack((b"ZADD", idle, "+inf", "patient")))
        assert network.count_tasks() == (1, 0, 0, 0)
        go_on.set()
        assert first.result() is None
        task = second.result()
    connection.close()
    assert task is not None
    assert (task.key, task.worker_id) == (key, "patient")


def test_a_clock_that_stood_still_is_set_right_by_asking_the_server(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = network.now()
    suspended = SimpleNamespace(monotonic=lambda: time.monotonic() - 3600)
    monkeypatch.setattr("rush_core.connection.clock.time", suspended)
    assert network.now() < before - 3600 + PATIENCE_S
    assert abs(network.fetch_time() - before) < PATIENCE_S
    assert abs(network.now() - before) < PATIENCE_S


@pytest.mark.parametrize("deadline", [math.nan, math.inf, "noon", True])
def test_a_deadline_must_be_a_time(network: Network, worker: Worker, deadline: Any) -> None:
    with pytest.raises(ValueError, match="deadline must be a time"):
        worker.start_task({"x": 1}, deadline=deadline)
    assert network.count_tasks() == (0, 0, 0, 0)
