"""Worker processes: how they are killed, die, and stop when they are asked to."""

import os
import signal
import time

import pytest

from rush_core import EmbeddedServer, LoopFailedError, Network, TaskState, Worker, WorkerState
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.core.loopback import PASSWORD, LoopbackServer
from tests.core.processes import evaluating, info_of, is_alive, polite, wait_for_running_tasks
from tests.fixture_types import Join, Launch
from tests.waiting import wait_until

PATIENCE_S = 30.0  # for what takes well under a second on an idle machine


def stubborn(worker: Worker) -> None:
    """A loop whose task begins to end at the first signal and takes for ever."""
    key = worker.start_task({"pid": os.getpid()})
    assert key is not None
    wait_until(worker.should_stop, 60.0)
    worker.report_task(key, {"noticed": True})
    while True:
        time.sleep(0.002)


# -- being killed -------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["started", "claimed"])
def test_a_worker_killed_in_the_middle_of_a_task_is_lost_once(
    network: Network, join: Join, point: str
) -> None:
    def loop(worker: Worker, point: str) -> None:
        if point == "started":
            worker.start_task({"x": 1}, limit=1)
        else:
            worker.claim_task(limit=1)
        while True:
            time.sleep(60.0)

    if point == "claimed":
        network.push_tasks([{"x": 1}])
    (worker_id,) = network.start_workers(loop, 1, args=(point,))
    (running,) = wait_for_running_tasks(network)
    survivor = join()
    assert survivor.start_task({"x": 2}, limit=1) is None
    os.kill(info_of(network, worker_id).pid, signal.SIGKILL)
    assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks("failed")
    assert (task.key, task.worker_id, task.config) == (running.key, worker_id, {"x": 1})
    assert task.error == f"worker {worker_id} was lost: its process was killed by SIGKILL"
    assert task.result_extra == {"lost": "lost"}
    info = info_of(network, worker_id)
    assert (info.state, info.reason) == (WorkerState.LOST, "its process was killed by SIGKILL")
    assert info.task_keys == ()
    assert info.ended_at is not None
    assert network.detect_lost_workers() == [worker_id]
    assert network.detect_lost_workers() == []
    assert survivor.start_task({"x": 2}, limit=1) is not None


def test_a_worker_killed_after_finishing_keeps_its_result(network: Network) -> None:
    def loop(worker: Worker) -> None:
        key = worker.start_task({"x": 1})
        assert key is not None
        worker.finish_task(key, {"y": 1})
        while True:
            time.sleep(60.0)

    (worker_id,) = network.start_workers(loop, 1)
    wait_until(lambda: network.count_tasks().finished == 1, PATIENCE_S)
    os.kill(info_of(network, worker_id).pid, signal.SIGKILL)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 1, 0)
    assert network.detect_lost_workers() == [worker_id]


def test_a_worker_that_exits_without_leaving_is_lost(network: Network) -> None:
    def loop(worker: Worker) -> None:
        worker.start_task({"x": 1})
        os._exit(7)

    (worker_id,) = network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks("failed")
    assert task.error == f"worker {worker_id} was lost: its process ended with exit code 7"
    assert info_of(network, worker_id).state is WorkerState.LOST


def test_a_worker_that_was_suspended_while_it_was_removed_cannot_finish(
    network: Network, server: EmbeddedServer
) -> None:
    with Network(network.network_id, server.url) as other:
        (worker_id,) = network.start_workers(polite, 1)
        (running,) = wait_for_running_tasks(network)
        pid = info_of(network, worker_id).pid
        os.kill(pid, signal.SIGSTOP)
        other.stop_workers([worker_id], kill=True)  # no child of `other`: its process goes on
        os.kill(pid, signal.SIGCONT)
        assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks()
    assert (task.key, task.state) == (running.key, TaskState.FAILED)
    assert info_of(network, worker_id).state is WorkerState.KILLED
    assert network.detect_lost_workers() == []


def test_killing_fails_the_tasks_and_ends_the_processes(network: Network, pids: list[int]) -> None:
    killed, spared = network.start_workers(evaluating, 2)
    tasks = {task.worker_id: task for task in wait_for_running_tasks(network, 2)}
    pids += [task.config["pid"] for task in tasks.values()]
    network.stop_workers([killed], kill=True)
    assert not is_alive(tasks[killed].config["pid"])
    assert is_alive(tasks[spared].config["pid"])
    (failed,) = network.fetch_tasks("failed")
    assert failed.key == tasks[killed].key
    assert failed.error == f"worker {killed} was lost: killed by the manager"
    assert info_of(network, killed).state is WorkerState.KILLED
    network.stop_workers(kill=True)
    assert network.join_workers(0.0)
    assert network.count_tasks() == (0, 0, 0, 2)
    assert network.detect_lost_workers() == []


# -- being asked to stop ------------------------------------------------------------------------


def test_workers_asked_to_stop_end_their_tasks_first(network: Network) -> None:
    worker_ids = network.start_workers(polite, 2)
    wait_for_running_tasks(network, 2)
    network.stop_workers()
    assert network.join_workers(PATIENCE_S)
    assert network.fetch_finished_tasks().results == [{"ended": "by itself"}] * 2
    states = {info.worker_id: info.state for info in network.fetch_workers()}
    assert states == dict.fromkeys(worker_ids, WorkerState.STOPPED)


def test_workers_started_after_all_were_asked_to_stop_work_again(network: Network) -> None:
    network.stop_workers()
    network.start_workers(evaluating, 1)
    wait_for_running_tasks(network)


def test_any_number_of_workers_can_be_stopped_by_their_ids(network: Network, join: Join) -> None:
    spared, asked = join(), join()
    with pytest.warns(UserWarning, match=r"'nobody-0', 'nobody-1', 'nobody-2', \.\.\. has joined"):
        network.stop_workers([*(f"nobody-{i}" for i in range(9000)), asked.worker_id])
    assert asked.should_stop()
    assert not spared.should_stop()
    assert not join().should_stop()


def test_a_worker_that_joins_a_stopped_network_stops_until_workers_are_allowed(
    network: Network, join: Join
) -> None:
    network.stop_workers()
    assert join().should_stop()
    network.allow_workers()
    assert not join().should_stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_a_worker_end_its_task(network: Network, number: int) -> None:
    (worker_id,) = network.start_workers(polite, 1)
    (running,) = wait_for_running_tasks(network)
    os.kill(running.config["pid"], number)
    assert network.join_workers(PATIENCE_S)
    assert network.fetch_finished_tasks().results == [{"ended": "by itself"}]
    assert info_of(network, worker_id).state is WorkerState.INTERRUPTED
    assert network.detect_lost_workers() == [worker_id]
    assert network.detect_lost_workers() == []


def test_the_second_signal_fails_the_task_at_once(network: Network) -> None:
    (worker_id,) = network.start_workers(stubborn, 1)
    (running,) = wait_for_running_tasks(network)
    os.kill(running.config["pid"], signal.SIGTERM)
    wait_until(network.fetch_new_reports, PATIENCE_S)
    os.kill(running.config["pid"], signal.SIGTERM)
    assert network.join_workers(PATIENCE_S)
    (failed,) = network.fetch_tasks("failed")
    assert "stopped at once by SIGTERM" in str(failed.error)
    info = info_of(network, worker_id)
    assert info.state is WorkerState.INTERRUPTED
    assert "SIGTERM" in str(info.reason)
    assert network.detect_lost_workers() == [worker_id]
    assert network.detect_lost_workers() == []


def test_a_signal_wakes_a_worker_that_waits_for_a_task(network: Network) -> None:
    def loop(worker: Worker) -> None:
        while not worker.should_stop():
            assert worker.claim_task(timeout_s=600.0) is None
        assert worker.claim_task() is None  # also if a task comes later

    (worker_id,) = network.start_workers(loop, 1)
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    wait_until(lambda: connection.execute(pack(("ZCARD", keys.idle))), PATIENCE_S)
    os.kill(info_of(network, worker_id).pid, signal.SIGTERM)
    wait_until(lambda: info_of(network, worker_id).state is not WorkerState.RUNNING, PATIENCE_S)
    network.push_tasks([{"x": 1}])
    assert network.join_workers(PATIENCE_S)
    assert info_of(network, worker_id).reason == ""
    assert network.count_tasks() == (1, 0, 0, 0)
    connection.close()


def test_a_signal_while_the_server_is_away_lets_a_worker_end_its_task(
    loopback_server: LoopbackServer, network_id: str, launch: Launch
) -> None:
    with Network(network_id, loopback_server.url) as network:
        process = launch(network.worker_command(polite), RUSH_REDIS_PASSWORD=PASSWORD)
        (task,) = wait_for_running_tasks(network)
        loopback_server.kill()
        os.kill(task.config["pid"], signal.SIGTERM)
        loopback_server.start()
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        assert network.fetch_finished_tasks().results == [{"ended": "by itself"}]


def test_an_exception_in_the_loop_fails_its_task_with_the_traceback(network: Network) -> None:
    def evaluate() -> None:
        raise ValueError("no such learner")

    def loop(worker: Worker) -> None:
        worker.start_task({"x": 1})
        evaluate()

    (worker_id,) = network.start_workers(loop, 1)
    with pytest.raises(LoopFailedError):
        network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks("failed")
    assert "Traceback" in str(task.error)
    assert "in evaluate" in str(task.error)
    assert "ValueError: no such learner" in str(task.error)
    info = info_of(network, worker_id)
    assert info.state is WorkerState.STOPPED
    assert "ValueError: no such learner" in str(info.reason)
