"""What does a step cost in each of several versions of the packages?

Asked: CPU time of client and server, and wall-clock time, of a step (finish a task, fetch what is
new, start the next task) and of a claim with its finish, in checkouts of several versions. Each
version has a process and a server of its own, pinned to one core. All stay alive, and measure
blocks of some hundred operations in turn, in random order within each round, so that a busy machine
slows down all of them alike. A version is compared with the first one, round by round; the interval
is that of the mean of the logarithms (Student's t).

Run from the project's root, with a name and a folder for each version:
``python -m experiments.step_cost before=../before after=../after --rounds 30``
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.provenance import RAW, TABLES, append_rows, provenance
from experiments.versions import commit_of, interval

# Runs in each checkout with its own modules. Measures one block for each line of its input.
_MEASURE = """
import json, os, statistics, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
import redis
from rush_core import Network, Worker, serve

CONFIG = {f"p{i}": 0.5 for i in range(10)}

def cpu_ns(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])

def step(worker, network, n):
    key, walls = worker.start_task(CONFIG), []
    for _ in range(n):
        began = time.perf_counter_ns()
        worker.finish_and_fetch_new(key, {"y": 1.0})
        key = worker.start_task(CONFIG)
        walls.append(time.perf_counter_ns() - began)
    worker.finish_task(key, {"y": 1.0})
    return walls

def claim(worker, network, n):
    network.push_tasks([CONFIG] * n)
    walls = []
    for _ in range(n):
        began = time.perf_counter_ns()
        task = worker.claim_task()
        worker.finish_task(task.key, {"y": 1.0})
        walls.append(time.perf_counter_ns() - began)
    return walls

with serve() as server:
    pid = redis.Redis(unix_socket_path=server.url[7:]).info("server")["process_id"]
    worker, network = Worker("n", url=server.url, heartbeat=None), Network("n", server.url)
    with worker, network:
        step(worker, network, 300), claim(worker, network, 100)
        for _ in sys.stdin:
            found = {}
            for name, call, n in (("step", step, 500), ("claim and finish", claim, 200)):
                server_ns, client_ns = cpu_ns(pid), cpu_ns("self")
                walls = call(worker, network, n)
                server_ns, client_ns = cpu_ns(pid) - server_ns, cpu_ns("self") - client_ns
                found[name] = {
                    "client_cpu_us": client_ns / n / 1000,
                    "server_cpu_us": server_ns / n / 1000,
                    "wall_us": statistics.median(walls) / 1000,
                }
            print(json.dumps(found), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folders = dict(version.split("=", 1) for version in given.versions)
    origin = {"seed": given.seed, **provenance()}
    rows = measure(folders, given.rounds, given.core, random.Random(given.seed))
    append_rows(RAW / "step_cost.csv", [{**row, **origin} for row in rows])
    table = as_markdown(rows, list(folders), origin)
    print(table)
    (TABLES / "step_cost.md").write_text(table)


def measure(
    folders: dict[str, str], n_rounds: int, core: int, rng: random.Random
) -> list[dict[str, Any]]:
    """Measure blocks of all versions in turn; return one row for each block and operation."""
    commits = {name: commit_of(Path(folder)) for name, folder in folders.items()}
    processes = {name: start(Path(folder).resolve(), core) for name, folder in folders.items()}
    rows = []
    try:
        for number in range(n_rounds):
            for name in rng.sample(list(folders), len(folders)):
                for operation, times in ask(processes[name]).items():
                    version = {"version": name, "measured_commit": commits[name]}
                    rows.append({"round": number, **version, "operation": operation, **times})
    finally:
        for process in processes.values():
            process.communicate()
    return rows


def start(folder: Path, core: int) -> subprocess.Popen[str]:
    """Start the process that measures one version."""
    return subprocess.Popen(
        [sys.executable, "-c", _MEASURE, str(core)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen[str]) -> dict[str, dict[str, float]]:
    """Let a process measure one block."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    times: dict[str, dict[str, float]] = json.loads(process.stdout.readline())
    return times


def as_markdown(rows: list[dict[str, Any]], versions: list[str], origin: dict[str, Any]) -> str:
    """Compare each version with the first one."""
    n_rounds = 1 + max(row["round"] for row in rows)
    lines = [
        "# What a step costs in several versions",
        "",
        f"Blocks in turn, {n_rounds} rounds, {origin['machine']}, Python {origin['python']}, "
        f"{origin['started']}. CPU is that of client and server together. Rows: "
        "`results/raw/step_cost.csv`, made by `python -m experiments.step_cost`.",
        "",
        "| operation | version | CPU, µs | ratio of CPU | 95 % interval | wall, µs | ratio of wall "
        "| 95 % interval |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        for version in versions:
            cells = []
            for names in (("client_cpu_us", "server_cpu_us"), ("wall_us",)):
                values, first = (
                    np.array(
                        [
                            sum(row[name] for name in names)
                            for row in sorted(rows, key=lambda row: row["round"])
                            if (row["version"], row["operation"]) == (which, operation)
                        ]
                    )
                    for which in (version, versions[0])
                )
                cells.append(f"{np.median(values):.1f}")
                if version == versions[0]:
                    cells += ["1", ""]
                    continue
                logs = np.log(values / first)
                low, high = interval(logs)
                cells += [f"{np.exp(logs.mean()):.3f}", f"{low:.3f} to {high:.3f}"]
            lines.append(f"| {operation} | {version} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
