"""Does a simulated run agree with a real one?

Measured: the number of trials and the objective share, in a real run and in a simulation with the
same seed; with 2, 4 and 8 workers, for ADBO, ACBO and CLBO, and an objective that sleeps. Both are
measured in the second half of the run, because the simulation starts processes and loads libraries
at no cost. Expected before measuring: the real run has up to 5 % fewer trials with 2 workers, and
still fewer with 8 workers, which share two cores here.

The configuration determines how long an evaluation sleeps: log-normal, median 0.25 s.

Run from the project's root: ``python -m experiments.simulation_check``
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import random
import time
from typing import Any

import numpy as np

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_opt import Float, Integer, TuneResult, simulate, tune

OPTIMIZERS = ("adbo", "acbo", "clbo")
WORKERS = (2, 4, 8)
SPACE = {**{f"x{i}": Float(0, 1) for i in range(6)}, "n": Integer(1, 100)}

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float, default=24.0, help="seconds per run")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    runs = [
        (optimizer, n_workers, seed)
        for optimizer in OPTIMIZERS
        for n_workers in WORKERS
        for seed in range(arguments.seeds)
    ]
    random.Random(1).shuffle(runs)
    common = provenance()
    rows: Rows = []
    for optimizer, n_workers, seed in runs:
        given: dict[str, Any] = {"n_workers": n_workers, "optimizer": optimizer, "seed": seed}
        given["timeout"] = arguments.timeout
        real = tune(sleeping, SPACE, progress=False, **given)
        virtual = simulate(value, SPACE, duration=lambda config, _: seconds_of(config), **given)
        for kind, result in (("real", real), ("virtual", virtual)):
            rows.append({"kind": kind, **given, **described(result), **common})
            rows[-1]["load"] = round(os.getloadavg()[0], 2)
        append_rows(RAW / "simulation_check.csv", rows[-2:])
        print({name: (rows[-2][name], rows[-1][name]) for name in ("n_workers", "n_in_half")})
    table = as_markdown(rows, common)
    print(table)
    (TABLES / "simulation_check.md").write_text(table)


def value(config: dict[str, Any]) -> float:
    """Return the objective value: the squared distance of an inner point."""
    return float(sum((config[f"x{i}"] - 0.1 * (i + 1)) ** 2 for i in range(6)) + config["n"] / 100)


def seconds_of(config: dict[str, Any]) -> float:
    """Return how long the evaluation of this configuration takes, seconds."""
    digest = hashlib.sha256(repr(sorted(config.items())).encode()).digest()
    rng = np.random.default_rng(list(digest))
    return float(0.25 * math.exp(0.5 * rng.standard_normal()))


def sleeping(config: dict[str, Any]) -> float:
    """Evaluate a configuration, and take as long as that takes."""
    time.sleep(seconds_of(config))
    return value(config)


def described(result: TuneResult) -> dict[str, Any]:
    """Count trials and time in the second half of a run, up to its timeout."""
    assert result.deadline is not None
    until = result.deadline
    since = (result.started_at + until) / 2
    trials = [t for t in result.frozen_trials if t.started_at is not None]
    overlaps = [max(min(t.ended_at, until) - max(t.started_at or 0.0, since), 0.0) for t in trials]
    proposed = [t for t in trials if "lambda" in t.notes and since < t.ended_at <= until]
    spent = [t.notes["surrogate_s"] + t.notes["acquisition_s"] for t in proposed]
    return {
        "n_trials": sum(t.ended_at <= until for t in trials),
        "n_in_half": sum(since < t.ended_at <= until for t in trials),
        "objective_share_in_half": sum(overlaps) / (len(result.workers) * (until - since)),
        "proposal_ms": 1e3 * float(np.median(spent)) if spent else math.nan,
        "best_value": result.best_value,
    }


def as_markdown(rows: Rows, common: dict[str, Any]) -> str:
    """Make the table that goes with the rows: real beside virtual, medians over seeds."""
    lines = [
        "# Real runs beside simulated ones",
        "",
        f"{rows[0]['timeout']:g} s each, of which the second half is counted; load average "
        f"{min(row['load'] for row in rows):g} to {max(row['load'] for row in rows):g}; commit "
        f"{common['commit']}. Real first, then virtual; medians over seeds. A real proposal is "
        "timed by the clock, a virtual one by CPU time. Rows: "
        "`results/raw/simulation_check.csv`, made by `experiments/simulation_check.py`.",
        "",
        "| optimizer | workers | runs | trials | virtual | virtual / real | objective share | "
        "virtual | proposal, ms | virtual |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for optimizer in OPTIMIZERS:
        for n_workers in WORKERS:
            real, virtual = (
                [
                    row
                    for row in rows
                    if (row["optimizer"], row["n_workers"], row["kind"])
                    == (optimizer, n_workers, kind)
                ]
                for kind in ("real", "virtual")
            )
            if not real:
                continue

            def median(of: Rows, name: str) -> float:
                return float(np.median([row[name] for row in of]))

            n, m = median(real, "n_in_half"), median(virtual, "n_in_half")
            cells = [f"{n:g}", f"{m:g}", f"{m / n:.3f}" if n else "none"]
            for name, digits in (("objective_share_in_half", 3), ("proposal_ms", 1)):
                cells += [f"{median(of, name):.{digits}f}" for of in (real, virtual)]
            lines.append(f"| {optimizer} | {n_workers} | {len(real)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
