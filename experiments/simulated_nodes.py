"""What share of their time do thousands of workers spend in an objective of one second?

Simulated: ADBO with 1,024, 4,096 and 16,384 workers, whose trials take one second on average
(log-normal), in virtual time. The requests to the server, its queue and the reading of all results
are charged as `rush_opt.simulation.coordination` states them: for workers on nodes of 128, and for
workers of which each reads for itself. Proposals cost the CPU time that they take here.

Expected before measuring: on nodes, 4,096 workers have an objective share of 0.97, and 16,384 of
0.7, because the server has not enough time for their steps if each worker sends its own. Where each
worker reads for itself, 1,024 workers have a share of 0.98, 4,096 of 0.4, and 16,384 of 0.02.

Shares are those of the second half of a run: in the first, all workers start at once.

Run from the project's root: ``python -m experiments.simulated_nodes``
"""

from __future__ import annotations

import argparse
import os
import random
import time
from typing import Any

import numpy as np
import pandas as pd

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_opt import Float, TuneResult
from rush_opt.arguments.initial_design import initial_points_of
from rush_opt.arguments.plan import make_plan, make_problem
from rush_opt.simulate import result_of
from rush_opt.simulation.coordination import ALONE, ON_NODES, Coordination
from rush_opt.simulation.costs import Costs
from rush_opt.simulation.play import play
from rush_opt.simulation.virtual_run import VirtualRun

ROWS = RAW / "simulated_nodes.csv"
SPACE = {f"x{i}": Float(0.0, 1.0) for i in range(8)}
WAYS = {"nodes of 128 workers": ON_NODES, "each worker reads": ALONE}
N_WORKERS = (1_024, 4_096, 16_384)

# The spread of the durations, of their logarithm. Their mean is one second.
_SIGMA = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="of virtual time")
    parser.add_argument("--workers", nargs="+", type=int, default=N_WORKERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.tables_only:
        cells = [(way, n) for n in arguments.workers for way in WAYS]
        random.Random(arguments.seed).shuffle(cells)
        for way, n_workers in cells:
            row = measure(way, n_workers, arguments.seconds, arguments.seed)
            append_rows(ROWS, [row | provenance()])
            print(row, flush=True)
    table = as_markdown(pd.read_csv(ROWS))
    print(table)
    (TABLES / "simulated_nodes.md").write_text(table)


def measure(way: str, n_workers: int, timeout_s: float, seed: int) -> dict[str, Any]:
    """Simulate one network."""
    load, began = os.getloadavg()[0], time.process_time()
    result = run(WAYS[way], n_workers, timeout_s, seed)
    return {
        "way": way,
        "n_workers": n_workers,
        "timeout_s": timeout_s,
        "seed": seed,
        **shares(result, timeout_s / 2, timeout_s),
        "cpu_s": round(time.process_time() - began, 1),
        "load": round(load, 2),
    }


def run(coordination: Coordination, n_workers: int, timeout_s: float, seed: int) -> TuneResult:
    """Simulate like `rush_opt.simulate`, with another coordination."""
    problem = make_problem(SPACE, "value", "minimize", seed)
    plan = make_plan(
        objective, problem, "adbo", n_workers=n_workers, n_trials=None, timeout=timeout_s, stop=None
    )
    durations = np.random.default_rng(seed).lognormal(-(_SIGMA**2) / 2, _SIGMA, 1 << 20).tolist()
    virtual = VirtualRun(plan, lambda config, number: durations[number], [])
    costs = Costs(problem, None, coordination, n_workers)
    play(virtual, initial_points_of(plan, None, []), costs)
    return result_of(virtual)


def objective(config: dict[str, float]) -> float:
    """Return the distance from a point, squared."""
    return sum((x - 0.3) ** 2 for x in config.values())


def shares(result: TuneResult, begin_s: float, end_s: float) -> dict[str, float]:
    """Return the shares of the time of all workers between two moments.

    Returns
    -------
    dict
        ``objective_share``, ``proposal_share`` and ``coordination_share`` of the trials that start
        in this time, ``tasks_per_s``, and ``n_known``: how many results the last proposals knew.
    """
    all_s = len(result.workers) * (end_s - begin_s)
    objective_s = proposal_s = coordination_s = 0.0
    n_inside = n_known = 0
    for trial in result.frozen_trials:
        if trial.started_at is None or trial.ended_at is None:
            continue
        objective_s += max(0.0, min(trial.ended_at, end_s) - max(trial.started_at, begin_s))
        if begin_s <= trial.started_at < end_s:
            notes = trial.notes
            proposal_s += notes.get("surrogate_s", 0.0) + notes.get("acquisition_s", 0.0)
            coordination_s += notes.get("coordination_s", 0.0)
            n_known = max(n_known, int(notes.get("n_known", 0)))
            n_inside += 1
    return {
        "objective_share": round(objective_s / all_s, 4),
        "proposal_share": round(proposal_s / all_s, 4),
        "coordination_share": round(coordination_s / all_s, 4),
        "tasks_per_s": round(n_inside / (end_s - begin_s), 1),
        "n_known": n_known,
    }


def as_markdown(rows: pd.DataFrame) -> str:
    """Make the table of the last run of each cell."""
    last = rows.drop_duplicates(["way", "n_workers"], keep="last")
    source = last.iloc[-1]
    lines = [
        "# What share of their time thousands of workers spend in an objective of one second",
        "",
        f"ADBO in virtual time, {source['timeout_s']:g} s, the second half of it; 8 parameters; "
        f"{source['machine']}, Python {source['python']}, commit {source['commit']}. Rows: "
        "`results/raw/simulated_nodes.csv`, made by `python -m experiments.simulated_nodes`.",
        "",
        "| way | workers | tasks per s | objective share | surrogate and acquisition | requests, "
        "the server's queue and reading | results known at the end |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in last.sort_values(["way", "n_workers"]).itertuples():
        lines.append(
            f"| {cell.way} | {cell.n_workers:,} | {cell.tasks_per_s:,.0f} | "
            f"{cell.objective_share:.3f} | {cell.proposal_share:.3f} | "
            f"{cell.coordination_share:.3f} | {cell.n_known:,} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
