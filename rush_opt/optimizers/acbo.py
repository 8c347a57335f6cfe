"""ACBO, asynchronous centralized Bayesian optimization: one process proposes, workers evaluate.

The proposer keeps as many trials queued or running as there are workers, and fits a new model for
every proposal. If it is slower than the workers, they wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.models.surrogate import Surrogate
from rush_opt.optimizers.base import Place, Placement
from rush_opt.optimizers.settings import check_settings
from rush_opt.optimizers.with_model import ModelProposer
from rush_opt.problem.problem import Problem
from rush_opt.search.candidates import Candidates
from rush_opt.search.exploration import decayed_lambda, draw_lambda

__all__ = ["ACBO"]


@dataclass(frozen=True)
class ACBO:
    """Settings of ACBO.

    Each proposal has its own exploration weight, drawn at random. The weights also decay with the
    number of proposals, as for one ADBO worker. So proposals that run at the same time differ, as
    those of many ADBO workers do. Pending points are not proposed again; the model ignores them, as
    in ADBO.

    Parameters
    ----------
    surrogate, candidates
        As for `ADBO`.

    References
    ----------
    .. [Becker] M. Becker, B. Bischl. rush: Scalable asynchronous distributed computing via shared
       state in R. arXiv 2606.21430, 2026; its ``central_mbo``.
    """

    surrogate: Surrogate = field(default_factory=ProcessThenTrees)
    candidates: Candidates = field(default_factory=Candidates)
    placement: ClassVar[Placement] = "one process"

    def __post_init__(self) -> None:
        check_settings(self.surrogate, self.candidates)

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return the number of points before the first model: the same as for `ADBO`."""
        return n_dims + n_workers

    def n_next(self, n_open: int, n_workers: int) -> int:
        """Return 1 if a worker is free, else 0."""
        return 1 if n_open < n_workers else 0

    def proposer(self, problem: Problem, place: Place) -> ModelProposer:
        """Return the only proposer."""
        rng = problem.worker_rng(place.number)
        weights = (decayed_lambda(draw_lambda(rng), t) for t in count())
        return ModelProposer(self.surrogate, self.candidates, rng, weights)
