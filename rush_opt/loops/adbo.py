"""ADBO, asynchronous decentralized Bayesian optimization: every worker models and decides.

Each worker follows the finished log, fits its own forest to it, and minimizes a lower confidence
bound with its own exploration weight. Nobody waits for anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rush_core import Worker
from rush_opt.acquisition import decayed_lambda, draw_lambda
from rush_opt.archive import Archive, FailedTasks, FinishedTasks
from rush_opt.design import random_design
from rush_opt.evaluation import Problem, TrialRunner
from rush_opt.proposal import Candidates, propose
from rush_opt.space import FloatArray
from rush_opt.surrogate import ExtraTrees, Forest


@dataclass(frozen=True)
class ADBO:
    """Settings of ADBO; an instance is its worker loop.

    Parameters
    ----------
    surrogate : ExtraTrees
        Anything whose ``fit(X, y, rng)`` returns something with ``predict(X) -> (mean, sd)``.
    candidates : Candidates
        Where the acquisition function is searched.

    References
    ----------
    .. [Egele] R. Egele, I. Guyon, V. Vishwanath, P. Balaprakash. Asynchronous Decentralized
       Bayesian Optimization for Large Scale Hyperparameter Optimization. arXiv 2207.00479, 2022.
    """

    surrogate: ExtraTrees = field(default_factory=ExtraTrees)
    candidates: Candidates = field(default_factory=Candidates)

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return how many points are evaluated before any model."""
        # The first model then stands on n_dims results, while all workers have something to do:
        # any number from 4 to 20 came to the same in experiments/surrogate_study, where the rule
        # itself was not run.
        return n_dims + n_workers

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one worker until the budget is used up."""
        trials = TrialRunner(worker, problem)
        state = ADBOState(self, problem, problem.worker_rng(worker.number))
        state.tell(worker.fetch_new_tasks(), worker.fetch_new_failed_tasks())
        while trials.may_start() and (waiting := trials.claim()):
            state.tell(trials.run(*waiting), worker.fetch_new_failed_tasks())
        while trials.may_start():
            with trials.timing("surrogate"):
                forest = state.fit()
            with trials.timing("acquisition"):
                config, notes = state.propose(forest)
            key = trials.start(config)
            if key is None:
                return
            new = trials.run(key, config, **notes)
            with trials.timing("coordination"):
                state.tell(new, worker.fetch_new_failed_tasks())


class ADBOState:
    """What one worker knows and how it decides; it does no input or output.

    Parameters
    ----------
    settings : ADBO
    problem : Problem
    rng : numpy.random.Generator
        The worker's own stream.
    """

    def __init__(self, settings: ADBO, problem: Problem, rng: np.random.Generator) -> None:
        self._settings = settings
        self._space = problem.space
        self._archive = Archive(problem.space, problem.metric, problem.sign)
        self._rng = rng
        self._lambda_0 = draw_lambda(rng)
        self._n_proposed = 0

    def tell(self, finished: FinishedTasks, failed: FailedTasks) -> None:
        """Take in trials that ended since the last time."""
        self._archive.add(finished)
        self._archive.add_failed(failed)

    def fit(self) -> Forest | None:
        """Model what is known; None while that is less than one result per dimension."""
        if len(self._archive) < self._space.n_dims:
            return None
        return self._settings.surrogate.fit(self._archive.X, self._archive.y, self._rng)

    def propose(self, forest: Forest | None) -> tuple[dict[str, Any], dict[str, float]]:
        """Choose the next configuration: at random while there is no model.

        Returns
        -------
        config : dict
        notes : dict
            How it came about: the exploration weight and how many trials were known.
        """
        lam = decayed_lambda(self._lambda_0, self._n_proposed)
        self._n_proposed += 1
        if forest is None:
            row = self._draw_new()
        else:
            row = propose(
                self._archive, forest, lam, self._rng, candidates=self._settings.candidates
            )
        notes = {"lambda": lam, "n_known": len(self._archive)}
        return self._space.decode(row[np.newaxis])[0], notes

    def _draw_new(self, most_draws: int = 10) -> FloatArray:
        """Draw a point that was not evaluated; a repeat if there seems to be no other."""
        for _ in range(most_draws):
            row: FloatArray = random_design(self._space, 1, self._rng)[0]
            if row not in self._archive:
                break
        return row
