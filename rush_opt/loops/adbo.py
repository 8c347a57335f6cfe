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
from rush_opt.archive import Archive
from rush_opt.evaluation import Problem, Timing, TrialRunner
from rush_opt.proposal import Candidates, draw_new, propose
from rush_opt.surrogate import ExtraTrees


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

    def state(self, problem: Problem, archive: Archive, rng: np.random.Generator) -> ADBOState:
        """Return what decides for one worker.

        Parameters
        ----------
        problem : Problem
        archive : Archive
            What is known; somebody else adds to it.
        rng : numpy.random.Generator
            The worker's own stream.
        """
        return ADBOState(self, archive, rng)

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one worker until the budget is used up."""
        trials = TrialRunner(worker, problem)
        archive = Archive(problem.space, problem.metric, problem.sign)
        state = self.state(problem, archive, problem.worker_rng(worker.number))
        archive.add(trials.fetch_new())
        archive.add_failed(worker.fetch_new_failed_tasks())
        while trials.may_start() and (waiting := trials.claim()):
            archive.add(trials.run(*waiting))
            archive.add_failed(worker.fetch_new_failed_tasks())
        while trials.may_start():
            config, notes = state.propose(trials.timing)
            key = trials.start(config)
            if key is None:
                return
            new = trials.run(key, config, **notes)
            with trials.timing("coordination"):
                archive.add(new)
                archive.add_failed(worker.fetch_new_failed_tasks())


class ADBOState:
    """How one worker decides, given what is known; it does no input or output.

    Parameters
    ----------
    settings : ADBO
    archive : Archive
        What is known; read only.
    rng : numpy.random.Generator
        The worker's own stream.
    """

    def __init__(self, settings: ADBO, archive: Archive, rng: np.random.Generator) -> None:
        self._settings = settings
        self._archive = archive
        self._rng = rng
        self._lambda_0 = draw_lambda(rng)
        self._n_proposed = 0

    def propose(self, timing: Timing) -> tuple[dict[str, Any], dict[str, float]]:
        """Choose the next configuration: at random before there is a result per dimension.

        Parameters
        ----------
        timing : callable
            Accounts the time spent in fitting and in searching.

        Returns
        -------
        config : dict
        notes : dict
            How it came about: the exploration weight and how many trials were known.
        """
        settings, archive, rng = self._settings, self._archive, self._rng
        lam = decayed_lambda(self._lambda_0, self._n_proposed)
        self._n_proposed += 1
        notes = {"lambda": lam, "n_known": len(archive)}
        if len(archive) < archive.space.n_dims:
            with timing("acquisition"):
                return archive.space.decode(draw_new(archive, rng)[np.newaxis])[0], notes
        with timing("surrogate"):
            forest = settings.surrogate.fit(archive.X, archive.y, rng)
        with timing("acquisition"):
            row = propose(archive, forest, lam, rng, candidates=settings.candidates)
            return archive.space.decode(row[np.newaxis])[0], notes
