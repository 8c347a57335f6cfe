"""The process that forks workers: what happens when it, its supervisor or its workers end."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from rush_core import EmbeddedServer, Network, Worker, WorkerState
from tests.core.processes import (
    PATIENCE_S,
    evaluating,
    info_of,
    is_alive,
    polite,
    wait_for_running_tasks,
)
from tests.waiting import wait_until

GONE_WITHIN_S = 1.0


def leaving_a_child(worker: Worker) -> None:
    """A loop whose child goes on in the process group of the worker."""
    if (child := os.fork()) == 0:
        time.sleep(600.0)
    worker.start_task({"pid": os.getpid(), "child": child})
    evaluating(worker)


def leaving_a_daemon(worker: Worker) -> None:
    """A loop whose child begins a session of its own."""
    if (child := os.fork()) == 0:
        os.setsid()
        time.sleep(600.0)
    worker.start_task({"pid": os.getpid(), "child": child})
    evaluating(worker)


def ending(worker: Worker) -> None:
    """A loop that does nothing."""


def worker_processes(network: Network, n: int) -> list[psutil.Process]:
    """Wait until so many workers run tasks; return their processes."""
    tasks = wait_for_running_tasks(network, n)
    return [psutil.Process(task.config["pid"]) for task in tasks if "pid" in task.config]


@pytest.mark.parametrize("levels_up", [1, 2])
def test_workers_are_gone_and_lost_when_the_process_that_looks_after_them_is_killed(
    levels_up: int, network: Network, pids: list[int]
) -> None:
    worker_ids = network.start_workers(evaluating, 2)
    workers = worker_processes(network, 2)
    pids += [worker.pid for worker in workers]
    killed = workers[0].parents()[levels_up - 1]
    assert "rush_core node" in " ".join(killed.cmdline())
    killed.kill()
    killed_at = time.monotonic()
    wait_until(lambda: not any(map(is_alive, pids)), PATIENCE_S)
    assert time.monotonic() - killed_at < GONE_WITHIN_S
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 0, 2)
    for worker_id in worker_ids:
        info = info_of(network, worker_id)
        assert info.state is WorkerState.LOST
        assert info.reason == "its process was killed by SIGKILL"
    assert sorted(network.detect_lost_workers()) == sorted(worker_ids)
    network.start_workers(evaluating, 1)
    wait_for_running_tasks(network, 1)


def test_a_forking_process_that_is_stopped_is_replaced(network: Network, pids: list[int]) -> None:
    network.start_workers(evaluating, 1)
    (worker,) = worker_processes(network, 1)
    pids.append(worker.pid)
    worker.parent().suspend()
    assert network.join_workers(PATIENCE_S)
    network.start_workers(evaluating, 1)
    wait_for_running_tasks(network, 1)


def test_closing_ends_workers_while_the_forking_process_is_stopped(
    server: EmbeddedServer, network_id: str, pids: list[int]
) -> None:
    with Network(network_id, server.url) as network:
        network.start_workers(evaluating, 1)
        (worker,) = worker_processes(network, 1)
        pids.append(worker.pid)
        worker.parent().suspend()
    assert not is_alive(worker.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_job_lets_workers_end_their_tasks(
    number: int, network: Network
) -> None:
    worker_ids = network.start_workers(polite, 2)
    workers = worker_processes(network, 2)
    for process in (*workers[0].parents()[:2], *workers):
        process.send_signal(number)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 2, 0)
    for worker_id in worker_ids:
        assert info_of(network, worker_id).state is WorkerState.INTERRUPTED


@pytest.mark.parametrize("by", ["the manager", "a signal"])
def test_the_process_group_of_a_worker_ends_with_it(
    by: str, network: Network, pids: list[int]
) -> None:
    leaving, _ = network.start_workers(leaving_a_child, 1)[0], network.start_workers(evaluating, 1)
    tasks = wait_for_running_tasks(network, 3)
    (child,) = {task.config["child"] for task in tasks if "child" in task.config}
    pids.append(child)
    if by == "the manager":
        network.stop_workers([leaving], kill=True)
    else:
        os.kill(info_of(network, leaving).pid, signal.SIGKILL)
        assert network.join_workers(PATIENCE_S, worker_ids=[leaving])
    assert not is_alive(child)


def test_a_daemon_of_a_worker_ends_with_the_last_worker(network: Network, pids: list[int]) -> None:
    network.start_workers(leaving_a_daemon, 1)
    tasks = wait_for_running_tasks(network, 2)
    (child,) = {task.config["child"] for task in tasks if "child" in task.config}
    network.stop_workers(kill=True)
    network.close()
    pids.append(child)


def test_no_worker_that_has_ended_stays_a_zombie(network: Network) -> None:
    """The forking process reaps its children, also those that it inherits from them."""

    def orphaning(worker: Worker) -> None:
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.1)
            os._exit(0)
        evaluating(worker)

    network.start_workers(orphaning, 2)
    workers = worker_processes(network, 2)
    workers[0].kill()
    node = workers[0].parent()

    def family() -> list[psutil.Process]:
        return [process for process in node.children() if process.pid != workers[1].pid]

    wait_until(lambda: not family(), PATIENCE_S)
    assert is_alive(workers[1].pid)


def test_a_worker_that_is_stopped_is_lost_and_the_others_go_on(network: Network) -> None:
    stopped, other = network.start_workers(evaluating, 2)
    wait_for_running_tasks(network, 2)
    os.kill(info_of(network, stopped).pid, signal.SIGSTOP)
    assert network.join_workers(PATIENCE_S, worker_ids=[stopped])
    assert "was stopped by SIGSTOP" in str(info_of(network, stopped).reason)
    assert is_alive(info_of(network, other).pid)


def test_a_worker_that_is_stopped_and_soon_continued_goes_on(network: Network) -> None:
    network.start_workers(polite, 1)
    (worker,) = worker_processes(network, 1)
    for _ in range(3):
        worker.suspend()
        wait_until(lambda: worker.status() == psutil.STATUS_STOPPED)
        worker.resume()
    network.stop_workers()
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 1, 0)


def test_the_forking_process_ends_when_all_workers_have_ended_in_order(
    network: Network, tmp_path: Path
) -> None:
    before = set(psutil.Process().children(recursive=True))
    network.start_workers(ending, 2, log_folder=tmp_path)
    assert network.join_workers(PATIENCE_S)
    wait_until(lambda: not set(psutil.Process().children(recursive=True)) - before, PATIENCE_S)
    network.start_workers(ending, 1)
    assert network.join_workers(PATIENCE_S)
    assert len(network.fetch_workers()) == 3
