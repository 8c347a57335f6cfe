"""Does ADBO with random weights find better fronts than random search with as many trials?

Measured: the hypervolume of all finished trials after 640 trials of 64 virtual workers, on ZDT1 and
ZDT2 with 6 dimensions, and on a mixed problem of error and cost, whose objectives differ in scale
by a factor of a thousand; 20 seeds each. Expected before measuring: ADBO is better on all three
problems: much better on ZDT1 and ZDT2, where good points are rare, and a little on the mixed one.

Run from the project's root: ``python -m experiments.several_objectives``. If it is started again,
or several times in parallel, it makes only runs that have no row of the same commit yet. If a run
has several rows, the latest one counts.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_opt import Boolean, Categorical, Float, Integer, Space, simulate
from rush_opt.results.pareto import hypervolume

OPTIMIZERS = ("adbo", "random")
N_WORKERS = 64
COST_S = (0.005, 0.005)
METRICS = ["first", "second"]
ROWS = RAW / "several_objectives.csv"

Rows = list[dict[str, Any]]
Config = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Two objectives to minimize, and the hypervolume of their true front if it is known."""

    name: str
    space: Space
    function: Callable[[Config], tuple[float, float]]
    reference: tuple[float, float]
    most: float = math.nan


def zdt1(config: Config) -> tuple[float, float]:
    """Have a convex front; [Zitzler] E. Zitzler, K. Deb, L. Thiele, Evol. Comp. 8(2), 2000."""
    first, g = _first_and_g(config)
    return first, g * (1 - math.sqrt(first / g))


def zdt2(config: Config) -> tuple[float, float]:
    """Have a concave front, on which no weighted sum has its least value; [Zitzler]."""
    first, g = _first_and_g(config)
    return first, g * (1 - (first / g) ** 2)


def _first_and_g(config: Config) -> tuple[float, float]:
    first, *others = config.values()
    return first, 1 + 9 * sum(others) / len(others)


def mixed(config: Config) -> tuple[float, float]:
    """Trade an error for the cost of a model; the best rate depends on its kind."""
    kind = config["kind"]
    rate = math.log10(config["rate"]) + 2 + {"a": 0.0, "b": 0.5, "c": -0.5}[kind]
    error = 0.1 + 0.05 * rate**2 + 0.4 / math.sqrt(config["size"])
    error += 0.1 * (config["share"] - 0.6) ** 2 + (0.0 if config["extra"] else 0.03)
    cost = config["size"] * {"a": 1.0, "b": 2.0, "c": 0.5}[kind] * (1 + config["share"])
    return error, cost * (1.5 if config["extra"] else 1.0)


_UNIT_CUBE = Space({f"x{i}": Float(0, 1) for i in range(6)})
PROBLEMS = (
    # The area up to the reference, less that below the front: 1/3 and 2/3.
    Problem("zdt1", _UNIT_CUBE, zdt1, (1.1, 5.0), 1.1 * 5.0 - 1 / 3),
    Problem("zdt2", _UNIT_CUBE, zdt2, (1.1, 5.0), 1.1 * 5.0 - 2 / 3),
    Problem(
        "mixed6",
        Space(
            {
                "rate": Float(1e-4, 1, log=True),
                "size": Integer(1, 1000, log=True),
                "share": Float(0.1, 1.0),
                "kind": Categorical(["a", "b", "c"]),
                "extra": Boolean(),
                "idle": Float(0, 1),
            }
        ),
        mixed,
        (0.5, 500.0),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=640)
    arguments = parser.parse_args()
    runs = [
        (problem, optimizer, seed)
        for problem in PROBLEMS
        for optimizer in OPTIMIZERS
        for seed in range(arguments.seeds)
    ]
    random.shuffle(runs)
    common = provenance()
    for problem, optimizer, seed in runs:
        known = read_rows().get((problem.name, optimizer, seed))
        if known is None or known["commit"] != common["commit"]:
            row = run_once(problem, optimizer, seed, arguments.trials)
            append_rows(ROWS, [row | common])
    table = as_markdown(list(read_rows().values()))
    print(table)
    (TABLES / "several_objectives.md").write_text(table)


def read_rows() -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the rows that there are, by problem, optimizer and seed."""
    if not ROWS.exists():
        return {}
    with ROWS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["problem"], row["optimizer"], int(row["seed"])): row for row in rows}


def run_once(problem: Problem, optimizer: str, seed: int, n_trials: int) -> dict[str, Any]:
    """Search once, and measure what was found."""
    result = simulate(
        problem.function,
        problem.space,
        n_workers=N_WORKERS,
        n_trials=n_trials,
        optimizer=optimizer,
        metric=METRICS,
        direction=["minimize", "minimize"],
        duration=lambda config, number: 1.0,
        cost=lambda n_known: COST_S,
        seed=seed,
    )
    values = [[trial.result[name] for name in METRICS] for trial in result.frozen_trials]
    return {
        "problem": problem.name,
        "optimizer": optimizer,
        "seed": seed,
        "n_workers": N_WORKERS,
        "n_trials": len(values),
        "hypervolume": hypervolume(values, problem.reference),
        "most": problem.most,
        "n_front": len(result.pareto_front),
    }


def as_markdown(rows: Rows) -> str:
    """Make the table that goes with the rows: mean hypervolumes, and wins seed by seed."""
    n_seeds = len({row["seed"] for row in rows})
    lines = [
        "# Fronts of ADBO and random search at equal trials",
        "",
        f"{rows[0]['n_trials']} trials, {rows[0]['n_workers']} virtual workers, {n_seeds} seeds, "
        f"commit {', '.join(sorted({row['commit'] for row in rows}))}. Hypervolumes are means and "
        "standard deviations over seeds; p is a two-sided sign test. Rows: "
        "`results/raw/several_objectives.csv`, made by `experiments/several_objectives.py`.",
        "",
        "| problem | true front | ADBO | random search | on the front, ADBO | random | ADBO wins "
        "| p |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for problem in PROBLEMS:
        mine = sorted(
            (row for row in rows if row["problem"] == problem.name),
            key=lambda row: int(row["seed"]),
        )
        areas, fronts = (
            {
                optimizer: np.array(
                    [float(row[name]) for row in mine if row["optimizer"] == optimizer]
                )
                for optimizer in OPTIMIZERS
            }
            for name in ("hypervolume", "n_front")
        )
        wins = int((areas["adbo"] > areas["random"]).sum())
        most = "" if math.isnan(problem.most) else f"{problem.most:.4g}"
        cells = [f"{areas[o].mean():.4g} ± {areas[o].std(ddof=1):.2g}" for o in OPTIMIZERS]
        cells += [f"{fronts[o].mean():.0f}" for o in OPTIMIZERS]
        p = binomtest(wins, len(areas["adbo"])).pvalue
        lines.append(f"| {problem.name} | {most} | {' | '.join(cells)} | {wins} | {p:.1g} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
