"""Worker processes in tests: what they run, who they are, and whether they live."""

import os
import time

import psutil
from waiting import wait_until

from rush_core import Network, Task, Worker, WorkerInfo

PATIENCE_S = 30.0  # for what takes well under a second on an idle machine


def evaluating(worker: Worker) -> None:
    """A loop in the middle of a task that never ends: its running task announces that."""
    worker.start_task({"pid": os.getpid()})
    while True:
        time.sleep(60.0)


def wait_for_tasks(network: Network, n: int) -> dict[str, Task]:
    """Wait until `n` tasks run; return them by worker."""
    wait_until(lambda: network.count_tasks().running == n, PATIENCE_S)
    return {task.worker_id: task for task in network.fetch_tasks("running")}


def info_of(network: Network, worker_id: str) -> WorkerInfo:
    (info,) = [info for info in network.fetch_workers() if info.worker_id == worker_id]
    return info


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
