"""How long does one call of a manager hold the server, while a network has a million tasks?

Asked: of each call that concerns all tasks, the longest command in the server, and the longest time
that another client waits for a reply meanwhile. Expected before measuring: with slices, no command
takes more than 10 ms; without, clearing a queue of a million tasks takes seconds.

The time of a command is the server's own (SLOWLOG). The other client is a process that sends PING
again and again; its longest wait includes what the machine does besides. Each repetition has a new
server. Run from the project's root: ``python -m experiments.held_server``. To measure another
version, copy this file into a clone of it.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import Network, Worker, serve
from rush_core.connection.connection import Connection, pack

ROWS = RAW / "held_server.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--probe", metavar="URL", help="only be the other client")
    arguments = parser.parse_args()
    if arguments.probe:
        probe(arguments.probe)
        return
    common = {"n_tasks": arguments.tasks, **provenance()}
    for _ in range(arguments.repeats):
        for row in measure(arguments.tasks):
            load = round(os.getloadavg()[0], 2)
            append_rows(ROWS, [{**row, "load": load, **common}])
            print(row, flush=True)
    table = as_markdown()
    print(table)
    (TABLES / "held_server.md").write_text(table)


def measure(n: int) -> Iterator[dict[str, Any]]:
    """Run each call once, on a new server."""
    configs = [{"x1": i / 7, "x2": i / 11, "kind": "tree"} for i in range(n)]
    results = [{"loss": i / 13} for i in range(n)]
    with serve() as server, Network("held", server.url) as network:
        calls: dict[str, Callable[[], object]] = {
            "push_tasks": lambda: network.push_tasks(configs),
            "fetch_tasks, queued": lambda: network.fetch_tasks("queued"),
            "clear_queue": network.clear_queue,
            "push_finished_tasks": lambda: network.push_finished_tasks(configs, results),
            "fetch_finished_tasks": network.fetch_finished_tasks,
            "fetch_tasks, all": network.fetch_tasks,
            "a worker joins": lambda: Worker("held", url=server.url, heartbeat=None).close(),
            "reset": network.reset,
        }
        for name, call in calls.items():
            yield {"call": name, **watch(server.url, call)}


def watch(url: str, call: Callable[[], object]) -> dict[str, float]:
    """Run a call; return its time, its longest command and the longest wait of another client."""
    connection = Connection(url, timeout_s=120.0)
    connection.execute(pack(("CONFIG", "SET", "slowlog-log-slower-than", "200")))
    connection.execute(pack(("CONFIG", "SET", "slowlog-max-len", "100000")))
    connection.execute(pack(("CONFIG", "SET", "lua-time-limit", "0")))  # wait, no BUSY
    connection.execute(pack(("SLOWLOG", "RESET")))
    with other_client(url) as longest_wait_ms:
        began = time.perf_counter()
        call()
        seconds = time.perf_counter() - began
        waited_ms = longest_wait_ms()
    entries = connection.execute(pack(("SLOWLOG", "GET", "100000")))
    connection.close()
    longest_us = max([entry[2] for entry in entries], default=200)
    return {
        "seconds": round(seconds, 3),
        "longest_command_ms": round(longest_us / 1000, 3),
        "longest_wait_ms": round(waited_ms, 3),
    }


@contextmanager
def other_client(url: str) -> Iterator[Callable[[], float]]:
    """Start the other client; the yielded function ends it and returns its longest wait, ms."""
    command = [sys.executable, "-m", "experiments.held_server", "--probe", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        stdin, stdout = process.stdin, process.stdout

        def end() -> float:
            stdin.write(b"end\n")
            stdin.flush()
            return float(stdout.readline())

        yield end


def probe(url: str) -> None:
    """Send PING until a line comes in; print the longest wait for a reply, in ms."""
    connection, request, longest = Connection(url, timeout_s=120.0), pack(("PING",)), 0.0
    connection.execute(request)
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0.0005)[0]:
        began = time.perf_counter()
        connection.execute(request)
        longest = max(longest, time.perf_counter() - began)
    print(1000 * longest, flush=True)


def as_markdown() -> str:
    """Make the table that goes with the rows."""
    import pandas as pd

    rows = pd.read_csv(ROWS)
    lines = [
        "# How long one call holds the server",
        "",
        f"{rows['n_tasks'].iloc[0]:,} tasks, {rows['machine'].iloc[0]}, which others used at the "
        "same time (load: the number of processes that want to run). Medians, and in brackets the "
        "largest. Made by `python -m experiments.held_server` from `results/raw/held_server.csv`.",
        "",
        "| version | call | n | whole call, s | longest command, ms | longest wait of another "
        "client, ms | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for (commit, call), group in rows.groupby(["commit", "call"], sort=False):
        cells = [f"{group['seconds'].median():.2f}"]
        for column in ("longest_command_ms", "longest_wait_ms"):
            cells.append(f"{statistics.median(group[column]):.1f} ({group[column].max():.1f})")
        cells.append(f"{group['load'].median():.1f}")
        lines.append(f"| {commit} | {call} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
