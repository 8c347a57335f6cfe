"""Worker processes in tests: what they run, who they are, and whether they live."""

import os
import time

import psutil

from rush_core import Network, Task, Worker, WorkerInfo
from tests.waiting import wait_until

PATIENCE_S = 30.0  # for what takes well under a second on an idle machine


def evaluating(worker: Worker) -> None:
    """A loop in the middle of a task that never ends: its running task announces that."""
    worker.start_task({"pid": os.getpid()})
    while True:
        time.sleep(60.0)


def polite(worker: Worker) -> None:
    """A loop in the middle of a task that ends when the worker is asked to stop."""
    key = worker.start_task({"pid": os.getpid()})
    assert key is not None
    wait_until(worker.should_stop, 60.0)
    worker.finish_task(key, {"ended": "by itself"})


def insisting(worker: Worker) -> None:
    """A loop in the middle of a task that it goes on with until nobody wants it any more."""
    worker.start_task({"pid": os.getpid()})
    while not worker.is_lost:
        worker.should_stop()
        time.sleep(0.002)


def sharing(worker: Worker, limit: int) -> None:
    """A loop that ends with the budget."""
    while key := worker.start_task({"x": 1}, limit=limit):
        worker.finish_task(key, {"y": 1})


def wait_for_running_tasks(network: Network, n: int = 1) -> list[Task]:
    """Wait until so many tasks run; return them."""
    wait_until(lambda: network.count_tasks().running == n, PATIENCE_S)
    return list(network.fetch_tasks("running"))


def info_of(network: Network, worker_id: str) -> WorkerInfo:
    (info,) = [info for info in network.fetch_workers() if info.worker_id == worker_id]
    return info


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
