"""What does stopping trials early save, and what should a model make of a stopped trial?

Asked: how many steps of training, over all trials, until one trial has gone through all of its 81
steps and is as good as the best 1 in 1000 random configurations, with 8 workers and a budget of
4860 steps (60 whole trials), on two simulated families of learning curves: random search, ADBO, and
both with asynchronous successive halving and with the median rule. In `aligned` curves who learns
fast ends well; in `crossing` curves the best learn slowly. With ADBO, a stopped trial enters the
model in one of four ways: as it is, with its last value; not below the median of the whole trials;
as bad as the worst; or not at all.

Expected before measuring: stopping saves random search most, ADBO about a half, and less where
curves cross; of the four ways the second is best, because a value at an early step misleads the
model about how bad the configuration is.

The rules, the archive, the proposals and the curves are those of a run; only time is simulated: a
step takes one unit, a proposal none, and what one worker reports all others know at once.

Run from the project's root: ``python -m experiments.early_stopping``
"""

from __future__ import annotations

import argparse
import functools
import heapq
import math
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import TaskTable
from rush_opt import ADBO, Float, MedianRule, RandomSearch, Space, SuccessiveHalving
from rush_opt.archive import Archive
from rush_opt.curves import Curves
from rush_opt.design import random_design, sobol_design
from rush_opt.evaluation import Problem
from rush_opt.pruning import Pruner

N_DIMS = 5
SPACE = Space({f"x{i}": Float(0, 1) for i in range(N_DIMS)})
CENTRE = np.array([0.25, 0.6, 0.4, 0.75, 0.5])
WEIGHTS = np.array([0.6, 1.2, 0.8, 0.4, 0.2])
N_STEPS = 81
START = 2.3
NOISE = 0.01
FAMILIES = ("aligned", "crossing")

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Method:
    """What proposes, what stops, and what the model makes of a stopped trial."""

    name: str
    optimizer: ADBO | RandomSearch
    pruner: Pruner | None
    stopped: str = ""


RULES: dict[str, Pruner] = {
    "halving 3": SuccessiveHalving(min_resource=3, reduction_factor=3),
    "halving 4": SuccessiveHalving(min_resource=3, reduction_factor=4),
    "median": MedianRule(n_warmup_steps=3),
}
METHODS = [
    Method("random", RandomSearch(), None),
    *(Method(f"random, {name}", RandomSearch(), rule, "left out") for name, rule in RULES.items()),
    Method("adbo", ADBO(), None),
    *(
        Method(f"adbo, {name}", ADBO(), rule, stopped)
        for name, rule in RULES.items()
        for stopped in ("as it is", "left out")
    ),
    *(
        Method("adbo, halving 4", ADBO(), RULES["halving 4"], stopped)
        for stopped in ("not below the median", "as the worst")
    ),
]


class Report:
    """A report as curves take it in."""

    attempt = 0

    def __init__(self, key: str, step: int, value: float) -> None:
        self.key = key
        self.values = {"step": step, "value": value}


def final_loss(family: str, X: np.ndarray) -> np.ndarray:
    """Return the noiseless losses after the last step, shape (n,)."""
    return loss_at(family, X, N_STEPS)


def loss_at(family: str, X: np.ndarray, step: int) -> np.ndarray:
    """Return the noiseless losses of configurations after some steps.

    A power law falls from one starting loss to an asymptote, a bowl in the unit cube; the first
    coordinate also sets the exponent, larger near the optimum or away from it.
    """
    asymptote = 0.1 + (WEIGHTS * (X - CENTRE) ** 2).sum(axis=1)
    distance = np.abs(X[:, 0] - CENTRE[0]) / 0.75
    exponent = 0.5 + 0.5 * (1 - distance if family == "aligned" else distance)
    return np.asarray(asymptote + (START - asymptote) * step**-exponent)


@functools.cache
def target_of(family: str) -> float:
    """Return the final loss that 1 in 1000 random configurations reaches."""
    X = random_design(SPACE, 200_000, np.random.default_rng(0))
    return float(np.quantile(final_loss(family, X), 0.001))


def run_once(family: str, method: Method, seed: int, budget: int, n_workers: int) -> dict[str, Any]:
    """Simulate a run, and describe what came out."""
    problem = Problem(
        lambda config: 0.0, SPACE, ("value",), (1.0,), None, None, seed, method.pruner
    )
    archive, curves = Archive(SPACE, "value"), Curves()
    states = [method.optimizer.state(problem, archive, w, n_before=w) for w in range(n_workers)]
    noise = np.random.default_rng([seed, 99])
    n_design = method.optimizer.n_initial(N_DIMS, n_workers)
    design = iter(SPACE.decode(sobol_design(SPACE, n_design, problem.design_rng())))
    names, target = count(), target_of(family)
    n_spent = n_whole = n_begun = 0
    best, reached_at = math.inf, math.nan
    whole: list[float] = []

    def trial(worker: int) -> Iterator[None]:
        """Go through one trial, a step at a time."""
        nonlocal n_spent, n_whole, n_begun, best, reached_at
        config = next(design, None) or states[worker].propose(lambda phase: nullcontext())[0]
        X, key = SPACE.encode([config]), str(next(names))
        n_begun += 1
        for step in range(1, N_STEPS + 1):
            yield
            n_spent += 1
            value = float(loss_at(family, X, step)[0] + NOISE * noise.standard_normal())
            curves.add([Report(key, step, value)])
            rule, last = method.pruner, step == N_STEPS
            if not last and rule and rule.should_stop(curves[key], curves.others(key)):
                enter_stopped(archive, method.stopped, config, value, whole)
                return
        archive.add(TaskTable.from_results([config], [{"value": value}]))
        whole.append(value)
        n_whole += 1
        best = min(best, float(final_loss(family, X)[0]))
        if best <= target and math.isnan(reached_at):
            reached_at = n_spent

    def endless(worker: int) -> Iterator[None]:
        while True:
            yield from trial(worker)

    workers = [endless(w) for w in range(n_workers)]
    events = [(0, w) for w in range(n_workers)]
    while n_spent < budget:
        now, worker = heapq.heappop(events)
        next(workers[worker])
        heapq.heappush(events, (now + 1, worker))
    return {
        "family": family,
        "method": method.name,
        "stopped_trials": method.stopped if method.pruner and "adbo" in method.name else "",
        "seed": seed,
        "n_workers": n_workers,
        "budget_steps": budget,
        "steps_to_target": reached_at,
        "target": target,
        "best_final_loss": best,
        "n_trials": n_begun,
        "n_whole": n_whole,
    }


def enter_stopped(
    archive: Archive, how: str, config: dict[str, Any], value: float, whole: list[float]
) -> None:
    """Let the model know of a stopped trial, or not."""
    if how == "as the worst":
        archive.add_failed(TaskTable.from_results([config], [{}]))
    elif how != "left out":
        if how == "not below the median" and whole:
            value = max(value, float(np.median(whole)))
        archive.add(TaskTable.from_results([config], [{"value": value}]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=60 * N_STEPS, help="steps in all")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    runs = [
        (family, method, seed)
        for family in FAMILIES
        for method in METHODS
        for seed in range(arguments.seeds)
    ]
    random.Random(1).shuffle(runs)
    common, rows = provenance(), []
    with ProcessPoolExecutor(arguments.processes) as pool:
        given = (arguments.budget, arguments.workers)
        futures = [pool.submit(run_once, *run, *given) for run in runs]
        for future in futures:
            rows.append({**future.result(), **common})
            append_rows(RAW / "early_stopping.csv", rows[-1:])
            print(len(rows), len(runs), list(rows[-1].values())[:11], flush=True)
    table = as_markdown(rows, common)
    print(table)
    (TABLES / "early_stopping.md").write_text(table)


def as_markdown(rows: Rows, common: dict[str, str]) -> str:
    """Make the table that goes with the rows: medians over seeds."""
    first = rows[0]
    lines = [
        "# Stopping trials early",
        "",
        f"{first['n_workers']} simulated workers, {first['budget_steps']} steps in all, whole "
        f"trials of {N_STEPS}; commit {common['commit']}. Steps to the target are medians "
        "over seeds, a run that never reaches it counted as more than the budget; best final "
        "losses are medians of the noiseless loss of the best whole trial. Rows: "
        "`results/raw/early_stopping.csv`, made by `experiments/early_stopping.py`.",
        "",
        "| curves | method | stopped trials in the model | seeds | reached | steps to target | "
        "best final loss, excess over target | trials | whole trials |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for family in FAMILIES:
        for method in METHODS:
            mine = [
                row
                for row in rows
                if (row["family"], row["method"]) == (family, method.name)
                and row["stopped_trials"] in ("", method.stopped)
            ]
            steps = [row["steps_to_target"] for row in mine]
            reached = [step for step in steps if not math.isnan(step)]
            median = float(np.median([math.inf if math.isnan(s) else s for s in steps]))
            excess = float(np.median([row["best_final_loss"] - row["target"] for row in mine]))
            cells = [
                *(family, method.name, mine[0]["stopped_trials"] or "-", str(len(mine))),
                str(len(reached)),
                f"{median:.0f}" if math.isfinite(median) else f"> {first['budget_steps']}",
                f"{excess:+.3f}",
                *(
                    f"{np.median([row[name] for row in mine]):.0f}"
                    for name in ("n_trials", "n_whole")
                ),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
