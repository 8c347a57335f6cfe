"""Which configuration should a noisy search answer with?

Asked: the true regret of the trial with the best observed value, of the one with the best
estimated value (`TuneResult.best_estimated`), and of the best one that was tried, which nobody can
know; after 150 trials of ADBO with 16 virtual workers, on four problems with noise, 50 seeds each.
Beside it, what other forests would answer: other targets, and smaller and larger leaves.
Expected before measuring: the estimate is better on all four, and forests that split to the end, as
those that propose, gain less than those whose leaves average the noise out.

Run from the project's root: ``python -m experiments.noisy_answer``
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from experiments.provenance import RAW, TABLES, append_rows, provenance
from experiments.surrogate_study.problems import PROBLEMS, Problem
from rush_opt import simulate
from rush_opt.estimate import smooth
from rush_opt.surrogate import rank_quantiles

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=150)
    arguments = parser.parse_args()
    runs = [
        (replace(problem, noise_sd=NOISE_SD[problem.name]), seed)
        for problem in PROBLEMS
        if problem.name in NOISE_SD
        for seed in range(arguments.seeds)
    ]
    random.Random(1).shuffle(runs)
    common = provenance()
    rows: Rows = []
    for problem, seed in runs:
        new = run_once(problem, seed, arguments.trials)
        append_rows(RAW / "noisy_answer.csv", [row | common for row in new])
        rows += new
    table = as_markdown(rows, common)
    print(table)
    (TABLES / "noisy_answer.md").write_text(table)


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
        "best estimated": regrets[result.best_estimated.trial.number],
        "best tried": min(regrets),
    }
    for targets, transform in TARGETS.items():
        for split in SPLITS:
            mean, _ = smooth(X, transform(y), np.random.default_rng(seed), min_samples_split=split)
            answers[f"{targets}, split from {split}"] = regrets[int(np.argmin(mean))]
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


def as_markdown(rows: Rows, common: dict[str, Any]) -> str:
    """Make the table that goes with the rows: mean regrets, and wins against the best observed."""
    regrets: dict[tuple[str, str], list[float]] = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        regrets.setdefault((row["problem"], row["answer"]), []).append(float(row["regret"]))
    names = [name for name in NOISE_SD if any(row["problem"] == name for row in rows)]
    answers = list(dict.fromkeys(row["answer"] for row in rows))
    lines = [
        "# The answer of a noisy search",
        "",
        f"Mean true regret after {rows[0]['n_trials']} trials of ADBO, {rows[0]['n_workers']} "
        f"virtual workers, {len(regrets[names[0], answers[0]])} seeds, commit {common['commit']}. "
        "In parentheses: in how many seeds the answer was truly better and worse than the best "
        "observed one, and the two-sided sign test's p. Rows: `results/raw/noisy_answer.csv`, made "
        "by `experiments/noisy_answer.py`.",
        "",
        "| answer | " + " | ".join(f"{name}, noise {NOISE_SD[name]:g}" for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for answer in answers:
        cells = [_cell(regrets[name, answer], regrets[name, answers[0]]) for name in names]
        lines.append(f"| {answer} | " + " | ".join(cells) + " |")
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
