"""Workers inside executors of `concurrent.futures`: run, watched, stopped, killed, closed."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from rush_core import EmbeddedServer, Heartbeat, LoopFailedError, Network, Worker, WorkerState
from tests.core.processes import insisting, polite, wait_for_running_tasks
from tests.waiting import wait_until

PATIENCE_S = 30.0
QUICK = Heartbeat(period_s=0.02, expire_s=1.0)


def sharing(worker: Worker, factor: int, *, limit: int) -> None:
    """A loop that ends with the budget."""
    while key := worker.start_task({"pid": os.getpid()}, limit=limit):
        worker.finish_task(key, {"factor": factor})


def raising(worker: Worker) -> None:
    """A loop whose objective is broken."""
    worker.start_task({})
    raise ValueError("no such learner")


def states(network: Network) -> set[WorkerState]:
    return {info.state for info in network.fetch_workers()}


@pytest.fixture
def processes(network: Network) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool
        network.close()


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Executor:
    pool: Executor = request.getfixturevalue(request.param)
    return pool


def test_workers_of_an_executor_share_the_budget_and_leave(
    network: Network, executor: Executor
) -> None:
    worker_ids = network.start_workers(
        sharing, 2, args=(3,), kwargs={"limit": 31}, executor=executor, heartbeat=QUICK
    )
    network.wait_for_workers(timeout_s=PATIENCE_S)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 31, 0)
    assert {(r or {})["factor"] for r in network.fetch_finished_tasks().results} == {3}
    workers = network.fetch_workers()
    assert sorted(info.worker_id for info in workers) == sorted(worker_ids)
    assert {info.heartbeat_s for info in workers} == {QUICK.expire_s}
    assert states(network) == {WorkerState.STOPPED}
    own = {info.pid == os.getpid() for info in workers}
    assert own == {isinstance(executor, ThreadPoolExecutor)}
    assert network.detect_lost_workers() == []


def test_an_exception_in_the_loop_fails_its_task_and_is_reported(
    network: Network, executor: Executor
) -> None:
    (worker_id,) = network.start_workers(raising, 1, executor=executor, heartbeat=QUICK)
    with pytest.raises(LoopFailedError, match="ValueError: no such learner") as error:
        network.join_workers(PATIENCE_S)
    assert error.value.key == worker_id
    network.wait_for_workers(timeout_s=PATIENCE_S)  # it did join
    (task,) = network.fetch_tasks("failed")
    assert "Traceback" in str(task.error)
    assert str(task.error).endswith("ValueError: no such learner")
    assert task.result_extra == {"lost": "stopped"}  # it does not count for the budget
    (info,) = network.fetch_workers()
    assert info.state is WorkerState.STOPPED
    assert "ValueError: no such learner" in str(info.reason)
    assert network.detect_lost_workers() == []


def test_workers_asked_to_stop_end_their_tasks(network: Network, executor: Executor) -> None:
    worker_ids = network.start_workers(polite, 2, executor=executor, heartbeat=QUICK)
    tasks = {task.worker_id: task for task in wait_for_running_tasks(network, 2)}
    assert not network.join_workers(0.0)
    network.stop_workers(worker_ids[:1])
    wait_until(lambda: network.count_tasks().finished == 1, PATIENCE_S)
    assert network.fetch_tasks("finished").keys == [tasks[worker_ids[0]].key]
    network.stop_workers()
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 2, 0)
    assert states(network) == {WorkerState.STOPPED}


def test_a_wait_for_some_workers_ignores_others(network: Network, executor: Executor) -> None:
    asked, spared = network.start_workers(polite, 2, executor=executor, heartbeat=QUICK)
    wait_for_running_tasks(network, 2)
    network.stop_workers([asked])
    assert network.join_workers(PATIENCE_S, worker_ids=[asked, "somebody else's"])
    assert network.count_tasks().running == 1
    assert not network.join_workers(0.0, worker_ids=[spared])
    network.stop_workers()
    assert network.join_workers(PATIENCE_S, worker_ids=[spared])
    assert network.join_workers(0.0)


def test_killed_workers_lose_their_tasks_at_once_and_end_at_their_next_call(
    network: Network, executor: Executor
) -> None:
    killed, spared = network.start_workers(insisting, 2, executor=executor, heartbeat=QUICK)
    wait_for_running_tasks(network, 2)
    network.stop_workers([killed], kill=True)
    assert [task.worker_id for task in network.fetch_tasks("failed")] == [killed]
    assert [task.worker_id for task in network.fetch_tasks("running")] == [spared]
    network.stop_workers(kill=True)
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 0, 2)
    assert states(network) == {WorkerState.KILLED}
    assert network.detect_lost_workers() == []


@pytest.mark.parametrize("end", ["close", "reset"])
def test_workers_end_without_error_after_their_manager_was_closed(
    server: EmbeddedServer, network_id: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool, Network(network_id, server.url) as network:
        network.start_workers(polite, 1, executor=pool, heartbeat=QUICK)
        wait_for_running_tasks(network)
        pool.submit(ended.set)  # runs when the worker's place is free
        if end == "close":
            network.close()
        else:
            network.reset()
            assert network.fetch_workers() == []
        assert ended.wait(PATIENCE_S)
        # The end of the first call was handled before the next call begins.
        assert [record for record in caplog.records if record.exc_info] == []
    with Network(network_id, server.url) as later:
        expected = (0, 0, 0, 1) if end == "close" else (0, 0, 0, 0)
        assert later.count_tasks() == expected
        assert states(later) == ({WorkerState.KILLED} if end == "close" else set())


def test_a_killed_process_of_a_pool_is_found_lost(
    network: Network, processes: ProcessPoolExecutor
) -> None:
    network.start_workers(polite, 2, executor=processes, heartbeat=QUICK)
    killed, _ = wait_for_running_tasks(network, 2)
    os.kill(killed.config["pid"], signal.SIGKILL)
    found: set[str] = set()

    def is_found() -> bool:
        # By its heartbeat, or sooner if the pool notices and breaks.
        found.update(network.detect_lost_workers())
        return killed.worker_id in found

    wait_until(is_found, PATIENCE_S)
    failed = {task.key: task for task in network.fetch_tasks("failed")}[killed.key]
    assert failed.result_extra == {"lost": "lost"}
    assert "BrokenProcessPool" in str(failed.error) or "its heartbeat expired" in str(failed.error)
    (info,) = [info for info in network.fetch_workers() if info.worker_id == killed.worker_id]
    assert (info.state, info.pid) == (WorkerState.LOST, killed.config["pid"])


def test_a_hanging_process_of_a_pool_is_found_lost_when_its_heartbeat_expires(
    network: Network, processes: ProcessPoolExecutor
) -> None:
    network.start_workers(polite, 1, executor=processes, heartbeat=QUICK)
    (task,) = wait_for_running_tasks(network)
    os.kill(task.config["pid"], signal.SIGSTOP)
    try:
        found = wait_until(network.detect_lost_workers, PATIENCE_S)
    finally:
        os.kill(task.config["pid"], signal.SIGCONT)
    assert found == [task.worker_id]
    assert network.join_workers(PATIENCE_S)  # it noticed, and its result was discarded
    assert network.count_tasks() == (0, 0, 0, 1)


def talking(worker: Worker, n_workers: int) -> None:
    """A loop that logs its own name while all other workers run."""
    worker.start_task({})
    wait_until(lambda: sum(worker.count_tasks()) >= n_workers, 60.0)
    logging.getLogger("study").info("I am %s", worker.worker_id)
    worker.start_task({})
    wait_until(lambda: sum(worker.count_tasks()) >= 2 * n_workers, 60.0)


def test_each_thread_sends_its_own_log_records(
    network: Network, threads: ThreadPoolExecutor
) -> None:
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    worker_ids = network.start_workers(talking, 2, args=(2,), executor=threads, heartbeat=QUICK)
    assert network.join_workers(PATIENCE_S)
    records = network.read_log()
    assert sorted(r.worker_id for r in records) == sorted(worker_ids)
    assert all(record.message == f"I am {record.worker_id}" for record in records)
    assert logging.getLogger().level == level
    assert logging.getLogger().handlers == handlers


def test_an_option_without_effect_is_refused_and_nothing_is_started(
    network: Network, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"log_folder=.* is for processes on this machine"):
        network.start_workers(polite, 1, executor=threads, log_folder=tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
    assert network.fetch_workers() == []
