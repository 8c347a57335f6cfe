"""How many tasks do real workers of one machine run, each following the results of all?

Measured: tasks per second, CPU seconds per task of the server and of everything else, and the
memory of a worker. The objective costs nothing. Each step is a start, then a finish and a fetch of
everything new. Before the first step, each worker fits a Gaussian process and trees, so that its
memory is that of a worker with a model.

Each cell runs in a process of its own, in shuffled order. Another version is measured in between if
its checkout is given, with an environment in ``.venv`` and a copy of this file and of
``process_memory.py``.

Expected before measuring, of workers that share one log in memory: with 2 workers, as many tasks
per second as before; with 32 workers twice as many, because 31 of 32 reads and no copy of their
records take place any more; and at most 25 MB of own memory in a worker.

Needs Linux. Run from the project's root: ``python -m experiments.node_throughput --before PATH``
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from experiments.process_memory import memory_of
from experiments.provenance import RAW, ROOT, TABLES, append_rows, provenance
from rush_core import Network, Worker, serve
from rush_core.connection.connection import Connection, pack, parse_info

ROWS = RAW / "node_throughput.csv"
N_WORKERS = (2, 32)
WARM_UP_S, WINDOW_S = 2.0, 5.0
TIMEOUT_S = 120.0

# A task of ten parameters.
CONFIG = {f"x{i}": i * 0.137 for i in range(10)}
RESULT = {"y": 0.3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", type=int, help="only measure this many workers, and print it")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one)))
        return
    if not arguments.tables_only:
        roots = {"after": ROOT}
        if arguments.before is not None:
            roots["before"] = arguments.before.resolve()
        measure_all(roots, arguments.repeats)
    table = as_markdown(pd.read_csv(ROWS))
    print(table)
    (TABLES / "node_throughput.md").write_text(table)


def measure_all(roots: dict[str, Path], repeats: int) -> None:
    """Run all cells, in shuffled order, and append their rows as they come."""
    sources = {version: provenance(root) for version, root in roots.items()}
    cells = list(itertools.product(roots, N_WORKERS))
    for seed in range(repeats):
        random.Random(seed).shuffle(cells)
        for version, n_workers in cells:
            root, load = roots[version], os.getloadavg()[0]
            command = [str(root / ".venv" / "bin" / "python"), "-m", "experiments.node_throughput"]
            command += ["--one", str(n_workers)]
            done = subprocess.run(command, cwd=root, capture_output=True, check=True)
            row = {"version": version, "n_workers": n_workers, **json.loads(done.stdout)}
            row |= {"load": round(load, 2), "repeat": seed}
            append_rows(ROWS, [row | sources[version]])
            print(*row.values(), flush=True)


def measure(n_workers: int) -> dict[str, float]:
    """Run workers for some seconds and describe what they did."""
    with serve() as server, Network("throughput", server.url) as network:
        others = OtherProcesses(server.url)
        network.start_workers(loop, n_workers, **warm_up_of(network.start_workers))
        network.wait_for_workers(n_workers, timeout_s=TIMEOUT_S)
        at_work: set[str | None] = set()
        while len(at_work) < n_workers:  # each has fitted its models
            at_work |= {task.worker_id for task in network.fetch_new_tasks(timeout_s=TIMEOUT_S)}
        time.sleep(WARM_UP_S)
        began, (server_s, client_s) = time.monotonic(), others.cpu_s()
        n_tasks = network.count_tasks().finished
        time.sleep(WINDOW_S)
        n_tasks = network.count_tasks().finished - n_tasks
        window_s = time.monotonic() - began
        server_ended_s, client_ended_s = others.cpu_s()
        memory = memory_of([worker.pid for worker in network.fetch_workers()])
        network.stop_workers()
        network.join_workers(timeout_s=TIMEOUT_S)
    return {
        "tasks_per_s": round(n_tasks / window_s, 1),
        "server_us_per_task": round(1e6 * (server_ended_s - server_s) / n_tasks, 2),
        "other_us_per_task": round(1e6 * (client_ended_s - client_s) / n_tasks, 2),
        **memory,
    }


def loop(worker: Worker) -> None:
    """Fit models once; then evaluate a free objective, knowing all results of everybody."""
    fit_models()
    while not worker.should_stop():
        key = worker.start_task(CONFIG)
        if key is None:
            break
        worker.finish_and_fetch_new(key, RESULT)


def fit_models() -> None:
    """Fit both models that workers of `tune()` have, to a hundred results."""
    from rush_opt.models.forest import ExtraTrees
    from rush_opt.models.gaussian_process import GaussianProcess

    rng = np.random.default_rng(1)
    X = rng.random((100, 8)).astype(np.float32)
    for surrogate in (GaussianProcess(), ExtraTrees()):
        surrogate.fit(X, ((X - 0.3) ** 2).sum(axis=1).astype(float), rng).predict(X)


def warm_up_of(start_workers: Callable[..., Any]) -> dict[str, Any]:
    """Return the argument with which workers are forked after the imports, if there is one."""
    if "warm_up" not in inspect.signature(start_workers).parameters:
        return {}
    return {"warm_up": import_models}


def import_models() -> None:
    """Import what the models need."""
    import scipy.linalg  # noqa: F401
    import sklearn.tree  # noqa: F401

    import rush_opt.models.forest
    import rush_opt.models.gaussian_process  # noqa: F401


class OtherProcesses:
    """The server, and the processes that this one has started.

    Parameters
    ----------
    url : str
        Of the server.
    """

    def __init__(self, url: str) -> None:
        connection = Connection(url)
        info = parse_info(connection.execute(pack(("INFO", "server"))).decode())
        connection.close()
        self._server = psutil.Process(int(info["process_id"]))

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds of the server, and of this process with all it has started."""
        server_s = _used_s(self._server)
        this = psutil.Process()
        every = [this, *this.children(recursive=True)]
        return server_s, sum(_used_s(p) for p in every if p.pid != self._server.pid)


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def as_markdown(rows: pd.DataFrame) -> str:
    """Make the table of what was measured on the last day."""
    days = rows["started"].str[:10]
    rows = rows[days == days.iloc[-1]]
    source = rows.iloc[-1]
    lines = [
        "# How many tasks the workers of one machine run",
        "",
        "Free objective; start, then finish and fetch everything new. Medians, and in brackets the "
        f"smallest and the largest; {source['machine']}, two cores, Python {source['python']}. "
        "Load: the number of processes of the machine that wanted to run when a cell began; where "
        "it is far above two, other programs had most of the machine: compare CPU and memory "
        "there, not tasks per second. Rows: "
        "`results/raw/node_throughput.csv`, made by `python -m experiments.node_throughput`.",
        "",
        "| version | workers | tasks per s | CPU per task, µs: server | all others | memory of a "
        "worker, MB: proportional | its own | load | n |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    columns = ("tasks_per_s", "server_us_per_task", "other_us_per_task", "pss_mb", "private_mb")
    for (n_workers, version), group in rows.groupby(["n_workers", "version"]):
        cells = [
            f"{group[name].median():,.0f} ({group[name].min():,.0f}, {group[name].max():,.0f})"
            for name in columns
        ]
        commit = group["commit"].iloc[-1]
        lines.append(
            f"| {version}, {commit} | {n_workers} | {' | '.join(cells)} | "
            f"{group['load'].median():.1f} | {len(group)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
