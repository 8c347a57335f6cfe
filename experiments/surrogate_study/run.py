"""Screen the optimizer's settings, compare named strategies, and look at long runs.

Run from the project's root: ``python -m experiments.surrogate_study.run STAGE``; see README.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.tree._splitter import RandomSplitter

from experiments.provenance import RAW, TABLES, append_rows, provenance
from experiments.surrogate_study.problems import PROBLEMS, Problem
from experiments.surrogate_study.simulate import Strategy, simulate
from experiments.surrogate_study.tables import comparison_table, screening_table
from rush_opt.models.forest import ExtraTrees, Forest
from rush_opt.models.targets import rank_quantiles
from rush_opt.models.trees import grow
from rush_opt.search.candidates import Candidates

TRIALS = {1: 100, 8: 150, 64: 300}
LONG_TRIALS = {64: 2_000, 448: 8_000}

# Every run of the screening draws one level of each factor, so that all runs inform all factors.
# The second round starts from what the first one found.
ROUNDS: dict[int, dict[str, tuple[Any, ...]]] = {
    1: {
        "n_trees": (10, 25, 50),
        "n_rows": (100, 250, 1000),
        "elite": (0.0, 0.3, 0.6),
        "max_features": (0.01, 0.4, 1.0),
        "min_samples_split": (2, 5, 10),
        "n_candidates": (300, 1000, 3000),
        "local_share": (0.3, 0.5, 0.8),
        "n_parents": (3, 10, 30),
        "p_move": (0.15, 0.35, 0.7),
        "log10_step_low": (-3.5, -2.5),
        "n_before_model": (4, 10, 20, 40),
        "sobol": (False, True),
        "lambda_mean": (0.2, 0.7, 1.96),
        "lambda_decays": (False, True),
    },
    2: {
        "n_trees": (5, 10, 20),
        "n_rows": (100, 200, 500),
        "elite": (0.0, 0.5),
        "max_features": (0.5, 1.0),
        "min_samples_split": (5, 10, 20),
        "n_candidates": (600, 1000, 2000),
        "local_share": (0.5, 0.8, 0.95),
        "n_parents": (5, 10, 20),
        "p_move": (0.08, 0.2, 0.4),
        "log10_step_low": (-2.5, -2.0, -1.5),
        "n_before_model": (4, 8, 16, 30),
        "sobol": (True,),
        "lambda_mean": (1.0, 2.0, 4.0, 8.0),
        "lambda_decays": (False, True),
    },
}


@dataclass(frozen=True)
class PlainTrees:
    """Extremely randomized trees on all rows, seeing the objective as it is."""

    n_trees: int
    min_samples_split: int

    def fit(
        self, X: npt.NDArray[np.float32], y: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> Forest:
        """Grow the trees."""
        return Forest(
            grow(
                RandomSplitter,
                ((X, y) for _ in range(self.n_trees)),
                n_features=X.shape[1],
                max_features=X.shape[1],
                min_samples_split=self.min_samples_split,
                rng=rng,
            )
        )


@dataclass(frozen=True)
class EliteTrees:
    """The same trees, with the best rows in every tree's sample."""

    trees: ExtraTrees
    n_elite: int

    def fit(
        self, X: npt.NDArray[np.float32], y: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> Forest:
        """Grow the trees."""
        if len(y) <= self.trees.n_rows:
            return self.trees.fit(X, y, rng)
        elite = np.argpartition(y, self.n_elite)[: self.n_elite]
        n_drawn = self.trees.n_rows - self.n_elite
        samples = (
            np.concatenate([elite, rng.choice(len(y), n_drawn, replace=False)])
            for _ in range(self.trees.n_trees)
        )
        return Forest(
            grow(
                RandomSplitter,
                ((X[rows], rank_quantiles(y[rows])) for rows in samples),
                n_features=X.shape[1],
                max_features=max(1, round(self.trees.max_features * X.shape[1])),
                min_samples_split=self.trees.min_samples_split,
                rng=rng,
            )
        )


# Spelled out, and not left to defaults, for the rows to keep their meaning.
TREES = ExtraTrees(n_trees=10, n_rows=500, max_features=1.0, min_samples_split=5)
BASE = Strategy(
    surrogate=TREES,
    candidates=Candidates(500, 250, 250, n_parents=10, p_move=0.25, log10_step=(-2.0, -0.5)),
    n_before_model=8,
    sobol=True,
    lambda_mean=1.96,
    lambda_decays=True,
)
STRATEGIES = {
    "base": BASE,
    "random search": Strategy(surrogate=None),
    "reference": replace(
        BASE,
        surrogate=PlainTrees(n_trees=100, min_samples_split=5),
        candidates=Candidates(n_random=10_000, n_local=0, n_refine=0),
        n_before_model=20,
    ),
    "without the rank transform": replace(BASE, surrogate=PlainTrees(10, 5)),
    "half of the features": replace(BASE, surrogate=replace(TREES, max_features=0.5)),
    "25 trees": replace(BASE, surrogate=replace(TREES, n_trees=25)),
    "lambda constant": replace(BASE, lambda_decays=False),
    "4 before model": replace(BASE, n_before_model=4),
    "20 before model": replace(BASE, n_before_model=20),
    "400 candidates": replace(
        BASE, candidates=replace(BASE.candidates, n_random=200, n_local=100, n_refine=100)
    ),
    "half of the features, 5 before model": replace(
        BASE, surrogate=replace(TREES, max_features=0.5), n_before_model=5
    ),
}
# How many rows a tree gets, and how many of them are the best there are.
LONG = {
    f"{n_rows} rows, {n_elite} best": replace(
        BASE,
        surrogate=EliteTrees(replace(TREES, max_features=0.5, n_rows=n_rows), n_elite),
    )
    for n_rows, n_elite in ((500, 0), (200, 0), (200, 100), (500, 250), (1500, 0))
}


def strategy_of(levels: dict[str, Any]) -> Strategy:
    """Turn one level of each factor into a strategy."""
    n, local = levels["n_candidates"], levels["local_share"]
    return Strategy(
        EliteTrees(
            ExtraTrees(
                n_trees=levels["n_trees"],
                n_rows=levels["n_rows"],
                max_features=levels["max_features"],
                min_samples_split=levels["min_samples_split"],
            ),
            round(levels["elite"] * levels["n_rows"]),
        ),
        Candidates(
            n_random=round(n * (1 - local)),
            n_local=round(n * local / 2),
            n_refine=round(n * local / 2),
            n_parents=levels["n_parents"],
            p_move=levels["p_move"],
            log10_step=(levels["log10_step_low"], -0.5),
        ),
        n_before_model=levels["n_before_model"],
        sobol=levels["sobol"],
        lambda_mean=levels["lambda_mean"],
        lambda_decays=levels["lambda_decays"],
    )


def measure(
    problem: Problem, strategy: Strategy, n_workers: int, n_trials: int, seed: int
) -> dict[str, Any]:
    """Run once and describe the outcome."""
    begin = time.process_time()
    regrets = simulate(problem, strategy, n_workers=n_workers, n_trials=n_trials, seed=seed)
    return {
        "problem": problem.name,
        "n_workers": n_workers,
        "n_trials": n_trials,
        "seed": seed,
        "regret_at_quarter": regrets[n_trials // 4 - 1],
        "regret_at_half": regrets[n_trials // 2 - 1],
        "regret": regrets[-1],
        "cpu_s": round(time.process_time() - begin, 3),
    }


def screen(factors: dict[str, tuple[Any, ...]], first_seed: int) -> Iterator[dict[str, Any]]:
    """Run random combinations of levels, without end."""
    for seed in itertools.count(first_seed):
        rng = np.random.default_rng(seed)
        levels = {name: values[rng.integers(len(values))] for name, values in factors.items()}
        problem = PROBLEMS[rng.integers(len(PROBLEMS))]
        n_workers = int(rng.choice([1, 8, 64], p=[0.2, 0.4, 0.4]))
        outcome = measure(problem, strategy_of(levels), n_workers, TRIALS[n_workers], seed)
        yield {**outcome, **levels}


def compare(
    strategies: dict[str, Strategy], trials: dict[int, int], first_seed: int
) -> Iterator[dict[str, Any]]:
    """Run all strategies on the same problems and seeds, in shuffled order, without end."""
    for seed in itertools.count(first_seed):
        rng = np.random.default_rng(seed)
        blocks = list(itertools.product(PROBLEMS, trials.items(), strategies.items()))
        for i in rng.permutation(len(blocks)):
            problem, (n_workers, n_trials), (name, strategy) = blocks[i]
            yield {
                "strategy": name,
                **measure(problem, strategy, n_workers, n_trials, seed),
            }


def keep(rows: Iterator[dict[str, Any]], path: Path, minutes: float) -> None:
    """Append rows as they come, until the time is up."""
    source = provenance()
    end = time.monotonic() + 60 * minutes
    for row in rows:
        append_rows(path, [{**row, **source}])
        if time.monotonic() > end:
            return


def main() -> None:
    """Run one stage, or make the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["screen", "compare", "long", "tables"])
    parser.add_argument("--round", type=int, choices=sorted(ROUNDS), default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[64])
    parser.add_argument("--strategies", nargs="+", choices=[*STRATEGIES, *LONG])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    paths = {stage: RAW / f"surrogate_study_{stage}.csv" for stage in ("screen", "compare", "long")}
    if arguments.stage == "screen":
        rows = screen(ROUNDS[arguments.round], arguments.first_seed)
        keep(rows, paths["screen"], arguments.minutes)
    elif arguments.stage in ("compare", "long"):
        strategies, trials = (
            (STRATEGIES, TRIALS) if arguments.stage == "compare" else (LONG, LONG_TRIALS)
        )
        rows = compare(
            {name: strategies[name] for name in arguments.strategies or strategies},
            {n_workers: trials[n_workers] for n_workers in arguments.workers},
            arguments.first_seed,
        )
        keep(rows, paths[arguments.stage], arguments.minutes)
    found = {stage: pd.read_csv(path) for stage, path in paths.items() if path.exists()}
    makers = {"screen": screening_table, "compare": comparison_table, "long": comparison_table}
    for stage, frame in found.items():
        origin = (
            f"\nRows: `results/raw/surrogate_study_{stage}.csv`, made by "
            "`python -m experiments.surrogate_study.run`.\n"
        )
        (TABLES / f"surrogate_study_{stage}.md").write_text(makers[stage](frame) + origin)


if __name__ == "__main__":
    main()
