"""Random search: every worker draws from its own stream and never looks at a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rush_core import Worker
from rush_opt.design import random_design
from rush_opt.evaluation import Problem, TrialRunner

# Drawing points one by one costs more than drawing many.
_BATCH = 64


@dataclass(frozen=True)
class RandomSearch:
    """Independent uniform points.

    References
    ----------
    .. [Bergstra] J. Bergstra, Y. Bengio. Random search for hyper-parameter optimization. Journal of
       Machine Learning Research 13, 2012.
    """

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return how many points are evaluated before any model: there is none."""
        return 0

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one worker until the budget is used up."""
        rng = problem.worker_rng(worker.number)
        trials = TrialRunner(worker, problem)
        while trials.may_start() and (waiting := trials.claim()):
            trials.run(*waiting)
        configs: list[dict[str, Any]] = []
        while trials.may_start():
            if not configs:
                configs = problem.space.decode(random_design(problem.space, _BATCH, rng))
            config = configs.pop()
            key = trials.start(config)
            if key is None:
                return
            trials.run(key, config)
