"""Compare ways to propose, on problems that are drawn again with every seed.

Run from the project's root: ``python -m experiments.proposal_study.run``; see README.md.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from experiments.proposal_study.problems import PROBLEMS
from experiments.proposal_study.simulate import simulate
from experiments.proposal_study.tables import comparison_table
from experiments.proposal_study.variants import VARIANTS
from experiments.provenance import RAW, TABLES, append_rows, provenance

TRIALS = {1: 80, 8: 120, 16: 320, 64: 256}


def compare(names: list[str], workers: list[int], seeds: range) -> Iterator[dict[str, Any]]:
    """Run variants on the same problems and seeds, in shuffled order within a seed."""
    for seed in seeds:
        blocks = list(itertools.product(PROBLEMS, workers, names))
        for i in np.random.default_rng(seed).permutation(len(blocks)):
            problem, n_workers, name = blocks[i]
            # Drawn by name and seed: problems added later change nothing.
            instance = PROBLEMS[problem](np.random.default_rng([seed, *problem.encode()]))
            n_trials, begin = TRIALS[n_workers], time.process_time()
            outcome = simulate(
                instance, VARIANTS[name], n_workers=n_workers, n_trials=n_trials, seed=seed
            )
            yield {
                "variant": name,
                "problem": problem,
                "n_workers": n_workers,
                "n_trials": n_trials,
                "seed": seed,
                "regret_at_quarter": outcome.regrets[n_trials // 4 - 1],
                "regret_at_half": outcome.regrets[n_trials // 2 - 1],
                "regret": outcome.regrets[-1],
                "n_repeats": outcome.n_repeats,
                "cpu_s": round(time.process_time() - begin, 3),
            }


def main() -> None:
    """Run one stage and make its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 20], help="first, one past last")
    parser.add_argument("--minutes", type=float, default=30)
    arguments = parser.parse_args()
    path, source = RAW / "proposal_study.csv", provenance()
    end = time.monotonic() + 60 * arguments.minutes
    for row in compare(arguments.variants, arguments.workers, range(*arguments.seeds)):
        append_rows(path, [{**row, **source}])
        if time.monotonic() > end:
            break
    table = comparison_table(pd.read_csv(path))
    (TABLES / "proposal_study.md").write_text(table)


if __name__ == "__main__":
    main()
