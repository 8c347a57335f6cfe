"""Does ADBO find better points than random search with as many trials?

Measured: the simple regret of the recommended configuration after 100 trials with 2 real workers,
on Branin, Hartmann-6, a mixed and a noisy function, 20 seeds each, both optimizers in the same run,
in shuffled order. Expected before measuring: ADBO is better on all four functions, and its
advantage is smallest on the noisy one.

The noise of an evaluation is drawn from its configuration, so a run can be repeated. Regret is the
noiseless value of the configuration with the best observed value, minus the function's optimum.

Run from the project's root: ``python -m experiments.adbo_vs_random``
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
from typing import Any

import numpy as np
from scipy.stats import binomtest

from experiments.provenance import RAW, TABLES, append_rows, provenance
from experiments.surrogate_study.problems import PROBLEMS, Problem
from rush_opt import tune

CHOSEN = ("branin", "hartmann6", "mixed7", "plateau8")
OPTIMIZERS = ("adbo", "random")

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    problems = [problem for problem in PROBLEMS if problem.name in CHOSEN]
    runs = [
        (problem, optimizer, seed)
        for problem in problems
        for optimizer in OPTIMIZERS
        for seed in range(arguments.seeds)
    ]
    random.Random(1).shuffle(runs)
    common = provenance()
    rows: Rows = []
    for problem, optimizer, seed in runs:
        row = run_once(problem, optimizer, seed, arguments.trials, arguments.workers)
        rows.append({**row, **common})
        append_rows(RAW / "adbo_vs_random.csv", rows[-1:])
        print(f"{len(rows)}/{len(runs)} {problem.name} {optimizer} {seed}: {row['regret']:.4g}")
    table = as_markdown(rows, common)
    print(table)
    (TABLES / "adbo_vs_random.md").write_text(table)


def run_once(
    problem: Problem, optimizer: str, seed: int, n_trials: int, n_workers: int
) -> dict[str, Any]:
    """Tune once, and describe what came out."""

    def objective(config: dict[str, Any]) -> float:
        digest = hashlib.sha256(repr(sorted(config.items())).encode()).digest()
        return problem.observe(config, np.random.default_rng(list(digest)))

    result = tune(
        objective,
        problem.space,
        n_workers=n_workers,
        n_trials=n_trials,
        optimizer=optimizer,
        seed=seed,
        progress=False,
    )
    return {
        "problem": problem.name,
        "optimizer": optimizer,
        "seed": seed,
        "n_workers": n_workers,
        "n_trials": len(result.frozen_trials),
        "best_observed": result.best_value,
        "regret": problem.function(result.best_params) - problem.optimum,
    }


def as_markdown(rows: Rows, common: dict[str, Any]) -> str:
    """Make the table that goes with the rows: medians, and wins seed by seed."""
    lines = [
        "# ADBO beside random search at equal trials",
        "",
        f"{rows[0]['n_trials']} trials, {rows[0]['n_workers']} workers, commit "
        f"{common['commit']}. Regrets are medians. The ratio is the geometric mean over seeds of "
        "ADBO's regret over random search's; p is a two-sided sign test. Rows: "
        "`results/raw/adbo_vs_random.csv`, made by `experiments/adbo_vs_random.py`.",
        "",
        "| function | seeds | regret, ADBO | regret, random | ratio | ADBO wins | p |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in CHOSEN:
        adbo, rand = (
            {
                row["seed"]: row["regret"]
                for row in rows
                if row["problem"] == name and row["optimizer"] == o
            }
            for o in OPTIMIZERS
        )
        pairs = [(adbo[seed], rand[seed]) for seed in adbo]
        wins = sum(a < r for a, r in pairs)
        # A regret below what a double can tell from zero counts as that.
        logs = [math.log(max(a, 1e-12) / max(r, 1e-12)) for a, r in pairs]
        p = binomtest(wins, sum(a != r for a, r in pairs) or 1).pvalue
        lines.append(
            f"| {name} | {len(pairs)} | {np.median(list(adbo.values())):.3g} | "
            f"{np.median(list(rand.values())):.3g} | {math.exp(np.mean(logs)):.3g} | "
            f"{wins} | {p:.1g} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
