"""Which configuration should a noisy search return?

Measured: the true regret of the trial with the best observed value; of the trials with the best
estimated value, for several forests; and of the truly best trial, which a real search cannot know.
Each run has 150 trials of ADBO with 16 virtual workers, on four problems with noise, 50 seeds each.
The forests differ in their targets and in the smallest node that they split; one of them is
`TuneResult.best_estimated`. Expected before measuring: an estimate is better on all four problems.
Forests with small leaves, as those that make proposals, gain less than forests with large leaves,
which average the noise.

Run from the project's root: ``python -m experiments.noisy_answer``. ``--table`` only makes the
table, from all existing rows.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from experiments.provenance import RAW, TABLES, append_rows, provenance
from experiments.surrogate_study.problems import PROBLEMS, Problem
from rush_opt import simulate
from rush_opt.models.targets import rank_quantiles
from rush_opt.results.estimate import find_lowest

# As much noise as many good points differ among each other.
NOISE_SD = {"branin": 10.0, "hartmann6": 0.3, "plateau8": 0.02, "mixed7": 0.5}
N_WORKERS = 16
COST_S = (0.005, 0.005)

Rows = list[dict[str, Any]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]

TARGETS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "values": lambda y: y,
    "values up to their median": lambda y: np.minimum(y, np.median(y)),
    "quantiles of ranks": rank_quantiles,
}
SPLITS = (5, 20, 40)
CHOSEN = "quantiles of ranks, split from 40"
ANSWERS = (
    "best observed",
    "best tried",
    *(f"{targets}, split from {split}" for targets in TARGETS for split in SPLITS),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.seeds, arguments.trials)
    with (RAW / "noisy_answer.csv").open(newline="") as file:
        table = as_markdown(list(csv.DictReader(file)))
    print(table)
    (TABLES / "noisy_answer.md").write_text(table)


def run(n_seeds: int, n_trials: int) -> None:
    """Make all searches, and append their rows."""
    runs = [
        (replace(problem, noise_sd=NOISE_SD[problem.name]), seed)
        for problem in PROBLEMS
        if problem.name in NOISE_SD
        for seed in range(n_seeds)
    ]
    random.Random(1).shuffle(runs)
    common = provenance()
    for problem, seed in runs:
        rows = run_once(problem, seed, n_trials)
        append_rows(RAW / "noisy_answer.csv", [row | common for row in rows])


def run_once(problem: Problem, seed: int, n_trials: int) -> Rows:
    """Search once, and tell the true regret of each answer."""
    noise = np.random.default_rng([seed, 1])
    result = simulate(
        lambda config: problem.observe(config, noise),
        problem.space,
        n_workers=N_WORKERS,
        n_trials=n_trials,
        duration=lambda config, number: 1.0,
        cost=lambda n_known: COST_S,
        seed=seed,
    )
    trials = result.frozen_trials
    regrets = [problem.function(trial.params) - problem.optimum for trial in trials]
    X = problem.space.encode([trial.params for trial in trials])
    y = np.array([trial.value for trial in trials], dtype=np.float64)
    answers = {
        "best observed": regrets[result.best_trial.number],
        "best tried": min(regrets),
    }
    for targets, transform in TARGETS.items():
        for split in SPLITS:
            rng = np.random.default_rng(seed)
            lowest, _ = find_lowest(X, transform(y), rng, min_samples_split=split)
            answers[f"{targets}, split from {split}"] = regrets[lowest]
    return [
        {
            "problem": problem.name,
            "noise_sd": problem.noise_sd,
            "n_trials": len(trials),
            "n_workers": N_WORKERS,
            "seed": seed,
            "answer": answer,
            "regret": regret,
        }
        for answer, regret in answers.items()
    ]


def as_markdown(rows: Rows) -> str:
    """Make the table that goes with the rows: mean regrets, and wins against the best observed."""
    rows = [row for row in rows if row["answer"] in ANSWERS]
    # Of a search that was made several times the latest rows count.
    latest = {(row["problem"], row["answer"], int(row["seed"])): row for row in rows}
    rows = [latest[key] for key in sorted(latest)]
    regrets: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        regrets.setdefault((row["problem"], row["answer"]), []).append(float(row["regret"]))
    names = [name for name in NOISE_SD if any(row["problem"] == name for row in rows)]
    lines = [
        "# The answer of a noisy search",
        "",
        f"Mean true regret after {rows[0]['n_trials']} trials of ADBO, {rows[0]['n_workers']} "
        f"virtual workers, {len(regrets[names[0], ANSWERS[0]])} seeds, commit "
        f"{', '.join(sorted({row['commit'] for row in rows}))}. In parentheses: in how many seeds "
        "the answer was truly better and worse than the best observed one, and the two-sided sign "
        "test's p. In bold: `TuneResult.best_estimated`. Rows: `results/raw/noisy_answer.csv`, "
        "made by `experiments/noisy_answer.py`; those named `best estimated` are of what was the "
        "default when the search began, values up to their median, split from 20.",
        "",
        "| answer | " + " | ".join(f"{name}, noise {NOISE_SD[name]:g}" for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for answer in ANSWERS:
        cells = [_cell(regrets[name, answer], regrets[name, ANSWERS[0]]) for name in names]
        shown = f"**{answer}**" if answer == CHOSEN else answer
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(regrets: list[float], observed: list[float]) -> str:
    better = sum(a < b for a, b in zip(regrets, observed, strict=True))
    worse = sum(a > b for a, b in zip(regrets, observed, strict=True))
    mean = f"{np.mean(regrets):.3g}"
    if not better + worse:
        return mean
    return f"{mean} ({better}:{worse}, p {binomtest(better, better + worse).pvalue:.1g})"


if __name__ == "__main__":
    main()
