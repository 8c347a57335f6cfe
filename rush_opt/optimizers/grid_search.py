"""Grid search: all combinations of evenly spaced values, which workers take from the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rush_core import Worker
from rush_opt.evaluation.runner import Problem, TrialRunner
from rush_opt.search.design import new_rows
from rush_opt.search.grid import Grid


@dataclass(frozen=True)
class GridSearch:
    """Every point of a grid once, in random order; an instance is its worker loop.

    The grid is drawn up once and waits in the network's queue as a whole, but for what a warm start
    or an earlier run in the network has evaluated. A run that `n_trials` or a timeout ends early
    has then seen an even part of it, and another run in the same network goes on with the rest.
    When nothing is left, ``result.stop_reason`` is ``exhausted``.

    Parameters
    ----------
    resolution : int or mapping of str to int
        How many values of each parameter, for all alike or by name. Ordered parameters with fewer
        values, and unordered ones in any case, have all of theirs, and need no entry in a mapping.
    """

    resolution: int | Mapping[str, int] = 10

    def points(
        self, problem: Problem, known: Sequence[Mapping[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """Return the configurations of the grid, in the order in which they are evaluated.

        Those that are `known` are left out.

        Raises
        ------
        TypeError, ValueError
            If `resolution` does not fit the space, or makes more than a million points.
        """
        X = Grid(self.resolution).draw(problem.space, problem.design_rng())
        return problem.space.decode(new_rows(X, problem.space, known))

    def __call__(self, worker: Worker, problem: Problem) -> None:
        """Run one worker until nothing is left or the budget is used up."""
        trials = TrialRunner(worker, problem)
        while trials.may_start() and (waiting := trials.claim()):
            trials.run(*waiting)
