"""Is a version of the packages as fast as another one?

Measured: the ratio of the times of two checkouts, for the operations of `experiments.core_overhead`
in one cell (10 parameters, 1,000 finished tasks) and for proposals of `experiments.proposal_cost`
(8 dimensions, 100 and 1,000 results). Each checkout runs in its own process, pinned to one core.
The two processes of a pair run one after the other, in random order. Expected for a change of
structure: the 95 % interval of each ratio stays below 1.05.

For an operation, the ratio is that of median times in PINGs on a raw socket, which each process
times between its operations. For a proposal, it is the ratio of median CPU times. The interval is
that of the mean logarithm of the ratios (Student's t).

Run from the project's root, with the folder of another checkout:
``python -m experiments.versions ../before --pairs 20``
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments.provenance import RAW, ROOT, TABLES, append_rows, provenance

# Runs in each checkout with its own modules, and prints one JSON object: name to time.
_MEASURE = """
import json, os, statistics, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
from experiments import core_overhead, proposal_cost
from rush_core import serve
times = {}
with serve() as server:
    for row in core_overhead.measure(server.url, (10, 1, 1000), 12, 1):
        if row["unit"] == "us" and row["operation"] != core_overhead.report.FLOOR:
            times[row["operation"]] = row["floors"]
for n in (100, 1000):
    actions = proposal_cost.measurements("flat, 8", n, 1)
    for name in ("fit", "search", "proposal, 0 pending"):
        actions[name]()
        cpu = [proposal_cost.cpu_ms(actions[name]) for _ in range(15)]
        times[f"{name}, {n} results"] = statistics.median(cpu)
print(json.dumps(times))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="the folder of the other checkout")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folders = {"before": arguments.before.resolve(), "after": ROOT}
    commits = {name: commit_of(folder) for name, folder in folders.items()}
    common = {"seed": arguments.seed, **provenance()}
    shuffler = random.Random(arguments.seed)
    rows: list[dict[str, Any]] = []
    for pair in range(arguments.pairs):
        order = list(folders)
        shuffler.shuffle(order)
        for name in order:
            times = measure(folders[name], arguments.core)
            shared = {"pair": pair, "version": name, "measured_commit": commits[name], **common}
            new = [{"operation": key, "value": value, **shared} for key, value in times.items()]
            append_rows(RAW / "versions.csv", new)
            rows += new
        print(f"pair {pair + 1} of {arguments.pairs}", flush=True)
    report(commits, common["started"])


def measure(folder: Path, core: int) -> dict[str, float]:
    """Measure one checkout in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(core)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


def commit_of(folder: Path) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def report(commits: dict[str, str], started: str) -> None:
    """Write the ratios of one run as a table, from its rows."""
    with (RAW / "versions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["started"] == started]
    lines = [
        "# Times of one version over those of another",
        "",
        f"Before: {commits['before']}; after: {commits['after']}; {rows[0]['machine']}, Python "
        f"{rows[0]['python']}; {started}. Rows: `results/raw/versions.csv`, made by "
        "`python -m experiments.versions`.",
        "",
        "| operation | ratio after / before | 95 % interval | pairs |",
        "|---|---:|---:|---:|",
    ]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        values = {
            version: {
                int(r["pair"]): float(r["value"]) for r in rows if is_cell(r, operation, version)
            }
            for version in commits
        }
        pairs = sorted(values["before"].keys() & values["after"].keys())
        logs = np.log([values["after"][pair] / values["before"][pair] for pair in pairs])
        low, high = interval(logs)
        lines.append(
            f"| {operation} | {np.exp(logs.mean()):.3f} | {low:.3f} to {high:.3f} | {len(pairs)} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    (TABLES / "versions.md").write_text(text)


def is_cell(row: dict[str, str], operation: str, version: str) -> bool:
    return row["operation"] == operation and row["version"] == version


def interval(logs: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the 95 % interval of the ratio whose logarithms these are."""
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    return float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half))


if __name__ == "__main__":
    main()
