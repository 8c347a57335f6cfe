"""What does coordination cost, compared with a bare round trip?

Measured: microseconds per operation of `rush_core` on an embedded server's unix socket, in
multiples of the floor, a PING on a raw socket; the CPU time of fetching everything; and the
server's memory per task. The grid is that of R rush's own benchmark: parameters, numbers per
parameter, tasks. Expected before measuring: the bounds in `BOUNDS`.

Client and server share one core, because with two cores every round trip would also wake a sleeping
core. Operations and floors are timed in short blocks, whose order is shuffled in every repeat. So
each cell is compared with a floor of the same time.

Cells whose numbers alone take more than `MOST_BYTES` are not measured; their rows have the reason
in place of a value. Run from the project's root: ``python -m experiments.core_overhead``
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import redis

from experiments import core_overhead_report as report
from experiments.provenance import RAW, append_rows, provenance
from experiments.raw_socket import PING, RESULT, raw_client
from rush_core import Network, Worker, serve
from rush_core.connection.connection import pack, parse_info
from rush_core.keys import NetworkKeys

N_PARAMS = (1, 10, 100)
N_NUMBERS = (1, 10, 100, 1_000, 10_000)
N_TASKS = (1, 10, 100, 1_000, 10_000, 100_000)
MOST_BYTES = 100e6  # of one network's numbers, 8 bytes each
BLOCK = 20

Cell = tuple[int, int, int]  # parameters, numbers per parameter, finished tasks
Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=8, help="blocks per operation and cell")
    parser.add_argument("--core", type=int, default=0, help="the core that both ends share")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    common = {"seed": arguments.seed, **provenance()}
    rows: Rows = []
    with serve() as server:
        common["server"] = server_version(server.url)
        for cell in itertools.product(N_PARAMS, N_NUMBERS, N_TASKS):
            rows += measure(server.url, cell, arguments.repeats, arguments.seed)
    rows = [{**row, **common} for row in rows]
    append_rows(RAW / "core_overhead_grid.csv", rows)
    report.write(rows)


def measure(url: str, cell: Cell, repeats: int, seed: int) -> Rows:
    """Measure everything in one cell of the grid, in a network of its own."""
    n_params, n_numbers, n_tasks = cell
    if n_params * n_numbers * n_tasks * 8 > MOST_BYTES:
        return [row("all", cell, [], "", reason=f"its numbers take more than {MOST_BYTES:.0e} B")]
    value = 0.137 if n_numbers == 1 else np.linspace(0.0, 1.0, n_numbers)
    config = {f"x{i}": value for i in range(n_params)}
    network_id = "grid-" + "-".join(map(str, cell))
    with Network(network_id, url=url) as network:
        rows = measure_memory(url, network_id, cell, config)
        rows += time_fetching(url, network_id, cell)
        more = 4 if cell == report.BOUND_CELL else 1
        rows += time_operations(url, network, cell, config, more * repeats, seed)
        network.reset()
    gc.collect()
    return rows


def measure_memory(url: str, network_id: str, cell: Cell, config: dict[str, Any]) -> Rows:
    """Fill the network; compare the server's memory with the bytes of the records."""
    raw = raw_client(url)
    before = dataset_bytes(raw)
    with Worker(network_id, url=url, heartbeat=None) as worker:
        fill(worker, config, cell[2])
    after = dataset_bytes(raw)
    log = NetworkKeys(network_id).finished
    n_tasks = cell[2]
    record = len(raw(pack((b"LINDEX", log, -1))))
    usage = raw(pack((b"MEMORY", b"USAGE", log, b"SAMPLES", 0)))
    per_task = {
        "record": record,
        "server memory per task, MEMORY USAGE of the log": usage / n_tasks,
        "server memory per task, growth of the data set": (after - before) / n_tasks,
    }
    return [
        row(name, cell, [number], "bytes", floor=None if name == "record" else record)
        for name, number in per_task.items()
    ]


def time_fetching(url: str, network_id: str, cell: Cell) -> Rows:
    """Measure the CPU time of fetching all with nothing cached."""
    n_params, n_numbers, n_tasks = cell
    names = [f"x{i}" for i in range(n_params)]
    records, matrices = [], []
    for _ in range(5 if n_tasks >= 10_000 else 20):
        with Worker(network_id, url=url, heartbeat=None) as worker:
            began = time.process_time()
            tasks = worker.fetch_finished_tasks()
            records.append((time.process_time() - began) * 1e6)
            assert len(tasks) == n_tasks
            if n_numbers == 1:
                X = tasks.to_numpy(names)
                matrices.append((time.process_time() - began) * 1e6)
                assert X.shape == (n_tasks, n_params)
        del tasks
    reason = "" if matrices else "parameters of several numbers are no column of a matrix"
    return [
        row("fetch all uncached, to records", cell, records, "CPU us"),
        row("fetch all uncached, to a float matrix", cell, matrices, "CPU us", reason=reason),
    ]


def time_operations(
    url: str, network: Network, cell: Cell, config: dict[str, Any], repeats: int, seed: int
) -> Rows:
    """Time single operations beside both floors, in shuffled blocks."""
    worker = Worker(network.network_id, url=url, heartbeat=None)
    raw, client = raw_client(url), redis.Redis.from_url(url)
    worker.fetch_finished_tasks()
    worker.fetch_new_tasks()
    keys = NetworkKeys(network.network_id)
    # What another worker's finish looks like from here, sent without running our own code.
    append = pack((b"RPUSH", keys.finished, raw(pack((b"LINDEX", keys.finished, -1)))))
    size = cell[0] * cell[1] * 8
    # Large configurations take milliseconds: fewer of them are as exact.
    block = max(2, min(BLOCK, int(1e6 / size)))
    repeats = max(2, min(repeats, int(2e7 / size)))

    def started() -> str:
        key = worker.start_task(config)
        assert key is not None
        return key

    def step(key: str) -> None:
        worker.finish_and_fetch_new(key, RESULT)
        worker.start_task(config)

    # What has to happen before each timed call, untimed, to make its arguments; and the call.
    operations: dict[str, tuple[Callable[[], tuple[Any, ...]], Callable[..., Any]]] = {
        report.FLOOR: (lambda: (PING,), raw),
        "PING, redis-py": (tuple, client.ping),
        "create one running task": (lambda: (config,), worker.start_task),
        "create one running task, with a limit": (
            lambda: (config,),
            functools.partial(worker.start_task, limit=10**9),
        ),
        "finish": (lambda: (started(), RESULT), worker.finish_task),
        "fail": (lambda: (started(), "it did not converge"), worker.fail_task),
        "claim of a waiting task": (
            lambda: (network.push_tasks([config]), ())[1],
            worker.claim_task,
        ),
        "whole step: finish and fetch new, then start": (lambda: (started(),), step),
        "count": (tuple, worker.count_tasks),
        "fetch one new": (lambda: (raw(append), ())[1], worker.fetch_finished_tasks),
    }
    microseconds: dict[str, list[float]] = {name: [] for name in operations}
    order = list(operations)
    shuffler = random.Random(seed)
    for _ in range(repeats):
        shuffler.shuffle(order)
        for name in order:
            microseconds[name] += time_block(*operations[name], block)
            raw(pack((b"DEL", keys.running, keys.failed)))
            if (
                cell[2] < 10_000
            ):  # elsewhere a few more make no difference, and reading anew is slow
                raw(pack((b"LTRIM", keys.finished, 0, cell[2] - 1)))
            worker.fetch_finished_tasks()
            worker.fetch_new_tasks()
    client.close()
    worker.close()
    floor = statistics.median(microseconds[report.FLOOR])
    return [row(name, cell, values, "us", floor=floor) for name, values in microseconds.items()]


def time_block(
    prepare: Callable[[], tuple[Any, ...]], call: Callable[..., object], n: int
) -> list[float]:
    """Time `n` calls in a row; what has to happen before is done for each of them, untimed."""
    microseconds = []
    for _ in range(n):
        arguments = prepare()
        began = time.perf_counter()
        call(*arguments)
        microseconds.append((time.perf_counter() - began) * 1e6)
    return microseconds


def row(
    operation: str,
    cell: Cell,
    values: list[float],
    unit: str,
    *,
    floor: float | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """Describe the measurements of one operation in one cell; without any, say the reason."""
    deciles = (
        statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
    )
    median = statistics.median(values) if values else None
    return {
        "operation": operation,
        "n_params": cell[0],
        "n_numbers": cell[1],
        "n_finished": cell[2],
        "n": len(values),
        "median": "" if median is None else round(median, 2),
        "p10": round(deciles[0], 2) if deciles else "",
        "p90": round(deciles[-1], 2) if deciles else "",
        "unit": unit,
        "floors": "" if floor is None or median is None else round(median / floor, 3),
        "reason": reason,
    }


def fill(worker: Worker, config: dict[str, Any], n: int) -> None:
    """Finish `n` tasks, many at once."""
    at_once = max(1, min(1000, int(1e7 / len(config) / np.size(config["x0"]) / 8)))
    for first in range(0, n, at_once):
        size = min(at_once, n - first)
        keys = worker.start_tasks([config] * size)
        worker.finish_tasks(keys, [RESULT] * size)


def dataset_bytes(raw: Callable[[bytes], Any]) -> int:
    """Return what the server says its data take, without its own needs."""
    return int(parse_info(raw(pack((b"INFO", b"memory"))).decode())["used_memory_dataset"])


def server_version(url: str) -> str:
    """Name the server and its version."""
    info = parse_info(raw_client(url)(pack((b"INFO", b"server"))).decode())
    return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"


if __name__ == "__main__":
    main()
