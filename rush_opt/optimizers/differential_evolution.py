"""Asynchronous differential evolution: every worker combines the best results of all workers.

There are no generations. The parents of a proposal are the best results that the worker knows at
that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rush_opt.optimizers.base import Place, Placement, Proposal, Timing
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive, EvaluatedPoints
from rush_opt.search.candidates import draw_new
from rush_opt.search.pending import Pending
from rush_opt.search.scalarization import scalarize_at_random
from rush_opt.space import FloatArray

__all__ = ["DifferentialEvolution"]

_N_PARENTS = 3  # parents of one proposal: a base, and two whose difference is added
_MOST_TRIES = 10  # attempts to find a new point that satisfies the constraints


@dataclass(frozen=True)
class DifferentialEvolution:
    """Settings of differential evolution, in the variant rand-to-best/1/bin.

    Several goals are combined by weights; new weights are drawn for each proposal.

    Parameters
    ----------
    population : int
        Number of best results that can be parents, ``>= 4``; also the size of the initial design.
    scale : float
        The factor F of differences, above 0.
    crossover : float
        The probability CR that a coordinate comes from the mutant, from 0 to 1.

    References
    ----------
    .. [Storn] R. Storn, K. Price. Differential Evolution: A Simple and Efficient Heuristic for
       Global Optimization over Continuous Spaces. Journal of Global Optimization 11, 1997.
    """

    population: int = 20
    scale: float = 0.6
    crossover: float = 0.9
    placement: ClassVar[Placement] = "each worker"

    def __post_init__(self) -> None:
        if not (self.population >= 4 and self.scale > 0 and 0 <= self.crossover <= 1):
            raise ValueError(
                "need population >= 4, scale > 0 and crossover from 0 to 1, got "
                f"{self!r}; change the setting that is out of range"
            )

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return the size of the first population."""
        return self.population

    def proposer(self, problem: Problem, place: Place) -> Recombination:
        """Return the proposer of one worker."""
        return Recombination(self, problem.worker_rng(place.number))


@dataclass
class Recombination:
    """Proposes combinations of the best results.

    Parameters
    ----------
    settings : DifferentialEvolution
    rng : numpy.random.Generator
        The worker's own stream.
    """

    settings: DifferentialEvolution
    rng: np.random.Generator

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        """Choose one configuration; see `Proposer.propose`."""
        with timing("acquisition"):
            points, notes = scalarize_at_random(archive, self.rng)
            row = self._new_combination(points, pending)
            if row is None:
                row = draw_new(points, self.rng, pending=pending)
            config = archive.space.decode(row[np.newaxis])[0]
            return [Proposal(config, {"n_known": len(points), **notes})]

    def _new_combination(self, points: EvaluatedPoints, pending: Pending) -> FloatArray | None:
        """Return a row that is new and allowed; None if parents are too few or no try succeeds."""
        space = points.space
        best = points.best(self.settings.population)
        parents = points.X[best[np.isfinite(points.y[best])]].astype(np.float64)
        if len(parents) <= _N_PARENTS:
            return None
        parents = space.fill_inactive(parents, self.rng)
        for _ in range(_MOST_TRIES):
            row: FloatArray = space.snap(self._combine(parents)[np.newaxis])[0]
            is_new = row not in points and row not in pending
            if is_new and space.allowed(row[np.newaxis])[0]:
                return row
        return None

    def _combine(self, parents: FloatArray) -> FloatArray:
        """Return one trial vector of [Storn]; the first of the parents is the best."""
        s, rng = self.settings, self.rng
        base, a, b = parents[rng.choice(len(parents), _N_PARENTS, replace=False)]
        # The scheme DE2 of [Storn] with both factors equal: a step to the best, and a difference.
        mutant = base + s.scale * (parents[0] - base) + s.scale * (a - b)
        from_mutant = rng.random(len(base)) < s.crossover
        from_mutant[rng.integers(len(base))] = True  # at least one coordinate changes
        return np.where(from_mutant, _reflected(mutant), base)


def _reflected(x: FloatArray) -> FloatArray:
    """Reflect coordinates at the bounds of the unit cube, so that few of them lie on a bound."""
    return 1.0 - np.abs(1.0 - np.mod(x, 2.0))
