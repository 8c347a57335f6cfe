"""Real workers in processes of their own, as fast as they can."""

from __future__ import annotations

import time
from typing import Any

from experiments.core_load.watched import watched_server
from experiments.raw_socket import CONFIG, RESULT
from rush_core import Network, Worker

WARM_UP_S, WINDOW_S = 1.0, 4.0
JOIN_TIMEOUT_S = 120.0


def loop(worker: Worker) -> None:
    """Evaluate a free objective, knowing all results of everybody."""
    while not worker.should_stop():
        key = worker.start_task(CONFIG)
        if key is None:
            break
        worker.finish_and_fetch_new(key, RESULT)


def measure_processes(n_workers: int) -> dict[str, Any]:
    """Count the tasks that so many worker processes finish per second; cores as they come."""
    with watched_server() as server, Network("processes", server.url) as network:
        network.start_workers(loop, n_workers)
        network.wait_for_workers(n_workers, timeout_s=JOIN_TIMEOUT_S)
        time.sleep(WARM_UP_S)
        used_s, waited_s, began = server.cpu_s(), server.waited_s(), time.monotonic()
        n_finished = network.count_tasks().finished
        time.sleep(WINDOW_S)
        n_finished = network.count_tasks().finished - n_finished
        window_s = time.monotonic() - began
        used_s, waited_s = server.cpu_s() - used_s, server.waited_s() - waited_s
        network.stop_workers()
        network.join_workers(timeout_s=JOIN_TIMEOUT_S)
        return {
            "n": n_finished,
            "achieved_per_s": n_finished / window_s,
            "records_per_s": n_workers * n_finished / window_s,
            "server_cpu": used_s / window_s,
            "server_wait": waited_s / window_s,
            "server_peak_mb": server.peak_mb(),
            "window_s": window_s,
            "server": server.version,
        }
