"""What are the parts of a transition's round trip?

Measured: the shares of the bare round trip, of the server's script, of each command in it, and of
the client in a start and a finish; whether the range read of a worker's step is cheaper inside the
finish script or after it in the same send; and the cost of plain commands in a transaction, which
cannot check the epoch and the budget. Expected before measuring: each command in a script costs
half a microsecond, and a read inside the script saves the dispatch of the second command.

Client and server share one core. Each request is prepared before its time is taken, and has a new
key. Blocks are in shuffled order.

Run from the project's root: ``python -m experiments.script_floor``
"""

from __future__ import annotations

import argparse
import importlib.resources
import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from experiments.provenance import RAW, TABLES, append_rows, provenance
from experiments.raw_socket import CONFIG, PING, RESULT, raw_client
from rush_core import Worker, serve
from rush_core.connection.connection import pack
from rush_core.connection.script import Script
from rush_core.kernel.codec import encode
from rush_core.kernel.shared_log import SharedLogs
from rush_core.kernel.task import finished_end, running_record
from rush_core.keys import NetworkKeys

BLOCK = 50

GUARD = "if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return -1 end "
COUNT = "redis.call('INCR', KEYS[2]) "
WRITE = "redis.call('HSET', KEYS[3], ARGV[5], ARGV[6]) "

# What comes before each timed call, untimed, to make its arguments; and the call.
Operation = tuple[Callable[[], tuple[Any, ...]], Callable[..., Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="blocks per step")
    parser.add_argument("--core", type=int, default=0, help="the core that both ends share")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    with serve() as server:
        seconds = time_steps(server.url, arguments.repeats, arguments.seed)
    common = {"seed": arguments.seed, **provenance()}
    rows = as_rows(seconds)
    append_rows(RAW / "script_floor.csv", [{**row, **common} for row in rows])
    table = as_markdown(rows, common)
    print(table)
    (TABLES / "script_floor.md").write_text(table)


def time_steps(url: str, repeats: int, seed: int) -> dict[str, list[float]]:
    """Time the steps from a bare round trip to a whole transition."""
    raw = raw_client(url)
    worker = Worker("floor", url=url, heartbeat=None)
    k, client = NetworkKeys("floor"), worker.worker_id.encode()
    worker.finish_task(worker.start_task(CONFIG) or "", RESULT)  # the server has the scripts now
    worker.fetch_new_tasks()
    shared = SharedLogs()
    sharing = Worker("shared", url=url, heartbeat=None, shared=shared)
    numbers = itertools.count()
    prefix = {"client": client, "epoch": b"1", "limit": b"", "deadline": b""}
    prefix["worker"] = encode(worker.worker_id)
    start = Script("start_tasks", k, worker.worker_id, prefix)
    finish = Script("finish_tasks", k, worker.worker_id, prefix)
    read = pack((b"LRANGE", k.finished, -2, -1))

    def pair() -> tuple[bytes, bytes]:
        key = f"0123456789ab-{next(numbers)}"
        return key.encode(), running_record(key, CONFIG, None, worker.worker_id, worker.now())

    def script(source: str) -> Operation:
        digest = raw(pack((b"SCRIPT", b"LOAD", source.encode())))
        head = (b"EVALSHA", digest, 3, k.clients, k.started, k.running, client, b"1", b"", b"")
        return lambda: (pack((*head, *pair())),), raw

    def transaction() -> tuple[bytes]:
        key, record = pair()
        commands = ((b"INCR", k.started), (b"HSET", k.running, key, record))
        return (b"".join(map(pack, ((b"MULTI",), *commands, (b"EXEC",)))),)

    def started() -> tuple[bytes, bytes]:
        key, record = pair()
        raw(pack((b"HSET", k.running, key, record)))
        return key, finished_end(worker.now(), RESULT, None)

    def by_hand(config: dict[str, float]) -> None:
        key = f"0123456789ab-{next(numbers)}"
        record = encode((worker.worker_id, 0, key, config, None, time.monotonic()))
        raw(start.pack(key.encode(), record))

    scripts = importlib.resources.files("rush_core.scripts")
    parts = ("record", "owner", "wake", "end_tasks")
    source = "".join(scripts.joinpath(f"{part}.lua").read_text() for part in parts)
    # The usual reply becomes the range itself.
    reading = source.replace("return n_ended", "return redis.call('LRANGE', KEYS[3], -2, -1)")
    assert reading != source
    keys = (k.clients, k.running, k.finished, k.waiting)
    fixed = (client, b"1", encode(worker.worker_id), k.wake(""))
    digest = raw(pack((b"SCRIPT", b"LOAD", reading.encode())))
    nothing = pack((b"EVALSHA", raw(pack((b"SCRIPT", b"LOAD", b"return 1"))), 0))
    operations: dict[str, Operation] = {
        "PING": (lambda: (PING,), raw),
        "empty script, no arguments": (lambda: (nothing,), raw),
        "empty script, arguments of a start": script("return 1"),
        "and the epoch (HGET)": script(GUARD + "return 1"),
        "and the budget (INCR)": script(GUARD + COUNT + "return 1"),
        "and the record (HSET)": script(GUARD + COUNT + WRITE + "return 1"),
        "start_tasks.lua, packed beforehand": (lambda: (start.pack(*pair()),), raw),
        "the same, encoded and packed by hand": (lambda: (CONFIG,), by_hand),
        "Worker.start_task": (lambda: (CONFIG,), worker.start_task),
        "INCR and HSET in a transaction, unguarded": (transaction, lambda q: raw(q, 4)),
        "end_tasks.lua, packed beforehand": (lambda: (finish.pack(*started()),), raw),
        "and LRANGE behind it in the same send": (
            lambda: (finish.pack(*started()) + read, 2),
            raw,
        ),
        "and LRANGE inside the script instead": (
            lambda: (pack((b"EVALSHA", digest, 4, *keys, *fixed, *started())),),
            raw,
        ),
        "Worker.finish_task": (lambda: (started()[0].decode(), RESULT), worker.finish_task),
        "Worker.finish_and_fetch_new": (
            lambda: (started()[0].decode(), RESULT),
            worker.finish_and_fetch_new,
        ),
        "the same with the log in memory": (
            lambda: (sharing.start_task(CONFIG), RESULT),
            sharing.finish_and_fetch_new,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in operations}
    order = list(operations)
    shuffler = random.Random(seed)
    for _ in range(repeats):
        shuffler.shuffle(order)
        for name in order:
            prepare, call = operations[name]
            shared.stamp(time.monotonic_ns())
            for _ in range(BLOCK):
                arguments = prepare()
                began = time.perf_counter()
                call(*arguments)
                seconds[name].append(time.perf_counter() - began)
            raw(pack((b"DEL", k.running)))
            worker.fetch_new_tasks()
    worker.close()
    sharing.close()
    return seconds


def as_rows(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Describe the timings; a floor is the median PING."""
    floor = statistics.median(seconds["PING"])
    rows = []
    for name, values in seconds.items():
        deciles, median = (
            statistics.quantiles(values, n=10, method="inclusive"),
            statistics.median(values),
        )
        row = {"step": name, "n": len(values), "median_us": round(median * 1e6, 2)}
        row |= {"p10_us": round(deciles[0] * 1e6, 2), "p90_us": round(deciles[-1] * 1e6, 2)}
        rows.append({**row, "floors": round(median / floor, 3)})
    return rows


def as_markdown(rows: Sequence[dict[str, Any]], common: dict[str, Any]) -> str:
    """Make the table that goes with the rows."""
    lines = [
        "# What a transition's round trip is made of",
        "",
        f"Medians; client and server on one core of a {common['machine']}, Python "
        f"{common['python']}, 10 parameters. Rows: `results/raw/script_floor.csv`, made by "
        "`experiments/script_floor.py`.",
        "",
        "| step | median, µs | 10 to 90 %, µs | floors |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['step']} | {row['median_us']:.1f} | {row['p10_us']:.1f} to {row['p90_us']:.1f} | "
        f"{row['floors']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
