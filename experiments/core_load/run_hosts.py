"""How much does one reader per host spare the server, and sending its workers' writes together?

Question, prediction, method and outcome: README.md beside this file.

Run from the project's root: ``python -m experiments.core_load.run_hosts``
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.core_load.generator import generate_load
from experiments.core_load.hosts_report import as_markdown, summarize, undisturbed
from experiments.core_load.measurement import Measurement
from experiments.core_load.plan import HostPlan, LoadPlan
from experiments.core_load.requests import StepRequests, load_scripts
from experiments.core_load.run import GENERATOR_CORE, SERVER_CORE, percentile_ms
from experiments.core_load.watched import WatchedServer, waited_s, watched_server
from experiments.provenance import RAW, TABLES, append_rows, provenance

ROWS = RAW / "core_load_hosts.csv"
WORKERS_PER_HOST = 128

# A server accepts 10,000 connections unless it is configured to accept more.
_MAX_CLIENTS = 19_000


class Cell(NamedTuple):
    """A simulated network.

    Attributes
    ----------
    n_workers : int
    read_pause_ms : float or None
        From the end of a read of a host's reader to the next one; None if each worker reads for
        itself.
    write_pause_ms : float or None
        Least time between two sends of a host; None if each worker writes for itself.
    period_s : float
        Time between two steps of one worker.
    """

    n_workers: int
    read_pause_ms: float | None
    write_pause_ms: float | None = None
    period_s: float = 1.0

    def plan(self) -> LoadPlan:
        """Return the load of this network."""
        hosts = None
        if self.read_pause_ms is not None:
            pause_s = None if self.write_pause_ms is None else self.write_pause_ms / 1e3
            hosts = HostPlan(WORKERS_PER_HOST, self.read_pause_ms / 1e3, pause_s)
        read_every = 1 if hosts is None else None
        return LoadPlan(self.n_workers, read_every, 2.0, 5.0, self.period_s, hosts)


CELLS = (
    *(Cell(n, None) for n in (1024, 2048, 3072, 4096)),
    *(Cell(n, 20.0) for n in (2048, 4096, 8192, 12_288, 16_384)),
    *(Cell(8192, pause_ms) for pause_ms in (10.0, 50.0)),
    *(Cell(8192, 20.0, pause_ms) for pause_ms in (0.0, 5.0, 10.0)),
    *(Cell(16_384, 20.0, pause_ms) for pause_ms in (0.0, 5.0, 10.0)),
    Cell(16_384, 20.0, period_s=2.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=16_384, help="workers of a network at most")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.tables_only:
        cells = [cell for cell in CELLS if cell.n_workers <= arguments.most]
        measure_all(ROWS, cells, arguments.repeats, arguments.seed)
    rows = pd.read_csv(ROWS)
    if undisturbed(rows).empty:
        parser.exit(1, "other programs disturbed all measurements: repeat them on a quiet machine")
    table = as_markdown(summarize(undisturbed(rows)), rows)
    print(table)
    (TABLES / "core_load_hosts.md").write_text(table)


def measure_all(path: Path, cells: Sequence[Cell], repeats: int, seed: int) -> None:
    """Measure all cells, in shuffled order, and append their rows as they come."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.sched_setaffinity(0, {GENERATOR_CORE})
    requests = [StepRequests(i) for i in range(max(cell.n_workers for cell in cells))]
    common = {"seed": seed, **provenance()}
    for repeat, seeds in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        rng = np.random.default_rng(seeds)
        for i in rng.permutation(len(cells)):
            rows = measure(cells[i], requests, rng)
            append_rows(path, [{**row, "repeat": repeat, **common} for row in rows])
            step = next(row for row in rows if row["operation"] == "step")
            print(
                f"{cells[i]}: {step['achieved_per_s']:.0f} tasks per s, p99 {step['p99_ms']:.1f} "
                f"ms, server {step['server_cpu']:.2f} cores, waited {step['server_wait']:.2f}",
                flush=True,
            )


def measure(
    cell: Cell, requests: Sequence[StepRequests], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Put the load of one network on a fresh server: a row per operation."""
    with watched_server() as server:
        server.pin(SERVER_CORE)
        server.execute("CONFIG", "SET", "maxclients", _MAX_CLIENTS)
        load_scripts(server.url)
        found = generate_load(
            cell.plan(),
            requests,
            server.path,
            server.path,
            lambda: marks(server),
            rng,
        )
        shared = describe(cell, found) | {
            "server_peak_mb": server.peak_mb(),
            "server": server.version,
            "load": os.getloadavg()[0],
        }
    return [
        rounded(
            {
                **cell._asdict(),
                "operation": operation,
                "n": len(latencies),
                "achieved_per_s": len(latencies) / found.window_s,
                "p50_ms": percentile_ms(latencies, 50),
                "p99_ms": percentile_ms(latencies, 99),
                **shared,
            }
        )
        for operation, latencies in found.latencies_s.items()
    ]


def marks(server: WatchedServer) -> tuple[float, ...]:
    """Read the CPU times, and the times waited for a core, of the server and of this process."""
    return server.cpu_s(), server.waited_s(), time.process_time(), waited_s("self")


def describe(cell: Cell, found: Measurement) -> dict[str, Any]:
    """Describe what all operations of a load share."""
    window_s = found.window_s
    began, ended = np.array(found.marks)
    server_cpu, server_wait, generator_cpu, generator_wait = (ended - began) / window_s
    n_hosts = -(-cell.n_workers // WORKERS_PER_HOST)
    return {
        "n_hosts": n_hosts if cell.read_pause_ms is not None else cell.n_workers,
        "connections": found.n_connections,
        "wanted_per_s": cell.n_workers / cell.period_s,
        "reads_per_s": found.n_reads / window_s,
        "beats_per_s": found.n_beats / window_s,
        "waits_per_s": found.n_waits / window_s,
        "records_per_s": found.n_records / window_s,
        "mb_per_s": found.n_bytes / 1e6 / window_s,
        "writes_per_send": found.n_sent / found.n_sends if found.n_sends else 1.0,
        "server_cpu": server_cpu,
        "server_wait": server_wait,
        "generator_cpu": generator_cpu,
        "generator_wait": generator_wait,
        "lag_p99_ms": percentile_ms(found.lags_s, 99),
        "window_s": window_s,
    }


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Keep five digits of each number."""
    return {
        name: float(f"{value:.5g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


if __name__ == "__main__":
    main()
