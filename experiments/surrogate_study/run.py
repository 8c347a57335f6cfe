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
from rush_opt.proposal import Candidates
from rush_opt.surrogate import ExtraTrees, Forest, _grow

TRIALS = {1: 100, 8: 150, 64: 300}

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
            _grow(
                RandomSplitter,
                ((X, y) for _ in range(self.n_trees)),
                n_features=X.shape[1],
                max_features=X.shape[1],
                min_samples_split=self.min_samples_split,
                rng=rng,
            )
        )


CHOSEN = Strategy()
STRATEGIES = {
    "chosen": CHOSEN,
    "random search": Strategy(surrogate=None),
    "reference": Strategy(
        surrogate=PlainTrees(n_trees=100, min_samples_split=5),
        candidates=Candidates(n_random=10_000, n_local=0, n_refine=0),
        n_before_model=20,
        lambda_mean=1.96,
        lambda_decays=True,
    ),
    "without the rank transform": replace(
        CHOSEN,
        surrogate=PlainTrees(
            n_trees=ExtraTrees().n_trees, min_samples_split=ExtraTrees().min_samples_split
        ),
    ),
    "half of the features": replace(CHOSEN, surrogate=ExtraTrees(max_features=0.5)),
    "25 trees": replace(CHOSEN, surrogate=ExtraTrees(n_trees=25)),
    "lambda constant": replace(CHOSEN, lambda_decays=False),
    "4 before model": replace(CHOSEN, n_before_model=4),
    "20 before model": replace(CHOSEN, n_before_model=20),
    "400 candidates": replace(CHOSEN, candidates=Candidates(200, 100, 100)),
}
LONG = {
    f"{n_rows} rows, {n_elite} of them the best": replace(
        CHOSEN, surrogate=ExtraTrees(n_rows=n_rows, n_elite=n_elite)
    )
    for n_rows, n_elite in ((200, 0), (200, 100), (500, 0), (500, 250), (1000, 0), (1000, 500))
}


def strategy_of(levels: dict[str, Any]) -> Strategy:
    """Turn one level of each factor into a strategy."""
    n, local = levels["n_candidates"], levels["local_share"]
    return Strategy(
        ExtraTrees(
            n_trees=levels["n_trees"],
            n_rows=levels["n_rows"],
            n_elite=round(levels["elite"] * levels["n_rows"]),
            max_features=levels["max_features"],
            min_samples_split=levels["min_samples_split"],
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
    parser.add_argument("--workers", type=int, nargs="+", choices=sorted(TRIALS), default=[8, 64])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    paths = {stage: RAW / f"surrogate_study_{stage}.csv" for stage in ("screen", "compare", "long")}
    if arguments.stage == "screen":
        rows = screen(ROUNDS[arguments.round], arguments.first_seed)
        keep(rows, paths["screen"], arguments.minutes)
    elif arguments.stage == "compare":
        chosen = {name: STRATEGIES[name] for name in arguments.strategies}
        trials = {n_workers: TRIALS[n_workers] for n_workers in arguments.workers}
        keep(compare(chosen, trials, arguments.first_seed), paths["compare"], arguments.minutes)
    elif arguments.stage == "long":
        rows = compare(LONG, {64: 2_000}, arguments.first_seed)
        keep(rows, paths["long"], arguments.minutes)
    found = {stage: pd.read_csv(path) for stage, path in paths.items() if path.exists()}
    makers = {"screen": screening_table, "compare": comparison_table, "long": comparison_table}
    for stage, frame in found.items():
        (TABLES / f"surrogate_study_{stage}.md").write_text(makers[stage](frame))


if __name__ == "__main__":
    main()
