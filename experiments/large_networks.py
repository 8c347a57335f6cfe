"""What do a million tasks and 5,000 workers cost a manager?

Asked: the time and the memory of `TaskTable.to_pandas` with a million tasks, and the time of
`Network.detect_lost_workers` with 5,000 workers that all send heartbeats. Expected before
measuring: 5 s and less than 1 GB, and 20 ms.

A configuration has three numbers and a text, half of them one number more; a result has two
numbers. Each repetition is a new process. The memory is the largest of the process while the
DataFrame is made, and what the tasks themselves take before. Run from the project's root:
``python -m experiments.large_networks``. To measure another version, copy this file into a clone
of it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import Network, TaskTable, Worker, serve
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys

ROWS = RAW / "large_networks.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", choices=MEASURES, help="only make one measurement, and print it")
    arguments = parser.parse_args()
    if arguments.one:
        row = MEASURES[arguments.one](arguments)
        print(msgspec.json.encode(row).decode())
        return
    for _ in range(arguments.repeats):
        for measure in MEASURES:
            command = [sys.executable, "-m", "experiments.large_networks", "--one", measure]
            command += ["--tasks", str(arguments.tasks), "--workers", str(arguments.workers)]
            done = subprocess.run(command, check=True, capture_output=True)
            row = {"measure": measure, **msgspec.json.decode(done.stdout)}
            load = round(os.getloadavg()[0], 2)
            append_rows(ROWS, [{**row, "load": load, **provenance()}])
            print(row, flush=True)
    table = as_markdown()
    print(table)
    (TABLES / "large_networks.md").write_text(table)


def measure_frame(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make one DataFrame."""
    table = make_table(arguments.tasks)
    before_mb = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    began, busy = time.perf_counter(), time.process_time()
    frame = table.to_pandas()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - busy
    return {
        "n": len(frame),
        "seconds": round(seconds, 4),
        "cpu_s": round(cpu_s, 4),
        "before_mb": round(before_mb),
        "peak_mb": round(memory_mb("VmHWM")),
    }


def make_table(n: int) -> TaskTable:
    """Make a table of finished tasks, as it is after they were fetched."""
    configs: list[dict[str, Any]] = [
        {"x1": i / 7, "x2": i / 11, "depth": i % 9, "kind": "tree"} for i in range(n)
    ]
    for i in range(0, n, 2):
        configs[i]["rate"] = i / 17
    return TaskTable.from_results(configs, [{"loss": i / 13, "time": i / 19} for i in range(n)])


def measure_search(arguments: argparse.Namespace) -> dict[str, Any]:
    """Search for lost workers once, after one search that loads the scripts."""
    with serve() as server, Network("large", server.url) as network:
        register(server.url, arguments.workers)
        network.detect_lost_workers()
        before_mb = memory_mb("VmRSS")
        began, busy = time.perf_counter(), time.process_time()
        lost = network.detect_lost_workers()
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - busy
        assert lost == []
        return {
            "n": len(network.fetch_workers()),
            "seconds": round(seconds, 4),
            "cpu_s": round(cpu_s, 4),
            "before_mb": round(before_mb),
            "peak_mb": round(memory_mb("VmRSS")),
        }


def register(url: str, n: int) -> None:
    """Register workers by copies of the record of a real one, with heartbeats that do not end."""
    keys, connection = NetworkKeys("large"), Connection(url)
    with Worker("large", url=url, worker_id="worker-0000") as worker:
        record = connection.execute(pack((b"HGET", keys.workers, worker.worker_id)))
        for i in range(1, n):
            name = f"worker-{i:04d}".encode()
            copy = record.replace(b"worker-0000", name)[:-1] + msgspec.msgpack.encode(i)
            commands = (
                (b"HSET", keys.workers, name, copy),
                (b"HSET", keys.clients, name, b"1"),
                (b"SET", keys.alive(name.decode()), b""),
            )
            connection.execute_many([pack(command) for command in commands])
    connection.close()


def memory_mb(field: str) -> float:
    """Read this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(field))


MEASURES = {"to_pandas": measure_frame, "detect_lost_workers": measure_search}


def as_markdown() -> str:
    """Make the table that goes with the rows."""
    rows = pd.read_csv(ROWS)
    lines = [
        "# What a million tasks and 5,000 workers cost a manager",
        "",
        f"{rows['machine'].iloc[0]}, which others used at the same time (load: the number of "
        "processes that want to run). Medians, and in brackets the smallest and the largest. Made "
        "by `python -m experiments.large_networks` from `results/raw/large_networks.csv`.",
        "",
        "| version | call | tasks or workers | n | s | of which CPU, s | memory before, MB | "
        "largest memory, MB | load |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (commit, measure), group in rows.groupby(["commit", "measure"], sort=False):
        cells = [f"{group['n'].iloc[0]:,}", str(len(group))]
        for column in ("seconds", "cpu_s"):
            values = group[column]
            cells.append(f"{values.median():.3f} ({values.min():.3f}, {values.max():.3f})")
        cells += [f"{group[column].median():.0f}" for column in ("before_mb", "peak_mb")]
        cells.append(f"{group['load'].median():.1f}")
        lines.append(f"| {commit} | {measure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
