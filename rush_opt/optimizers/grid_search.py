"""Grid search: all combinations of evenly spaced values, which workers take from the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rush_opt.optimizers.base import Placement
from rush_opt.problem.problem import Problem
from rush_opt.search.design import new_rows
from rush_opt.search.grid import Grid

__all__ = ["GridSearch"]


@dataclass(frozen=True)
class GridSearch:
    """Every point of a grid once, in random order.

    The whole grid waits in the network's queue, except points that a warm start or an earlier run
    in the network has evaluated. If `n_trials` or a timeout ends the run early, the evaluated
    points are spread over the whole grid. A later run in the same network evaluates the rest. When
    no point is left, ``result.stop_reason`` is ``exhausted``.

    Parameters
    ----------
    resolution : int or mapping of str to int
        Number of values of each parameter: one number for all parameters, or a mapping of names to
        numbers. An ordered parameter with fewer values uses all of them. An unordered parameter
        always uses all of its values and needs no entry in the mapping.
    """

    resolution: int | Mapping[str, int] = 10
    placement: ClassVar[Placement] = "listed"

    def points(
        self, problem: Problem, known: Sequence[Mapping[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """Return the configurations of the grid in the order of their evaluation.

        Configurations that are in `known` are left out.

        Raises
        ------
        TypeError, ValueError
            If `resolution` does not fit the space, or makes more than a million points.
        """
        X = Grid(self.resolution).draw(problem.space, problem.design_rng())
        return problem.space.decode(new_rows(X, problem.space, known))
