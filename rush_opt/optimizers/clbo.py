"""CLBO, Bayesian optimization in synchronous batches with a constant liar.

One process proposes a batch, point by point. For each point that is already in the batch, the model
gets an assumed value, the lie: the mean of all results so far. The next batch follows when all
trials of the batch have ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from typing import ClassVar

import numpy as np

from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.models.surrogate import Model, Surrogate
from rush_opt.optimizers.base import Place, Placement
from rush_opt.optimizers.settings import check_settings
from rush_opt.optimizers.with_model import ModelProposer
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import EvaluatedPoints
from rush_opt.search.candidates import Candidates
from rush_opt.search.exploration import LAMBDA_MEAN
from rush_opt.search.pending import Pending

__all__ = ["CLBO"]


@dataclass(frozen=True)
class CLBO:
    """Settings of CLBO. The exploration weight is constant, because the lies spread the points.

    Parameters
    ----------
    surrogate, candidates
        As for `ADBO`.
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
    placement: ClassVar[Placement] = "one process"

    def __post_init__(self) -> None:
        check_settings(self.surrogate, self.candidates)
        if not self.exploration >= 0:
            raise ValueError(f"need exploration >= 0, got {self.exploration!r}; try {LAMBDA_MEAN}")

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return the number of points before the first model: the same as for `ADBO`."""
        return n_dims + n_workers

    def n_next(self, n_open: int, n_workers: int) -> int:
        """Return the number of proposals to make while `n_open` trials are queued or running.

        The next batch begins when the previous one has ended. Its size is that of [Becker].
        """
        return 0 if n_open else max(2, n_workers // 10)

    def proposer(self, problem: Problem, place: Place) -> ModelProposer:
        """Return the only proposer."""
        rng = problem.worker_rng(place.number)
        weights = repeat(self.exploration)
        return ModelProposer(self.surrogate, self.candidates, rng, weights, _fit_with_lies)


def _fit_with_lies(
    points: EvaluatedPoints, pending: Pending, surrogate: Surrogate, rng: np.random.Generator
) -> Model:
    """Fit as if each pending point had the mean loss of all finished trials."""
    finished = points.y[np.isfinite(points.y)]
    lie = float(finished.mean()) if len(finished) else np.inf  # the worst loss: all trials failed
    return points.fit(surrogate, rng, assumed=(pending.X, np.full(len(pending), lie)))
