"""A manager waits for tasks that it names, and the server wakes it."""

import os
import time

import pytest

from rush_core import EmbeddedServer, Network, RushError, Worker
from rush_core.connection.connection import Connection, pack
from tests.fixture_types import Join
from tests.threads import in_background
from tests.waiting import wait_until

PATIENCE_S = 30.0


def working(worker: Worker) -> None:
    """A loop that finishes tasks, fails those with an odd number, and dies with the last one."""
    while task := worker.claim_task():
        if task.config["x"] == "last":
            os._exit(1)
        if task.config["x"] % 2:
            worker.fail_task(task.key, "odd")
        else:
            worker.finish_task(task.key, {"y": 1})


def wait_until_asleep(network: Network) -> None:
    """Wait until a client waits in the server for a change."""
    connection = Connection(network.url)
    wait_until(lambda: b"cmd=blpop" in connection.execute(pack(("CLIENT", "LIST"))), PATIENCE_S)
    connection.close()


def test_the_wait_ends_when_the_last_task_has_ended_in_any_way(network: Network) -> None:
    keys = network.push_tasks([{"x": i} for i in range(100)] + [{"x": "last"}])
    waited = in_background(lambda: network.wait_for_tasks(keys))
    network.start_workers(working, 1)
    waited()
    counts = network.count_tasks()
    assert (counts.finished, counts.failed) == (50, 51)
    network.wait_for_tasks(keys[::7], timeout_s=0.0)
    network.wait_for_tasks([])


def test_only_the_given_tasks_are_waited_for(network: Network, worker: Worker) -> None:
    first, second = network.push_tasks([{"x": 1}, {"x": 2}])
    claimed = [worker.claim_task(), worker.claim_task()]
    assert None not in claimed
    with pytest.raises(TimeoutError, match=rf"1 tasks .* 1 have not ended: '{second}'"):
        network.wait_for_tasks([second], timeout_s=0.01)
    waited = in_background(lambda: network.wait_for_tasks([second], timeout_s=PATIENCE_S))
    worker.finish_task(first, {"y": 1})
    wait_until_asleep(network)
    worker.fail_task(second, "no")
    waited()


def test_the_server_wakes_the_wait(network: Network, worker: Worker) -> None:
    (key,) = network.push_tasks([{"x": 1}])
    worker.claim_task()
    waited = in_background(lambda: network.wait_for_tasks([key], timeout_s=3600.0))
    connection = Connection(network.url)

    def n_commands() -> int:
        text = connection.execute(pack(("INFO", "stats"))).decode()
        return int(text.split("total_commands_processed:")[1].split()[0])

    wait_until_asleep(network)
    before, began = n_commands(), time.monotonic()
    wait_until(lambda: time.monotonic() > began + 0.5)  # a wait that polls would send commands
    assert n_commands() - before <= 2
    worker.finish_task(key, {"y": 1})
    waited()
    connection.close()


def test_another_wait_of_the_same_object_does_not_swallow_the_end(
    network: Network, join: Join
) -> None:
    worker = join()
    keys = network.push_tasks([{"x": i} for i in range(3)])
    for _ in keys:
        worker.claim_task()
    network.wait_for_tasks([], timeout_s=0.0)
    worker.fail_task(keys[0], "no")
    network.fetch_new_tasks(timeout_s=0.01)  # its wait has seen the failed task
    network.wait_for_tasks(keys[:1], timeout_s=PATIENCE_S)


def test_a_task_that_nobody_pushed_is_refused(network: Network) -> None:
    (key,) = network.push_tasks([{"x": 1}])
    with pytest.raises(ValueError, match=r"no task with the key 'nonsense'; give keys"):
        network.wait_for_tasks([key, "nonsense"], timeout_s=PATIENCE_S)


def test_a_reset_ends_the_wait(network: Network, worker: Worker, server: EmbeddedServer) -> None:
    keys = network.push_tasks([{"x": 1}, {"x": 2}])
    worker.claim_task()
    worker.finish_task(keys[0], {"y": 1})
    waited = in_background(lambda: network.wait_for_tasks(keys, timeout_s=PATIENCE_S))
    wait_until_asleep(network)
    with Network(network.network_id, server.url) as other:
        other.reset(workers=False)
        other.push_finished_tasks([{"x": 3}, {"x": 4}], [{"y": 1}] * 2)
    with pytest.raises(RushError, match="was reset while a client waited for 1 tasks"):
        waited()
