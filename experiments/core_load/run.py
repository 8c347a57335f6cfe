"""At what size does the server saturate, and what then?

Question, prediction, method and outcome: README.md beside this file.

Run from the project's root: ``python -m experiments.core_load.run``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.core_load.generator import generate_load
from experiments.core_load.plan import LoadPlan
from experiments.core_load.processes import measure_processes
from experiments.core_load.report import as_markdown, draw, last_whole_run, summarize
from experiments.core_load.requests import StepRequests, load_scripts
from experiments.core_load.watched import replicate, watched_server
from experiments.provenance import RAW, ROOT, TABLES, append_rows, provenance

FIGURES = ROOT / "results" / "figures"

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, GENERATOR_CORE = CORES[0], CORES[-1]

PROCESSES = (1, 2, 4, 8, 16, 32)

# How a simulated worker reads: its name in the rows, and in which of its steps.
EVERY, FIFTH, NEVER, REPLICA = "every step", "every 5th step", "never", "every step, at a replica"

# Past saturation one round of all workers takes seconds, and less than a few rounds say nothing.
SIZES = {
    EVERY: (64, 448, 1024, 1536, 2048, 3072, 4096),
    FIFTH: (448, 1024, 2048),
    NEVER: (64, 448, 2048, 4096, 8192),
    REPLICA: (448, 1024),
}


@dataclass(frozen=True)
class Configuration:
    """One cell: real processes if `reading` is None, else a simulated network."""

    n_workers: int
    reading: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    path = RAW / "core_load.csv"
    if not arguments.tables_only:
        measure_all(path, arguments.repeats, arguments.seed)
    rows = last_whole_run(pd.read_csv(path))
    summary = summarize(rows)
    table = as_markdown(summary, rows)
    print(table)
    (TABLES / "core_load.md").write_text(table)
    FIGURES.mkdir(exist_ok=True)
    summary.to_csv(FIGURES / "core_load.csv", index=False, float_format="%.4g")
    draw(summary, rows).savefig(FIGURES / "core_load.png", dpi=150)


def measure_all(path: Path, repeats: int, seed: int) -> None:
    """Measure all configurations, in shuffled order, and append their rows as they come."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    requests = [StepRequests(i) for i in range(max(map(max, SIZES.values())))]
    configurations = [Configuration(n, None) for n in PROCESSES]
    configurations += [Configuration(n, name) for name, sizes in SIZES.items() for n in sizes]
    common = {"seed": seed, **provenance()}
    for repeat, seeds in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        rng = np.random.default_rng(seeds)
        for i in rng.permutation(len(configurations)):
            began = time.monotonic()
            rows = measure(configurations[i], requests, rng)
            append_rows(path, [{**row, "repeat": repeat, **common} for row in rows])
            last, took_s = rows[-1], time.monotonic() - began
            print(
                f"{last['clients']}, reading {last['reading']}, {last['n_workers']} workers: "
                f"{last['achieved_per_s']:.0f} tasks per s, server {last['server_cpu']:.2f} cores, "
                f"waited {last['server_wait']:.2f}; {took_s:.1f} s",
                flush=True,
            )


def measure(
    configuration: Configuration, requests: Sequence[StepRequests], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Measure one configuration once: a row per operation."""
    if configuration.reading is None:
        os.sched_setaffinity(0, CORES)
        found = measure_processes(configuration.n_workers)
        return [as_row(configuration, "task", found)]
    os.sched_setaffinity(0, {GENERATOR_CORE})
    return measure_network(configuration, requests, rng)


def measure_network(
    configuration: Configuration, requests: Sequence[StepRequests], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Put a simulated network's load on a fresh server, and on its replica if it has one."""
    n_workers, reading = configuration.n_workers, configuration.reading
    read_every = {EVERY: 1, FIFTH: 5, NEVER: None, REPLICA: 1}[reading or NEVER]
    is_large = n_workers > 2048 and reading == EVERY
    warm_up_s, window_s = (5.0, 10.0) if is_large or reading == FIFTH else (2.0, 5.0)
    plan = LoadPlan(n_workers, read_every, warm_up_s, window_s)
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(watched_server())
        primary.pin(SERVER_CORE)
        load_scripts(primary.url)
        reader = primary
        if reading == REPLICA:
            reader = stack.enter_context(watched_server())
            reader.pin(GENERATOR_CORE)
            replicate(primary, reader)
        measurement = generate_load(
            plan,
            requests,
            primary.path,
            reader.path,
            lambda: (
                primary.cpu_s(),
                primary.waited_s(),
                reader.cpu_s(),
                time.process_time(),
            ),
            rng,
        )
        began, ended = np.array(measurement.marks)
        shares = (ended - began) / measurement.window_s
        common = {
            "wanted_per_s": n_workers / plan.period_s,
            "reads_per_s": measurement.n_reads / measurement.window_s,
            "records_per_s": measurement.n_records / measurement.window_s,
            "mb_per_s": measurement.n_bytes / 1e6 / measurement.window_s,
            "server_cpu": shares[0],
            "server_wait": shares[1],
            "replica_cpu": shares[2] if reader is not primary else None,
            "generator_cpu": shares[3],
            "lag_p99_ms": percentile_ms(measurement.lags_s, 99),
            "server_peak_mb": primary.peak_mb(),
            "window_s": measurement.window_s,
            "server": primary.version,
        }
    return [
        as_row(
            configuration,
            operation,
            {
                "n": len(latencies),
                "achieved_per_s": len(latencies) / measurement.window_s,
                "p50_ms": percentile_ms(latencies, 50),
                "p99_ms": percentile_ms(latencies, 99),
                **common,
            },
        )
        for operation, latencies in measurement.latencies_s.items()
    ]


def percentile_ms(seconds: Sequence[float], percent: float) -> float | None:
    """Return a percentile in milliseconds; None if there was nothing."""
    return float(np.percentile(seconds, percent)) * 1e3 if len(seconds) else None


COLUMNS = (
    *("n", "wanted_per_s", "achieved_per_s", "p50_ms", "p99_ms"),
    *("reads_per_s", "records_per_s", "mb_per_s"),
    *("server_cpu", "server_wait", "replica_cpu", "generator_cpu", "lag_p99_ms"),
    *("server_peak_mb", "window_s", "server"),
)


def as_row(configuration: Configuration, operation: str, found: dict[str, Any]) -> dict[str, Any]:
    """Line up what was found; what does not apply stays empty."""
    values = {name: found.get(name) for name in COLUMNS}
    return {
        "clients": "processes" if configuration.reading is None else "simulated",
        "reading": configuration.reading or EVERY,
        "n_workers": configuration.n_workers,
        "operation": operation,
        **{
            name: float(f"{value:.5g}") if isinstance(value, float) else value
            for name, value in values.items()
        },
    }


if __name__ == "__main__":
    main()
