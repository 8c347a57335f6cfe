"""What does it cost a worker to learn what others have finished, from the server and from memory?

Measured: CPU time of a worker per record, to fetch new finished tasks as tasks, and to add them to
the archive of an optimizer; from the server, and from a log in memory that another process has
filled. With 16, 256 and 4,096 new records at a time. The CPU time of the server for a read is in
`experiments.core_load`.

Expected before measuring: from memory a record costs half as much as from the server, because no
socket is read and no reply is parsed; adding it to the archive costs more than either.

Needs Linux. Run from the project's root: ``python -m experiments.record_cost``
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pandas as pd

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import Network, TaskTable, serve
from rush_core.connection.connection import Connection
from rush_core.kernel.logs import LogPosition
from rush_core.kernel.shared_log import SharedLogs
from rush_core.kernel.task import decode_tasks
from rush_core.keys import NetworkKeys
from rush_core.node.log_follower import LogFollower
from rush_opt import Float, Space
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive

ROWS = RAW / "record_cost.csv"
N_NEW = (16, 256, 4_096)
Read = Callable[[], TaskTable]
SPACE = Space({f"x{i}": Float(0.0, 1.0) for i in range(8)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.tables_only:
        os.sched_setaffinity(0, {arguments.core})
        common = {**provenance(), "load": round(os.getloadavg()[0], 2)}
        append_rows(ROWS, [row | common for row in measure(arguments.repeats)])
    table = as_markdown(pd.read_csv(ROWS))
    print(table)
    (TABLES / "record_cost.md").write_text(table)


def measure(repeats: int) -> list[dict[str, Any]]:
    """Read again and again, from the server and from memory in random order."""
    rows: list[dict[str, Any]] = []
    rng = random.Random(1)
    with sources() as (network, follower, reads):
        archives = {source: Archive(SPACE, [Goal("value")]) for source in reads}
        for repeat, n in ((repeat, n) for repeat in range(-1, repeats) for n in N_NEW):
            push(network, n, rng)
            follower.read()
            order = list(reads)
            rng.shuffle(order)
            for source in order:
                spent = time_reading(reads[source], archives[source], n)
                if repeat >= 0:  # the first round warms up
                    shared = {"source": source, "n_new": n, "repeat": repeat}
                    rows += [shared | {"part": part, "us": us} for part, us in spent.items()]
    return rows


@contextmanager
def sources() -> Iterator[tuple[Network, LogFollower, dict[str, Read]]]:
    """Make a network, what copies its log, and two reads of it: the server's log, and the copy."""
    with ExitStack() as stack:
        server = stack.enter_context(serve())
        network = stack.enter_context(Network("records", server.url))
        logs = stack.enter_context(closing(SharedLogs()))
        connection = stack.enter_context(closing(Connection(server.url)))
        keys = NetworkKeys("records")
        alone = LogPosition(connection, keys.finished, decode_tasks)
        on_node = LogPosition(connection, keys.finished, decode_tasks, logs.finished)
        reads: dict[str, Read] = {
            "server": lambda: alone.read(TaskTable),
            "memory": lambda: on_node.read_copy(TaskTable),
        }
        yield network, LogFollower(connection, keys, "reader", logs), reads


def push(network: Network, n: int, rng: random.Random) -> None:
    """Add finished tasks."""
    configs = [{f"x{i}": rng.random() for i in range(8)} for _ in range(n)]
    network.push_finished_tasks(configs, [{"value": rng.random()} for _ in range(n)])


def time_reading(read: Read, archive: Archive, n: int) -> dict[str, float]:
    """Return the CPU microseconds per record of a read, and of adding to the archive."""
    began = time.thread_time_ns()
    tasks = read()
    fetched = time.thread_time_ns()
    archive.add(tasks)
    added = time.thread_time_ns()
    assert len(tasks) == n
    nanoseconds = {"fetch": fetched - began, "add": added - fetched}
    return {part: round(spent / n / 1e3, 3) for part, spent in nanoseconds.items()}


def as_markdown(rows: pd.DataFrame) -> str:
    """Make the table of the last run."""
    rows = rows[rows["started"] == rows["started"].iloc[-1]]
    source = rows.iloc[-1]
    lines = [
        "# What it costs a worker to learn what others have finished",
        "",
        "CPU time of the worker, µs per record; medians, and in brackets the quartiles. 8 "
        f"parameters; one core of a {source['machine']}, Python {source['python']}, commit "
        f"{source['commit']}. Rows: `results/raw/record_cost.csv`, made by "
        "`python -m experiments.record_cost`.",
        "",
        "| new records | fetch from the server | fetch from memory | add to the archive | n |",
        "|---:|---:|---:|---:|---:|",
    ]
    for n_new, group in rows.groupby("n_new"):
        parts = [
            group[(group["part"] == "fetch") & (group["source"] == "server")],
            group[(group["part"] == "fetch") & (group["source"] == "memory")],
            group[group["part"] == "add"],
        ]
        cells = [_quartiles(part["us"]) for part in parts]
        lines.append(f"| {n_new:,} | {' | '.join(cells)} | {len(parts[0])} |")
    return "\n".join(lines) + "\n"


def _quartiles(values: Any) -> str:
    low, median, high = values.quantile([0.25, 0.5, 0.75])
    return f"{median:.2f} ({low:.2f}, {high:.2f})"


if __name__ == "__main__":
    main()
