"""What does coordination cost beside a bare round trip?

Asked: microseconds per operation of `rush_core` on an embedded server's unix socket, in multiples
of the floor, a PING on a raw socket read by hiredis. Expected before measuring: a start below 1.6
floors, a finish below 2, one new task below 1.5 whatever the archive's size, and 10,000 tasks of 10
parameters decoded in less than 30 ms of CPU.

Client and server share one core, because two cores would add the wake-up of a sleeping one to every
round trip. Operations are timed in short blocks whose order is shuffled in every repeat.

Run from the project's root: ``python -m experiments.core_overhead``
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import hiredis
import redis

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import Worker, serve
from rush_core.connection import pack
from rush_core.keys import NetworkKeys

N_CACHED = (10_000, 100_000)
N_PARAMS = 10
CONFIG = {f"x{i}": i * 0.137 for i in range(N_PARAMS)}
RESULT = {"y": 0.3}
BLOCK = 100
PING = b"*1\r\n$4\r\nPING\r\n"

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50, help="blocks per operation")
    parser.add_argument("--core", type=int, default=0, help="the core that both ends share")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    rows: Rows = []
    with serve() as server:
        for n_cached in N_CACHED:
            # In this order: the operations add tasks of their own.
            rows += time_decoding(server.url, n_cached)
            rows += time_operations(server.url, n_cached, arguments.repeats, arguments.seed)
    common = {"seed": arguments.seed, **provenance()}
    append_rows(RAW / "core_overhead.csv", [{**row, **common} for row in rows])
    table = as_markdown(rows, common)
    print(table)
    (TABLES / "core_overhead.md").write_text(table)


def time_operations(url: str, n_cached: int, repeats: int, seed: int) -> Rows:
    """Time single operations in a network with `n_cached` finished tasks."""
    worker = Worker(f"size-{n_cached}", url=url)
    config, result = CONFIG, RESULT
    worker.fetch_finished_tasks()
    worker.fetch_new_tasks()
    raw, client = raw_client(url), redis.Redis.from_url(url)
    client.ping()
    # What another worker's finish looks like from here, sent without running our own code.
    log = NetworkKeys(worker.network_id).finished
    append = pack((b"RPUSH", log, raw(pack((b"LINDEX", log, -1)))))

    def start() -> tuple[str, dict[str, float]]:
        key = worker.start_task(config)
        assert key is not None
        return key, result

    # What has to happen before each timed call, untimed, to make its arguments; and the call.
    nothing: Callable[[], tuple[Any, ...]] = tuple
    operations: dict[str, tuple[Callable[[], tuple[Any, ...]], Callable[..., Any]]] = {
        "floor: PING, raw socket": (lambda: (PING,), raw),
        "PING, redis-py": (nothing, client.ping),
        "start one task": (lambda: (config,), worker.start_task),
        "start one task, with a limit": (
            lambda: (config,),
            functools.partial(worker.start_task, limit=10**9),
        ),
        "finish one task": (start, worker.finish_task),
        "count all states": (nothing, worker.count_tasks),
        "fetch one new": (lambda: (raw(append), ())[1], worker.fetch_finished_tasks),
        "finish and fetch new": (start, worker.finish_and_fetch_new),
    }
    seconds: dict[str, list[float]] = {name: [] for name in operations}
    order = list(operations)
    shuffler = random.Random(seed)
    for _ in range(repeats):
        shuffler.shuffle(order)
        for name in order:
            seconds[name] += time_block(*operations[name])
            running = worker.fetch_tasks("running").keys
            worker.finish_tasks(running, [result] * len(running))
            worker.fetch_finished_tasks()
            worker.fetch_new_tasks()
    client.close()
    worker.close()
    base = statistics.median(seconds["floor: PING, raw socket"])
    return [timing_row(name, n_cached, values, base) for name, values in seconds.items()]


def time_block(prepare: Callable[[], tuple[Any, ...]], call: Callable[..., object]) -> list[float]:
    """Time calls in a row; what has to happen before is done for each of them, untimed."""
    seconds = []
    for _ in range(BLOCK):
        arguments = prepare()
        began = time.perf_counter()
        call(*arguments)
        seconds.append(time.perf_counter() - began)
    return seconds


def time_decoding(url: str, n_cached: int) -> Rows:
    """Fill a network, and measure the CPU time of fetching all of it with nothing cached."""
    records, values = [], []
    with Worker(f"size-{n_cached}", url=url) as worker:
        fill(worker, n_cached)
    for _ in range(7):
        worker = Worker(f"size-{n_cached}", url=url)
        began = time.process_time()
        tasks = worker.fetch_finished_tasks()
        records.append(time.process_time() - began)
        assert len(tasks) == n_cached
        for task in tasks:
            task.config, task.result  # noqa: B018  # decoded at each access
        values.append(time.process_time() - began)
        worker.close()
    return [
        timing_row("fetch all uncached, CPU", n_cached, records, None),
        timing_row("the same, all configs and results read, CPU", n_cached, values, None),
    ]


def timing_row(
    name: str, n_cached: int, seconds: list[float], floor: float | None
) -> dict[str, Any]:
    """Describe the timings of one operation."""
    deciles = statistics.quantiles(seconds, n=10)
    median = statistics.median(seconds)
    return {
        "operation": name,
        "n_finished": n_cached,
        "n_params": N_PARAMS,
        "n": len(seconds),
        "median_us": round(median * 1e6, 2),
        "p10_us": round(deciles[0] * 1e6, 2),
        "p90_us": round(deciles[-1] * 1e6, 2),
        "floors": "" if floor is None else round(median / floor, 2),
    }


def fill(worker: Worker, n: int) -> None:
    """Finish `n` tasks, many at once."""
    for first in range(0, n, 1000):
        size = min(1000, n - first)
        keys = worker.start_tasks([CONFIG] * size)
        worker.finish_tasks(keys, [RESULT] * size)


def raw_client(url: str) -> Callable[[bytes], Any]:
    """Return a function that sends a request on a bare socket and reads the reply with hiredis."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(url.removeprefix("unix://"))
    reader = hiredis.Reader()

    def call(request: bytes) -> Any:
        connection.sendall(request)
        reader.feed(connection.recv(65536))
        return reader.gets()

    return call


def as_markdown(rows: Rows, common: dict[str, Any]) -> str:
    """Make the table that goes with the rows."""
    lines = [
        "# Cost of coordination",
        "",
        f"Medians; client and server on one core of a {common['machine']}, Python "
        f"{common['python']}, {N_PARAMS} parameters. One floor is a PING on a raw socket in the "
        "same run. Rows: `results/raw/core_overhead.csv`, made by `experiments/core_overhead.py`.",
        "",
        "| operation | finished tasks | median, µs | 10 to 90 %, µs | floors |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['operation']} | {row['n_finished']:,} | {row['median_us']:,.1f} | "
            f"{row['p10_us']:,.1f} to {row['p90_us']:,.1f} | {row['floors']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
