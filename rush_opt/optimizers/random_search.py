"""Random search: every worker draws from its own stream and never looks at a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rush_core import Worker
from rush_opt.evaluation.runner import Problem, Timing, TrialRunner
from rush_opt.search.archive import Archive
from rush_opt.search.design import random_design

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

    def state(
        self, problem: Problem, archive: Archive, number: int, *, n_before: int
    ) -> RandomSearchState:
        """Return what decides for the worker with this number; it looks at nothing else."""
        return RandomSearchState(problem, problem.worker_rng(number))

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one worker until the budget is used up."""
        trials = TrialRunner(worker, problem)
        state = RandomSearchState(problem, problem.worker_rng(worker.number))
        while trials.may_start() and (waiting := trials.claim()):
            trials.run(*waiting)
        while trials.may_start():
            config, notes = state.propose(trials.timing)
            key = trials.start(config)
            if key is None:
                return
            trials.run(key, config, **notes)


class RandomSearchState:
    """How one worker decides; it does no input or output.

    Parameters
    ----------
    problem : Problem
    rng : numpy.random.Generator
        The worker's own stream.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self._space = problem.space
        self._rng = rng
        self._drawn: list[dict[str, Any]] = []

    def avoid(self, configs: Sequence[dict[str, Any]]) -> None:
        """Nothing is kept away from: draws are independent."""

    def mark(self, config: dict[str, Any]) -> None:
        """Return None: a repeat is as good as any other draw."""

    def propose(self, timing: Timing) -> tuple[dict[str, Any], dict[str, float]]:
        """Choose the next configuration; there is nothing to note."""
        with timing("acquisition"):
            if not self._drawn:
                self._drawn = self._space.decode(random_design(self._space, _BATCH, self._rng))
            return self._drawn.pop(), {}
