"""CLBO, Bayesian optimization in synchronous batches with a constant liar.

One process proposes a batch, point by point, as if each point before had come out as the mean of
all values seen; then all of the batch is waited for.
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
from rush_opt.search.exploration import LAMBDA_MEAN


@dataclass(frozen=True)
class CLBO:
    """Settings of CLBO; an instance is its evaluating workers' loop.

    The exploration weight is constant: it is the lies that spread the points of a batch.

    Parameters
    ----------
    surrogate : Surrogate
        Anything whose ``fit(X, y, rng)`` returns something with ``predict(X) -> (mean, sd)``.
    candidates : Candidates
        Where the acquisition function is searched.
    exploration : float
        The weight lambda of the lower confidence bound, ``>= 0``.

    References
    ----------
    .. [Ginsbourger] D. Ginsbourger, R. Le Riche, L. Carraro. Kriging is well-suited to parallelize
       optimization. Computational Intelligence in Expensive Optimization Problems, 2010.
    .. [Becker] M. Becker, B. Bischl. rush: Scalable asynchronous distributed computing via shared
       state in R. arXiv 2606.21430, 2026; its ``cl_mbo``.
    """

    surrogate: Surrogate = field(default_factory=ProcessThenTrees)
    candidates: Candidates = field(default_factory=Candidates)
    exploration: float = LAMBDA_MEAN

    def __post_init__(self) -> None:
        check_settings(self.surrogate, self.candidates)
        if not self.exploration >= 0:
            raise ValueError(f"need exploration >= 0, got {self.exploration!r}; try {LAMBDA_MEAN}")

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return how many points are evaluated before any model: as ADBO does."""
        return n_dims + n_workers

    def n_next(self, n_open: int, n_workers: int) -> int:
        """Return how many to propose while so many are queued or running: a batch after the last.

        A tenth of the workers, as in [Becker].
        """
        return 0 if n_open else max(2, n_workers // 10)

    def state(self, problem: Problem, archive: Archive, number: int) -> CLBOState:
        """Return what decides for the proposer, the worker with this number."""
        return CLBOState(self, archive, problem.worker_rng(number))

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one evaluating worker until it is told to stop."""
        evaluate_queue(worker, problem)

    def proposer(self, worker: Worker, problem: Problem, n_workers: int) -> None:
        """Run the one proposer until the budget is used up."""
        fill_queue(self, worker, problem, n_workers)


class CLBOState:
    """How the proposer decides, given what is known; it does no input or output.

    Parameters
    ----------
    settings : CLBO
    archive : Archive
        What is known; read only.
    rng : numpy.random.Generator
        The proposer's own stream.
    """

    def __init__(self, settings: CLBO, archive: Archive, rng: np.random.Generator) -> None:
        self._settings = settings
        self._archive = archive
        self._rng = rng

    def propose(self, timing: Timing, pending: Pending) -> tuple[dict[str, Any], dict[str, float]]:
        """Choose the next configuration: at random before there is a result per dimension.

        Parameters
        ----------
        timing : callable
            Accounts the time spent in fitting and in searching.
        pending : Pending
            The batch so far, about which the model is lied to.

        Returns
        -------
        config : dict
        notes : dict
            How it came about: the exploration weight and how many trials were known.
        """
        settings, rng = self._settings, self._rng
        archive, weights = weighed(self._archive, rng)
        lam = settings.exploration
        notes = {"lambda": lam, "n_known": len(archive), **weights}
        if len(archive) < archive.space.n_dims:
            with timing("acquisition"):
                row = draw_new(archive, rng, pending=pending)
                return archive.space.decode(row[np.newaxis])[0], notes
        with timing("surrogate"):
            X = np.concatenate([archive.X, pending.X])
            y = np.concatenate([archive.y, np.full(len(pending), _lie(archive))])
            model = settings.surrogate.fit(X, y, rng)
        with timing("acquisition"):
            row = propose(archive, model, lam, rng, candidates=settings.candidates, pending=pending)
            return archive.space.decode(row[np.newaxis])[0], notes


def _lie(archive: Archive) -> float:
    """Return the mean of what finished; the worst there is if nothing did."""
    finished = archive.y[np.isfinite(archive.y)]
    return float(finished.mean()) if len(finished) else np.inf
