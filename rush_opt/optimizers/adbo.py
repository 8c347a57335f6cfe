"""ADBO, asynchronous decentralized Bayesian optimization: every worker fits a model and proposes.

Each worker reads all results, fits a model of its own to them, and minimizes a lower confidence
bound with its own exploration weight. No worker waits for another, and no point is evaluated twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.models.surrogate import Surrogate
from rush_opt.optimizers.base import Place, Placement
from rush_opt.optimizers.settings import check_exploration, check_settings
from rush_opt.optimizers.with_model import ModelProposer
from rush_opt.problem.problem import Problem
from rush_opt.search.candidates import Candidates
from rush_opt.search.exploration import Decaying, Exploration

__all__ = ["ADBO"]


@dataclass(frozen=True)
class ADBO:
    """Settings of ADBO.

    A model learns from ended trials only. In `experiments/proposal_study`, learning from running
    trials gained nothing or was worse. Each worker has its own exploration weight. If two workers
    choose the same point, the server lets only the first one start it, and the other proposes
    again.

    Parameters
    ----------
    surrogate : Surrogate
        An object with ``fit(X, y, rng)``, which returns an object with
        ``predict(X) -> (mean, sd)``.
    candidates : Candidates
        Where the acquisition function is searched.
    exploration : Exploration
        How a worker's weights are drawn and how they change: `Decaying` or `Steady`.

    References
    ----------
    .. [Egele] R. Egele, I. Guyon, V. Vishwanath, P. Balaprakash. Asynchronous Decentralized
       Bayesian Optimization for Large Scale Hyperparameter Optimization. arXiv 2207.00479, 2022.
    """

    surrogate: Surrogate = field(default_factory=ProcessThenTrees)
    candidates: Candidates = field(default_factory=Candidates)
    exploration: Exploration = field(default_factory=Decaying)
    placement: ClassVar[Placement] = "each worker"

    def __post_init__(self) -> None:
        check_settings(self.surrogate, self.candidates)
        check_exploration(self.exploration)

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return the number of points before the first model."""
        # All workers are busy until n_dims results are known; then the first model is fitted. In
        # experiments/surrogate_study, first models after 4 to 20 results were equally good; this
        # rule was not run there.
        return n_dims + n_workers

    def proposer(self, problem: Problem, place: Place) -> ModelProposer:
        """Return the proposer of one worker."""
        rng = problem.worker_rng(place.number)
        weights = self.exploration.weights(place.n_before, rng)
        return ModelProposer(self.surrogate, self.candidates, rng, weights)
