"""An asynchronous run in one process and in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from experiments.surrogate_study.problems import Problem
from rush_core import TaskTable
from rush_opt.models.forest import ExtraTrees, Forest
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import Candidates, propose
from rush_opt.search.design import random_design, sobol_design
from rush_opt.search.exploration import decayed_lambda, draw_lambda


class Surrogate(Protocol):
    """What a proposal needs: settings that fit a forest."""

    def fit(
        self, X: npt.NDArray[np.float32], y: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> Forest:
        """Fit."""


@dataclass(frozen=True)
class Strategy:
    """Everything that decides where the next point is; no surrogate means random search."""

    surrogate: Surrogate | None = field(default_factory=ExtraTrees)
    candidates: Candidates = field(default_factory=Candidates)
    n_before_model: int = 8
    sobol: bool = True
    lambda_mean: float = 1.96
    lambda_decays: bool = True


@dataclass(frozen=True)
class _Task:
    config: dict[str, Any]
    result: dict[str, float]


def simulate(
    problem: Problem, strategy: Strategy, *, n_workers: int, n_trials: int, seed: int
) -> npt.NDArray[np.float64]:
    """Run until enough trials have finished.

    Returns
    -------
    ndarray of shape (n_trials,)
        Simple regret after each finished trial: the function's true value at the best observed
        point, less the optimum.
    """
    seeds = np.random.SeedSequence(seed).spawn(4)
    design_rng, noise_rng, time_rng, model_rng = map(np.random.default_rng, seeds)
    archive = Archive(problem.space, [Goal("value")])
    lambdas = [draw_lambda(model_rng, strategy.lambda_mean) for _ in range(n_workers)]
    proposals = [0] * n_workers
    design = _design(problem, strategy, n_trials, design_rng)
    running: list[tuple[float, int, _Task]] = []
    regrets = np.empty(n_trials)
    true_values = np.empty(n_trials)

    def start(worker: int, now: float) -> None:
        if strategy.surrogate is None or len(archive) < strategy.n_before_model:
            row = next(design)
        else:
            lam = lambdas[worker]
            if strategy.lambda_decays:
                lam = decayed_lambda(lam, proposals[worker])
            proposals[worker] += 1
            forest = strategy.surrogate.fit(archive.X, archive.y, model_rng)
            row = propose(archive, forest, lam, model_rng, candidates=strategy.candidates)
        config = problem.space.decode(row[None])[0]
        task = _Task(config, {"value": problem.observe(config, noise_rng)})
        heapq.heappush(running, (now + time_rng.lognormal(0.0, 0.5), worker, task))

    for worker in range(n_workers):
        start(worker, 1e-9 * worker)
    for i in range(n_trials):
        now, worker, task = heapq.heappop(running)
        archive.add(TaskTable.from_results([task.config], [task.result]))
        true_values[i] = problem.function(task.config)
        regrets[i] = true_values[archive.incumbent] - problem.optimum
        if i + len(running) + 1 < n_trials:
            start(worker, now)
    return regrets


def _design(
    problem: Problem, strategy: Strategy, n: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.float64]]:
    make = sobol_design if strategy.sobol and strategy.surrogate is not None else random_design
    yield from make(problem.space, n, rng)
