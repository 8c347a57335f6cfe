"""How much does stopping trials early save, and how should a model use a stopped trial?

Measured: the number of training steps, over all trials, until the target is reached. The target is
a trial that has run all of its steps and is as good as the best 1 in 1000 random configurations (of
the 1,344 real ones, the best 1 in 200). There are 8 workers, and a budget of the steps of 60 whole
trials. Random search and ADBO run alone, with asynchronous successive halving, and with the median
rule, on three families of learning curves:

- `aligned`, simulated: configurations that learn fast end well;
- `crossing`, simulated: the best configurations learn slowly;
- `digits`, real: see `experiments/learning_curves.py`.

With ADBO, the model uses a stopped trial in one of three ways: not at all; with its progress, as in
`rush_opt.search.stopped_trials`; or with its last value, unchanged.

Expected before measuring: stopping saves random search most, and ADBO about half of its steps; it
saves less if curves cross. The second of the three ways is best, because the model learns how well
an early value predicts the last one. The form of the second way was chosen on seeds 60 to 79 of
these families.

The rules, the archive, the proposals and the real curves are those of a run. Only time is
simulated: a step takes one unit of time and a proposal none, and all workers know a report at once.

Run from the project's root: ``python -m experiments.early_stopping``
"""

from __future__ import annotations

import argparse
import functools
import heapq
import math
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec
import numpy as np

from experiments import learning_curves
from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import TaskTable
from rush_core.kernel.task import decode_tasks
from rush_opt import ADBO, Float, MedianRule, RandomSearch, Space, SuccessiveHalving
from rush_opt.optimizers.base import Place
from rush_opt.optimizers.decider import Decider
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.design import random_design, sobol_design
from rush_opt.stopping.curves import Curves
from rush_opt.stopping.incumbent import STOPPED_AT
from rush_opt.stopping.trial_rules import Pruner

# What a run may spend, in steps: as many as these have.
N_WHOLE_TRIALS = 60

Rows = list[dict[str, Any]]
Losses = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Family:
    """Learning curves of all configurations of a space.

    Attributes
    ----------
    loss_at : callable
        ``loss_at(X, step)`` returns the losses of rows of the unit cube after a step, from 1,
        shape (n,).
    noise : float
        Standard deviation of what is added to each loss that is reported.
    share : float
        How many of all configurations are as good as the target.
    first_rung : int
        The first step at which halving compares, and after which the median rule does.
    """

    name: str
    space: Space
    loss_at: Losses
    n_steps: int
    first_rung: int
    noise: float
    share: float

    @functools.cached_property
    def target(self) -> float:
        """The final loss that a share of random configurations reaches."""
        X = random_design(self.space, 200_000, np.random.default_rng(0))
        return float(np.quantile(self.loss_at(X, self.n_steps), self.share))


@dataclass(frozen=True)
class Method:
    """What proposes, what stops, and what the model makes of a stopped trial."""

    name: str
    optimizer: ADBO | RandomSearch
    rule: str = ""
    stopped: str = ""


CENTRE = np.array([0.25, 0.6, 0.4, 0.75, 0.5])
WEIGHTS = np.array([0.6, 1.2, 0.8, 0.4, 0.2])
START = 2.3


def simulated(learns_fast: str) -> Losses:
    """Return losses that fall by a power law from one starting loss to an asymptote, a bowl.

    The first coordinate also sets the exponent: larger for the configurations that learn fast,
    those ``"near"`` the optimum or those ``"away"`` from it.
    """

    def loss_at(X: np.ndarray, step: int) -> np.ndarray:
        asymptote = 0.1 + (WEIGHTS * (X - CENTRE) ** 2).sum(axis=1)
        distance = np.abs(X[:, 0] - CENTRE[0]) / 0.75
        exponent = 0.5 + 0.5 * (1 - distance if learns_fast == "near" else distance)
        return np.asarray(asymptote + (START - asymptote) * step**-exponent)

    return loss_at


CUBE = Space({f"x{i}": Float(0, 1) for i in range(len(CENTRE))})
FAMILIES = {
    family.name: family
    for family in (
        Family(
            "aligned", CUBE, simulated("near"), n_steps=81, first_rung=3, noise=0.01, share=1e-3
        ),
        Family(
            "crossing", CUBE, simulated("away"), n_steps=81, first_rung=3, noise=0.01, share=1e-3
        ),
        Family(
            *("digits", learning_curves.SPACE, learning_curves.loss_at),
            n_steps=learning_curves.N_STEPS,
            first_rung=1,
            noise=0.0,
            share=5e-3,
        ),
    )
}
RULES: dict[str, Callable[[int], Pruner]] = {
    "halving 3": lambda first: SuccessiveHalving(min_resource=first, reduction_factor=3),
    "halving 4": lambda first: SuccessiveHalving(min_resource=first, reduction_factor=4),
    "median": lambda first: MedianRule(n_warmup_steps=first),
}
METHODS = [
    Method("random", RandomSearch()),
    *(Method(f"random, {rule}", RandomSearch(), rule, "left out") for rule in RULES),
    Method("adbo", ADBO()),
    *(
        Method(f"adbo, {rule}", ADBO(), rule, stopped)
        for rule in RULES
        for stopped in ("left out", "by progress", "as it is")
    ),
]


class Report:
    """A report as curves take it in."""

    attempt = 0

    def __init__(self, key: str, step: int, value: float) -> None:
        self.key = key
        self.values = {"step": step, "value": value}


def ended(key: str, config: dict[str, Any], value: float, step: int | None) -> TaskTable:
    """Return one ended task, which was stopped at a step or completed."""
    notes = None if step is None else {STOPPED_AT: step}
    fields = ["worker", 0, key, config, None, 0.0, 1.0, {"value": value}, None, notes]
    return TaskTable(decode_tasks([msgspec.msgpack.encode(fields)], b"finished"))


def run_once(
    name: str, method: Method, seed: int, n_workers: int, n_whole_trials: int = N_WHOLE_TRIALS
) -> dict[str, Any]:
    """Simulate a run on a family of curves, and describe what came out."""
    family = FAMILIES[name]
    space, budget = family.space, n_whole_trials * family.n_steps
    rule = RULES[method.rule](family.first_rung) if method.rule else None
    problem = Problem(space, (Goal("value"),), seed)
    curves = Curves()
    known = curves if method.stopped == "by progress" else None
    archive = Archive(space, problem.goals, curves=known)
    places = [Place(number, number, n_workers) for number in range(n_workers)]
    deciders = [Decider(method.optimizer, problem, p, archive=archive) for p in places]
    noise = np.random.default_rng([seed, 99])
    n_design = method.optimizer.n_initial(space.n_dims, n_workers)
    design = iter(space.decode(sobol_design(space, n_design, problem.design_rng())))
    names = count()
    n_spent = n_whole = n_begun = 0
    best, reached_at = math.inf, math.nan

    def trial(worker: int) -> Iterator[None]:
        """Go through one trial, a step at a time."""
        nonlocal n_spent, n_whole, n_begun, best, reached_at
        config = next(design, None) or propose(deciders[worker])
        X, key = space.encode([config]), str(next(names))
        n_begun += 1
        for step in range(1, family.n_steps + 1):
            yield
            n_spent += 1
            loss = float(family.loss_at(X, step)[0])
            value = loss + family.noise * float(noise.standard_normal())
            curves.add([Report(key, step, value)])
            if not math.isfinite(value):
                archive.add_failed(ended(key, config, value, step))
                return
            last = step == family.n_steps
            if not last and rule and rule.should_stop(curves[key], curves.others(key)):
                stopped_at = None if method.stopped == "as it is" else step
                archive.add(ended(key, config, value, stopped_at))
                return
        archive.add(ended(key, config, value, None))
        n_whole += 1
        best = min(best, loss)
        if best <= family.target and math.isnan(reached_at):
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
        "family": family.name,
        "method": method.name,
        "stopped_trials": method.stopped if isinstance(method.optimizer, ADBO) else "",
        "seed": seed,
        "n_workers": n_workers,
        "budget_steps": budget,
        "steps_to_target": reached_at,
        "target": family.target,
        "best_final_loss": best,
        "n_trials": n_begun,
        "n_whole": n_whole,
    }


def propose(decider: Decider) -> dict[str, Any]:
    return decider.choose(lambda phase: nullcontext()).proposal.config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
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
        given = (arguments.workers,)
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
    lines = [
        "# Stopping trials early",
        "",
        f"{rows[0]['n_workers']} simulated workers; commit {common['commit']}. Whole trials have "
        + ", ".join(f"{family.n_steps} steps ({name})" for name, family in FAMILIES.items())
        + f", and a run as many as {N_WHOLE_TRIALS} of them. Steps to the target are medians over "
        "seeds, a run that never reaches it counted as more than the budget; best final losses are "
        "medians of the noiseless loss of the best whole trial. Rows: "
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
                f"{median:.0f}" if math.isfinite(median) else f"> {mine[0]['budget_steps']}",
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
