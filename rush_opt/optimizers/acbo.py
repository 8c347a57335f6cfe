"""ACBO, asynchronous centralized Bayesian optimization: one process proposes, workers evaluate.

The proposer keeps as many tasks queued or running as there are workers, and fits a new model for
every proposal. What it cannot propose in time, the workers wait for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rush_core import Worker
from rush_opt.evaluation.runner import Problem, Timing
from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.models.surrogate import Surrogate
from rush_opt.optimizers.central import Pending, evaluate_queue, fill_queue
from rush_opt.optimizers.settings import check_settings
from rush_opt.search.archive import Archive, weighed
from rush_opt.search.candidates import Candidates, draw_new, propose
from rush_opt.search.exploration import decayed_lambda, draw_lambda


@dataclass(frozen=True)
class ACBO:
    """Settings of ACBO; an instance is its evaluating workers' loop.

    Every proposal draws an exploration weight of its own, and all decay together as those of one
    worker of ADBO do: proposals in flight at one time differ as those of many such workers do.
    Points in flight are not proposed again; as in ADBO, the model is not told of them.

    Parameters
    ----------
    surrogate : Surrogate
        Anything whose ``fit(X, y, rng)`` returns something with ``predict(X) -> (mean, sd)``.
    candidates : Candidates
        Where the acquisition function is searched.

    References
    ----------
    .. [Becker] M. Becker, B. Bischl. rush: Scalable asynchronous distributed computing via shared
       state in R. arXiv 2606.21430, 2026; its ``central_mbo``.
    """

    surrogate: Surrogate = field(default_factory=ProcessThenTrees)
    candidates: Candidates = field(default_factory=Candidates)

    def __post_init__(self) -> None:
        check_settings(self.surrogate, self.candidates)

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return how many points are evaluated before any model: as ADBO does."""
        return n_dims + n_workers

    def n_next(self, n_open: int, n_workers: int) -> int:
        """Return how many to propose while so many are queued or running: one if one is free."""
        return 1 if n_open < n_workers else 0

    def state(self, problem: Problem, archive: Archive, number: int) -> ACBOState:
        """Return what decides for the proposer, the worker with this number."""
        return ACBOState(self, archive, problem.worker_rng(number))

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one evaluating worker until it is told to stop."""
        evaluate_queue(worker, problem)

    def proposer(self, worker: Worker, problem: Problem, n_workers: int) -> None:
        """Run the one proposer until the budget is used up."""
        fill_queue(self, worker, problem, n_workers)


class ACBOState:
    """How the proposer decides, given what is known; it does no input or output.

    Parameters
    ----------
    settings : ACBO
    archive : Archive
        What is known; read only.
    rng : numpy.random.Generator
        The proposer's own stream.
    """

    def __init__(self, settings: ACBO, archive: Archive, rng: np.random.Generator) -> None:
        self._settings = settings
        self._archive = archive
        self._rng = rng
        self._n_proposed = 0

    def propose(self, timing: Timing, pending: Pending) -> tuple[dict[str, Any], dict[str, float]]:
        """Choose the next configuration: at random before there is a result per dimension.

        Parameters
        ----------
        timing : callable
            Accounts the time spent in fitting and in searching.
        pending : Pending
            What is queued or running.

        Returns
        -------
        config : dict
        notes : dict
            How it came about: the exploration weight and how many trials were known.
        """
        settings, rng = self._settings, self._rng
        archive, weights = weighed(self._archive, rng)
        lam = decayed_lambda(draw_lambda(rng), self._n_proposed)
        self._n_proposed += 1
        notes = {"lambda": lam, "n_known": len(archive), **weights}
        if len(archive) < archive.space.n_dims:
            with timing("acquisition"):
                row = draw_new(archive, rng, pending=pending)
                return archive.space.decode(row[np.newaxis])[0], notes
        with timing("surrogate"):
            model = settings.surrogate.fit(archive.X, archive.y, rng)
        with timing("acquisition"):
            row = propose(archive, model, lam, rng, candidates=settings.candidates, pending=pending)
            return archive.space.decode(row[np.newaxis])[0], notes
