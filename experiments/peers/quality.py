"""Which method finds better configurations with the same number of trials and 1 to 64 workers?

Question, prediction, set-up and command are in README.md. The work is a list of cells, seeds
outermost: whenever the study is stopped, the seeds before the last one are complete. Every finished
cell is a row at once; a cell that has a row is not run again.

Run from the project's root, in the environment of README.md:
``python -m experiments.peers.quality``; ``--report`` makes the table and the figure.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import math
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiments.peers import problems, ranks, report
from experiments.peers.methods import METHODS, Finished, Run
from experiments.peers.settings import VARIANTS
from experiments.provenance import RAW, append_rows, provenance
from experiments.surrogate_study.problems import Problem

ROWS = RAW / "peers_quality.csv"
WORKERS = (1, 8, 64)
SEEDS = 20

# The columns of a method's row that describe its package.
PACKAGES = {"rush": "rush-hpo", "Optuna": "optuna", "DeepHyper": "deephyper"} | {
    "Hyperopt": "hyperopt",
    "SMAC3": "smac",
    "random": "rush-hpo",
    "Sobol": "rush-hpo",
}


class Cell(NamedTuple):
    """One run."""

    problem: str
    method: str
    n_workers: int
    seed: int


def cells(
    seeds: Sequence[int], names: Sequence[str], methods: Sequence[str], workers: Sequence[int]
) -> Iterator[tuple[int, Cell]]:
    """List all runs, seeds outermost, with numbers by which they are dealt to processes.

    Methods differ in what they cost: the number moves on by one from block to block, for every
    process to get every method.
    """
    block = 0
    for seed in seeds:
        for name in names:
            for n_workers in workers:
                for place, method in enumerate(methods):
                    yield block + place, Cell(name, method, n_workers, seed)
                block += 1


def cells_done(path: Path, since: str = "") -> set[Cell]:
    """Read which cells have a row of a start of this script at `since` (ISO 8601, UTC) or later."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {
            Cell(row["problem"], row["method"], int(row["n_workers"]), int(row["seed"]))
            for row in csv.DictReader(file)
            if row["started"] >= since
        }


def measure(cell: Cell) -> dict[str, Any]:
    """Run a cell and describe the outcome; what goes wrong in a method is an outcome too."""
    problem = problems.make(cell.problem, cell.seed)
    n_trials = problems.n_trials(problem.space.n_dims)
    run = Run(
        problem,
        observe=lambda config, k: problems.observe(problem, cell.problem, cell.seed, k, config),
        duration=lambda k: problems.duration(cell.problem, cell.seed, k),
        n_workers=cell.n_workers,
        n_trials=n_trials,
        seed=cell.seed,
    )
    error, finished = "", []
    before = time.process_time()
    try:
        finished = (METHODS | VARIANTS)[cell.method](run)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"[:300].replace("\n", " ")
    cpu_s = time.process_time() - before
    regrets = regret_curve(problem, finished) or [math.inf]
    return {
        **{"problem": cell.problem, "kind": problems.PROBLEMS[cell.problem].kind},
        **{"method": cell.method, "package": _package(cell.method)},
        **{"n_workers": cell.n_workers, "seed": cell.seed, "n_trials": n_trials},
        "n_finished": len(finished),
        "regret_at_quarter": regrets[min(n_trials // 4, len(regrets)) - 1],
        "regret_at_half": regrets[min(n_trials // 2, len(regrets)) - 1],
        "regret": regrets[-1],
        "makespan": max((trial.ended_at for trial in finished), default=0.0),
        "cpu_s": round(cpu_s, 3),
        "cpu_ms_per_trial": round(1e3 * cpu_s / n_trials, 2),
        "error": error,
    }


def regret_curve(problem: Problem, finished: Sequence[Finished]) -> list[float]:
    """Return the simple regret after each trial that ended.

    Parameters
    ----------
    problem : Problem
    finished : sequence of Finished
        In order of completion.

    Returns
    -------
    list of float
        The noiseless value of the configuration with the best observed value so far, less the
        problem's optimum.
    """
    best, regret, curve = math.inf, math.inf, []
    for trial in finished:
        if trial.value < best:
            best, regret = trial.value, problem.function(trial.config) - problem.optimum
        curve.append(regret)
    return curve


def keep(row: dict[str, Any], path: Path) -> None:
    """Append a row, one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        append_rows(path, [row])
    finally:
        os.close(folder)


def _package(method: str) -> str:
    name = PACKAGES[method.split()[0]]
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return "none"


def _shard(text: str) -> tuple[int, int]:
    number, n = map(int, text.split("/"))
    if not 0 <= number < n:
        raise argparse.ArgumentTypeError(f"need i/n with 0 <= i < n, got {text}")
    return number, n


def main() -> None:
    """Run the missing runs, or report on the existing rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, SEEDS), metavar=("FROM", "TO"))
    parser.add_argument("--problems", nargs="+", choices=problems.PROBLEMS, metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=METHODS | VARIANTS, metavar="NAME")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--since", default="", help="earlier starts of this do not count")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--name", default="peers_quality", help="of the report's table and figure")
    arguments = parser.parse_args()
    if arguments.report:
        rows = pd.read_csv(arguments.rows, keep_default_na=False)
        write_report(rows[rows["method"].isin(arguments.methods or METHODS)], arguments.name)
        return
    end = time.monotonic() + 60 * arguments.minutes
    number, n = arguments.shard
    work = cells(
        range(*arguments.seeds),
        arguments.problems or list(problems.PROBLEMS),
        arguments.methods or list(METHODS),
        arguments.workers,
    )
    done, common = cells_done(arguments.rows, arguments.since), provenance()
    # Some packages warn at each trial of experimental features, and of features that are not used.
    warnings.simplefilter("ignore")
    with threadpool_limits(limits=1):
        for place, cell in work:
            if place % n != number or cell in done:
                continue
            if time.monotonic() > end:
                return
            # Some draw from numpy's global stream whatever seed they are given.
            np.random.seed(cell.seed)
            row = measure(cell)
            keep({**row, **common}, arguments.rows)
            print(*cell, f"{row['regret']:.4g} {row['cpu_s']} s {row['error']}", flush=True)


def write_report(rows: pd.DataFrame, name: str) -> None:
    """Write the table and the figure of this name."""
    new = [name for name, source in problems.PROBLEMS.items() if source.is_new]
    curves = ranks.curves(rows)
    report.write(name, ranks.as_markdown(rows, new), ranks.as_figure(curves), curves)


if __name__ == "__main__":
    main()
