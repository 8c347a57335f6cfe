"""Decentralized CMA-ES: every worker computes the same distribution from the same results.

The finished log is divided into blocks of one population. Each worker updates its distribution with
one block after the other, in the order of the log. It samples from the distribution with its own
random stream. So workers share nothing but the log. The package ``cmaes`` makes the updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rush_opt.optimizers.base import Place, Placement, Proposal, Timing
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.candidates import draw_new
from rush_opt.search.pending import Pending
from rush_opt.space import FloatArray, Space

if TYPE_CHECKING:
    import cmaes

__all__ = ["CMAES"]

_MOST_TRIES = 10  # attempts to sample a new point that satisfies the constraints

# The child of the seed from which the means of restarts are drawn, the same for all workers.
# Children 0 and 1 belong to the initial design and to the workers (`rush_opt.problem.problem`).
_RESTARTS = 2


@dataclass(frozen=True)
class CMAES:
    """Settings of CMA-ES with restarts, for ordered parameters without conditions and one goal.

    When a distribution has converged, a new one starts at a random mean with twice the population
    [Auger].

    Parameters
    ----------
    sigma : float
        The initial standard deviation, as a fraction of each parameter's range, above 0.

    References
    ----------
    .. [Hansen] N. Hansen. The CMA Evolution Strategy: A Tutorial. arXiv 1604.00772, 2016.
    .. [Auger] A. Auger, N. Hansen. A restart CMA evolution strategy with increasing population
       size. IEEE Congress on Evolutionary Computation, 2005.
    """

    sigma: float = 0.3
    placement: ClassVar[Placement] = "each worker"
    reads_in_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"need sigma > 0, got {self.sigma!r}; try 0.3")

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return the size of the first population."""
        return _population(n_dims)

    def proposer(self, problem: Problem, place: Place) -> SharedDistribution:
        """Return the proposer of one worker.

        Raises
        ------
        ImportError
            If the package ``cmaes`` is not installed.
        ValueError
            If the problem has several goals, a condition, an unordered parameter, or fewer than
            two parameters.
        """
        _check_package()
        _check_problem(problem)
        return SharedDistribution(self.sigma, problem, place.number)


class SharedDistribution:
    """Proposes samples of a distribution that is the same in all workers.

    Parameters
    ----------
    sigma : float
    problem : Problem
    number : int
        The number of the worker.
    """

    def __init__(self, sigma: float, problem: Problem, number: int) -> None:
        self._sigma = sigma
        self._problem = problem
        self._rng = problem.worker_rng(number)
        self._n_restarts = 0
        self._n_told = 0
        self._distribution = self._start()

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        """Choose one configuration; see `Proposer.propose`."""
        with timing("surrogate"):
            self._update(archive)
        with timing("acquisition"):
            row = self._sample_new(archive, pending)
            if row is None:
                row = draw_new(archive, self._rng, pending=pending)
            config = archive.space.decode(row[np.newaxis])[0]
            return [Proposal(config, {"n_known": len(archive), "n_restarts": self._n_restarts})]

    def _start(self) -> cmaes.CMA:
        """Return the first distribution, or the one of a restart; it is the same in all workers."""
        import cmaes

        n_dims = self._problem.space.n_dims
        mean = np.full(n_dims, 0.5)
        if self._n_restarts:
            key = (_RESTARTS, self._n_restarts)
            sequence = np.random.SeedSequence(self._problem.seed, spawn_key=key)
            mean = np.random.default_rng(sequence).random(n_dims)
        return cmaes.CMA(
            mean=mean,
            sigma=self._sigma,
            bounds=np.tile([0.0, 1.0], (n_dims, 1)),
            population_size=_population(n_dims) * 2**self._n_restarts,
            seed=int(self._rng.integers(2**31)),  # for samples; an update draws no random numbers
        )

    def _update(self, archive: Archive) -> None:
        """Update the distribution with each new block of results that is complete."""
        # Each worker learns of failed trials in another order, so the updates leave them out.
        finished = np.flatnonzero(np.isfinite(archive.y))
        while len(finished) - self._n_told >= (size := self._distribution.population_size):
            block = finished[self._n_told : self._n_told + size]
            X, y = archive.X[block].astype(np.float64), archive.y[block]
            self._distribution.tell(list(zip(X, y.tolist(), strict=True)))
            self._n_told += size
            if self._distribution.should_stop():
                self._n_restarts += 1
                self._distribution = self._start()

    def _sample_new(self, archive: Archive, pending: Pending) -> FloatArray | None:
        """Return a sample that is new and allowed; None if none of `_MOST_TRIES` samples is."""
        space = archive.space
        for _ in range(_MOST_TRIES):
            row: FloatArray = space.snap(self._distribution.ask()[np.newaxis])[0]
            is_new = row not in archive and row not in pending
            if is_new and space.allowed(row[np.newaxis])[0]:
                return row
        return None


def _population(n_dims: int) -> int:
    return 4 + int(3 * np.log(n_dims))  # [Hansen] Eq. (48)


def _check_package() -> None:
    try:
        import cmaes  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "optimizer='cmaes' needs the package cmaes: pip install 'rush-hpo[cmaes]'"
        ) from error


def _check_problem(problem: Problem) -> None:
    if len(problem.goals) > 1:
        raise ValueError(
            f"CMA-ES optimizes one goal, but there are {list(problem.metrics)}; optimize one of "
            "them, or use another optimizer, such as 'adbo'"
        )
    space: Space = problem.space
    unordered = [name for name, is_ordered in _dimensions(space) if not is_ordered]
    if unordered or space.has_conditions or space.n_dims < 2:
        found = f"unordered parameters {unordered}" if unordered else "conditions"
        if not unordered and not space.has_conditions:
            found = f"{space.n_dims} of them"
        raise ValueError(
            "CMA-ES needs at least two ordered parameters without conditions, such as Float and "
            f"Integer, got {found}; use another optimizer, such as 'adbo' or 'de'"
        )


def _dimensions(space: Space) -> list[tuple[str, bool]]:
    return list(zip(space.columns, space.is_ordered.tolist(), strict=True))
