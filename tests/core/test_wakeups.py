"""Who waits in the server sleeps there, and is woken by what it waits for."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rush_core import Heartbeat, Network, Task, Worker, WorkerLostError
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.fixture_types import Join
from tests.interrupting import interrupted_after
from tests.threads import in_background
from tests.waiting import wait_until

PATIENCE_S = 30.0  # for what takes well under a second on an idle machine


def wait_for_sleeper(network: Network, place: str, n: int = 1) -> None:
    """Wait until the server holds the names of `n` waiting clients."""
    connection = Connection(network.url)
    sleepers = getattr(NetworkKeys(network.network_id), place)
    count = pack(("ZCARD" if place == "idle" else "SCARD", sleepers))
    wait_until(lambda: connection.execute(count) == n, PATIENCE_S)
    connection.close()


def assert_wakes_a_claim(
    network: Network, waiting: Worker, push: Callable[[list[dict[str, Any]]], list[str]]
) -> None:
    claimed = in_background(lambda: waiting.claim_task(timeout_s=600.0))
    wait_for_sleeper(network, "idle")
    (key,) = push([{"x": 1}])
    task = claimed()
    assert isinstance(task, Task)
    assert task.key == key


def test_a_waiting_claim_wakes_when_a_task_is_pushed(network: Network, worker: Worker) -> None:
    assert_wakes_a_claim(network, worker, push=network.push_tasks)


@pytest.mark.parametrize("named", [True, False])
def test_a_waiting_claim_wakes_when_the_worker_is_asked_to_stop(
    network: Network, worker: Worker, named: bool
) -> None:
    claimed = in_background(lambda: worker.claim_task(timeout_s=600.0))
    wait_for_sleeper(network, "idle")
    network.stop_workers([worker.worker_id] if named else None)
    assert claimed() is None
    assert worker.should_stop()


@pytest.mark.parametrize("end", ["lost", "reset"])
def test_a_waiting_claim_wakes_when_its_worker_is_put_out(network: Network, end: str) -> None:
    def claim() -> object:
        try:
            return worker.claim_task(timeout_s=600.0)
        except WorkerLostError as error:
            return error

    beat = Heartbeat(period_s=0.02, expire_s=0.1)
    with Worker(network.network_id, url=network.url, heartbeat=beat) as worker:
        assert worker._heart is not None
        worker._heart.close()
        claimed = in_background(claim)
        wait_for_sleeper(network, "idle")
        if end == "lost":
            wait_until(network.detect_lost_workers, PATIENCE_S)
        else:
            network.reset()
        assert isinstance(claimed(), WorkerLostError)


def test_waiting_for_new_tasks_ends_when_the_network_is_reset(
    network: Network, worker: Worker
) -> None:
    worker.fetch_new_tasks(timeout_s=0.01)  # nothing is new any more
    waited = in_background(lambda: worker.fetch_new_tasks(timeout_s=600.0).keys)
    wait_for_sleeper(network, "waiting")
    network.reset()
    assert waited() == []


def test_each_pushed_task_wakes_one_of_several_waiting_claims(network: Network, join: Join) -> None:
    workers = [join() for _ in range(3)]
    claims = [in_background(partial(w.claim_task, timeout_s=600.0)) for w in workers]
    wait_for_sleeper(network, "idle", 3)
    network.push_tasks([{"x": 1}, {"x": 2}])
    wait_until(lambda: network.count_tasks().running == 2, PATIENCE_S)
    wait_for_sleeper(network, "idle", 1)
    network.stop_workers()
    claimed = [claim() for claim in claims]
    assert sorted(task.config["x"] for task in claimed if isinstance(task, Task)) == [1, 2]


@pytest.mark.parametrize("limit", [2, None])
def test_a_pushed_task_wakes_a_claim_that_has_a_place_for_it(
    network: Network, join: Join, limit: int | None
) -> None:
    holder, roomy = join(), join("a")  # neither its name nor the order in which they came decides
    assert holder.start_task({"x": 0})
    full = [join(f"z{i}") for i in range(4)]
    claims = [in_background(partial(w.claim_task, timeout_s=600.0, limit=1)) for w in full]
    wait_for_sleeper(network, "idle", 4)
    claimed = in_background(lambda: roomy.claim_task(timeout_s=600.0, limit=limit))
    wait_for_sleeper(network, "idle", 5)
    (key,) = network.push_tasks([{"x": 1}])
    task = claimed()
    assert isinstance(task, Task)
    assert task.key == key
    wait_for_sleeper(network, "idle", 4)
    network.stop_workers()
    assert [claim() for claim in claims] == [None] * 4


def test_a_worker_that_was_asked_to_stop_waits_for_nothing(
    network: Network, worker: Worker
) -> None:
    worker.fetch_new_tasks(timeout_s=0.01)  # nothing is new any more
    assert not worker.should_stop()
    network.stop_workers()
    assert in_background(lambda: len(worker.fetch_new_tasks(timeout_s=600.0)))() == 0
    assert worker.should_stop()


def test_a_claim_sleeps_while_what_waits_is_beyond_the_budget(network: Network, join: Join) -> None:
    holder, waiting = join(), join()
    network.push_tasks([{"x": 1}, {"x": 2}])
    assert holder.claim_task(limit=1) is not None
    claimed = in_background(lambda: waiting.claim_task(timeout_s=600.0, limit=1))
    wait_for_sleeper(network, "idle")  # although a task waits
    holder.close()  # its task is lost, which gives its place back
    task = claimed()
    assert isinstance(task, Task)
    assert task.config == {"x": 2}


def test_a_claimed_task_starts_when_its_worker_wakes_and_not_when_it_went_to_sleep(
    network: Network, worker: Worker
) -> None:
    claimed = in_background(lambda: worker.claim_task(timeout_s=600.0))
    wait_for_sleeper(network, "idle")
    before = network.now()
    wait_until(lambda: network.now() > before + 0.1)
    network.push_tasks([{"x": 1}])
    task = claimed()
    assert isinstance(task, Task)
    assert task.started_at is not None
    assert task.started_at > before + 0.05  # the clocks agree to about a round trip


def test_a_worker_that_pushes_wakes_a_waiting_claim(network: Network, join: Join) -> None:
    assert_wakes_a_claim(network, join(), push=join().push_tasks)


def test_a_claim_that_waits_in_vain_ends_in_time(network: Network, worker: Worker) -> None:
    before = time.monotonic()
    assert worker.claim_task(timeout_s=0.2) is None
    assert 0.2 <= time.monotonic() - before < PATIENCE_S


@pytest.mark.parametrize("end", ["finish", "push"])
def test_waiting_for_new_tasks_ends_when_one_is_finished(
    network: Network, worker: Worker, end: str
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    network.fetch_new_tasks(timeout_s=0.01)
    waited = in_background(lambda: network.fetch_new_tasks(timeout_s=600.0).configs)
    wait_for_sleeper(network, "waiting")
    if end == "finish":
        worker.finish_task(key, {"y": 1})
    else:
        network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert waited() == [{"x": 1}]


@pytest.mark.parametrize("event", ["fail", "leave", "join", "clear"])
def test_waiting_for_new_tasks_ends_when_something_else_happens(
    network: Network, worker: Worker, join: Join, event: str
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    network.push_tasks([{"x": 2}])
    network.fetch_new_tasks(timeout_s=0.01)
    waited = in_background(lambda: network.fetch_new_tasks(timeout_s=600.0).keys)
    wait_for_sleeper(network, "waiting")
    if event == "fail":
        worker.fail_task(key, "no")
    elif event == "leave":
        worker.close()
    elif event == "join":
        join()
    else:
        network.clear_queue()
    assert waited() == []


def test_waiting_for_new_tasks_does_not_begin_when_there_are_some(
    network: Network, worker: Worker
) -> None:
    keys = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert worker.fetch_new_tasks(timeout_s=600.0).keys == keys
    assert network.fetch_new_tasks(timeout_s=600.0).keys == keys


def test_a_network_that_waits_can_be_used_by_other_threads(network: Network) -> None:
    waited = in_background(lambda: network.fetch_new_tasks(timeout_s=600.0).keys)
    wait_for_sleeper(network, "waiting")
    assert network.count_tasks() == (0, 0, 0, 0)
    keys = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert waited() == keys


def test_who_leaves_between_two_waits_is_not_waited_for(
    network: Network, join: Join, worker: Worker
) -> None:
    leaving = join()
    network.fetch_new_tasks(timeout_s=PATIENCE_S)  # of both that joined
    leaving.close()
    asked = time.monotonic()
    assert not network.fetch_new_tasks(timeout_s=PATIENCE_S)
    assert time.monotonic() - asked < PATIENCE_S / 2


# -- interrupts ------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """What an interrupt in the middle of a request raises here."""


def test_an_interrupt_in_the_middle_of_a_request_does_not_mix_up_replies(
    network: Network, worker: Worker
) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    def raise_when_asleep() -> None:
        wait_for_sleeper(network, "idle")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        raising = in_background(raise_when_asleep)
        with pytest.raises(Interrupted):
            worker.claim_task(timeout_s=600.0)
        raising()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert worker.count_tasks() == (0, 0, 0, 0)
    keys = network.push_tasks([{"x": 1}, {"x": 2}])
    tasks = [worker.claim_task(), worker.claim_task(timeout_s=0.01)]
    assert [task and task.key for task in tasks] == keys
    for key in keys:
        assert worker.finish_task(key, {"y": 1})


def test_keyboard_interrupts_at_any_moment_leave_a_sound_worker(
    network: Network, join: Join
) -> None:
    """Interrupted loops of requests: whatever the moment, the next request gets its own reply."""

    worker = join()
    for i in range(40):
        with contextlib.suppress(KeyboardInterrupt), interrupted_after(0.001 + i * 1e-4):
            while True:
                key = worker.start_task({"x": i})
                assert key is not None
                assert worker.finish_task(key, {"y": i})
        counts = worker.count_tasks()
        assert len(counts) == 4
        assert worker.fetch_tasks("running").keys == [
            task.key for task in network.fetch_tasks("running")
        ]
    keys = network.fetch_tasks().keys
    assert len(set(keys)) == len(keys)
